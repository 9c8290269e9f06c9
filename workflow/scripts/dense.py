"""Rule `dense`: dense cloud of one reconstruction."""

from pathlib import Path

from porepatch_lib.dense.densify import DenseSettings, densify_subject
from porepatch_lib.stage import stage

with stage(snakemake) as running:
    running.device = densify_subject(
        subject=snakemake.wildcards.subject,
        images=Path(snakemake.input.images),
        sfm_folder=Path(snakemake.input.sfm),
        output_folder=Path(snakemake.output.dense),
        settings=DenseSettings(**snakemake.params.settings),
        seed=snakemake.params.seed,
        threads=snakemake.threads,
    )
