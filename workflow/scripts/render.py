"""Rule `render`: render one subject with ground truth."""

from porepatch_lib.rendering.presets import render_settings
from porepatch_lib.rendering.render import render_subject
from porepatch_lib.rendering.sitting import Sitting
from porepatch_lib.stage import stage

with stage(snakemake):
    render_subject(
        sitting=Sitting(snakemake.wildcards.subject, **snakemake.params.variation),
        output=snakemake.output.images,
        settings=render_settings(snakemake.params.settings),
        seed=snakemake.params.seed,
        threads=snakemake.threads,
    )
