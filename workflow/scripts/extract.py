"""Rule `extract`: cut the patches of one subject."""

from porepatch_lib.patches.extract import PatchSettings, extract_subject_patches
from porepatch_lib.stage import stage

with stage(snakemake):
    extract_subject_patches(
        subject=snakemake.wildcards.subject,
        images=snakemake.input.images,
        keypoints=snakemake.input.keypoints,
        tracks=snakemake.input.tracks,
        patches_output=snakemake.output.patches,
        index_output=snakemake.output.index,
        settings=PatchSettings(**snakemake.params.settings),
        threads=snakemake.threads,
    )
