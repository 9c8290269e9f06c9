"""Rule `contact_sheet`: whom a dataset shows, and patches of the same points side by side."""

from pathlib import Path

from porepatch_lib.patches.card import read_card, released_subjects, write_card
from porepatch_lib.patches.sheets import write_contact_sheet
from porepatch_lib.stage import stage

with stage(snakemake.log[0], snakemake.threads):
    write_card(
        index=Path(snakemake.input.index),
        pairs=Path(snakemake.input.pairs),
        sheet=Path(snakemake.input.subjects),
        output=Path(snakemake.output.card),
        title=snakemake.params.title,
        labels=(int(snakemake.wildcards.r), snakemake.wildcards.split),
        photographed_skin=snakemake.params.photographed_skin,
    )
    write_contact_sheet(
        patches=Path(snakemake.input.patches),
        index=Path(snakemake.input.index),
        output=Path(snakemake.output.sheet),
        points=snakemake.params.points,
        seed=snakemake.params.seed,
        shown=released_subjects(read_card(Path(snakemake.output.card))),
    )
