"""Rule `refine_keypoints`: align the keypoints of one subject across their tracks."""

from pathlib import Path

from porepatch_lib.refinement.refine import RefinementSettings, refine_keypoints
from porepatch_lib.stage import stage

with stage(snakemake):
    refine_keypoints(
        images=Path(snakemake.input.images),
        keypoints=Path(snakemake.input.keypoints),
        sfm_folder=Path(snakemake.input.sfm),
        output=Path(snakemake.output.keypoints),
        settings=RefinementSettings(**snakemake.params.settings),
        threads=snakemake.threads,
    )
