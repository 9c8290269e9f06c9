"""Rule `import_features`: somebody's keypoints and descriptors of one subject."""

from pathlib import Path

from porepatch_lib.features.imported import import_features
from porepatch_lib.stage import stage

with stage(snakemake):
    import_features(
        images=Path(snakemake.input.images),
        source=Path(snakemake.input.features),
        output_keypoints=Path(snakemake.output.keypoints),
        output_descriptors=Path(snakemake.output.descriptors),
    )
