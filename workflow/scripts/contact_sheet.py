"""Rule `contact_sheet`: patches of the same points side by side."""

from pathlib import Path

from porepatch_lib.patches.sheets import write_contact_sheet
from porepatch_lib.stage import stage

with stage(snakemake):
    write_contact_sheet(
        patches=Path(snakemake.input.patches),
        index=Path(snakemake.input.index),
        output=Path(snakemake.output.sheet),
        points=snakemake.params.points,
        seed=snakemake.params.seed,
        card=Path(snakemake.input.card),
    )
