"""Rule `import_matches`: somebody's matches of one subject."""

from pathlib import Path

from porepatch_lib.features.imported import import_matches
from porepatch_lib.stage import stage

with stage(snakemake):
    import_matches(
        images=Path(snakemake.input.images),
        keypoints=Path(snakemake.input.keypoints),
        source=Path(snakemake.input.given_matches),
        output=Path(snakemake.output.matches),
    )
