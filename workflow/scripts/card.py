"""Rule `card`: whom a dataset shows, and what these people agreed to."""

from pathlib import Path

from porepatch_lib.patches.card import write_card
from porepatch_lib.stage import stage

with stage(snakemake):
    write_card(
        index=Path(snakemake.input.index),
        pairs=Path(snakemake.input.pairs),
        sheet=Path(snakemake.input.subjects),
        output=Path(snakemake.output.card),
        title=snakemake.params.title,
        labels=tuple(snakemake.params.labels),
        photographed_skin=snakemake.params.photographed_skin,
    )
