"""Rule `render`: render one subject with ground truth."""

from porepatch_lib.rendering.render import RenderSettings, render_subject
from porepatch_lib.stage import stage

with stage(snakemake.log[0], snakemake.threads):
    render_subject(
        subject=snakemake.wildcards.subject,
        output=snakemake.output.images,
        settings=RenderSettings(**snakemake.params.settings),
        seed=snakemake.params.seed,
        threads=snakemake.threads,
    )
