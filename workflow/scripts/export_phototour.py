"""Rule `export_phototour`: write what may be released of a dataset in UBC PhotoTour layout."""

from pathlib import Path

from porepatch_lib.patches.phototour import export_phototour
from porepatch_lib.stage import stage

with stage(snakemake):
    export_phototour(
        patches=Path(snakemake.input.patches),
        index=Path(snakemake.input.index),
        pairs=Path(snakemake.input.pairs),
        output_folder=Path(snakemake.output.phototour),
        card=Path(snakemake.input.card),
        is_test_set=snakemake.params.is_test_set,
    )
