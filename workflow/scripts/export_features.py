"""Rule `export_features`: features and matches of one subject for other programs."""

from pathlib import Path

from porepatch_lib.features.exported import export_features
from porepatch_lib.stage import stage

with stage(snakemake):
    export_features(
        images=Path(snakemake.input.images),
        keypoints=Path(snakemake.input.keypoints),
        descriptors=Path(snakemake.input.descriptors),
        matches=Path(snakemake.input.matches),
        output_eth=Path(snakemake.output.eth),
        output_features=Path(snakemake.output.features),
        output_matches=Path(snakemake.output.matches),
    )
