"""Rule `describe`: describe the keypoints of one subject."""

from porepatch_lib.descriptors.describe import describe_subject
from porepatch_lib.stage import stage

with stage(snakemake) as running:
    running.device = describe_subject(
        images=snakemake.input.images,
        keypoints=snakemake.input.keypoints,
        output=snakemake.output.descriptors,
        descriptor=snakemake.params.hand_made,
        weights=snakemake.input.weights or None,
        crop_factor=snakemake.params.crop_factor,
        threads=snakemake.threads,
        networks=snakemake.params.networks,
        architecture=snakemake.params.get("architecture"),
    )
