"""Rule `worst_pairs`: the pairs that a descriptor gets most wrong, as pictures."""

from pathlib import Path

from porepatch_lib.reporting.worst import write_worst_pairs
from porepatch_lib.stage import stage

with stage(snakemake):
    write_worst_pairs(
        patches=Path(snakemake.input.patches),
        index=Path(snakemake.input.index),
        pairs=Path(snakemake.input.pairs),
        descriptors=Path(snakemake.input.descriptors),
        output=Path(snakemake.output.sheet),
        report=Path(snakemake.output.table),
        count=snakemake.params.pairs,
        shown_subjects=snakemake.params.shown,
    )
