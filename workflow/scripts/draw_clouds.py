"""Rule `draw_clouds`: the clouds of one reconstruction from three sides."""

from pathlib import Path

from porepatch_lib.reporting.clouds import draw_clouds
from porepatch_lib.stage import stage

with stage(snakemake):
    draw_clouds(
        evaluation=Path(snakemake.input.evaluation),
        output=Path(snakemake.output.picture),
        shown=snakemake.params.shown,
    )
