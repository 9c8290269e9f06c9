"""Rule `detect`: detect the keypoints of one subject."""

from porepatch_lib.keypoints.detect import KeypointSettings, detect_subject
from porepatch_lib.stage import stage

with stage(snakemake):
    detect_subject(
        images=snakemake.input.images,
        output=snakemake.output.keypoints,
        settings=KeypointSettings(**snakemake.params.settings),
        threads=snakemake.threads,
    )
