"""Rule `reconstruct`: structure from motion of one subject."""

from porepatch_lib.sfm.reconstruct import SfmSettings, reconstruct_subject
from porepatch_lib.stage import stage

with stage(snakemake):
    reconstruct_subject(
        subject=snakemake.wildcards.subject,
        images=snakemake.input.images,
        keypoints=snakemake.input.keypoints,
        matches=snakemake.input.matches,
        output_folder=snakemake.output.sfm,
        settings=SfmSettings(**snakemake.params.settings),
        seed=snakemake.params.seed,
        threads=snakemake.threads,
    )
