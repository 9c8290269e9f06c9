"""Rule `colmap_sift`: keypoints and descriptors of one subject by COLMAP's own SIFT."""

from pathlib import Path

from porepatch_lib.sfm.sift import ColmapSiftSettings, extract_colmap_sift
from porepatch_lib.stage import stage

with stage(snakemake):
    extract_colmap_sift(
        images=Path(snakemake.input.images),
        output_keypoints=Path(snakemake.output.keypoints),
        output_descriptors=Path(snakemake.output.descriptors),
        settings=ColmapSiftSettings(**snakemake.params.settings),
        threads=snakemake.threads,
    )
