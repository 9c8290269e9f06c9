"""Rule `merge_test`: merge the patches of the test subjects into one test set with labelled, annotated pairs."""

from pathlib import Path

from porepatch_lib.stage import stage
from porepatch_lib.verification.pairs import VerificationPairSettings, build_test_set

with stage(snakemake):
    build_test_set(
        title=snakemake.params.title,
        subjects=snakemake.params.subjects,
        patches=[Path(path) for path in snakemake.input.patches],
        indexes=[Path(path) for path in snakemake.input.index],
        tracks=[Path(path) for path in snakemake.input.tracks],
        keypoints=[Path(path) for path in snakemake.input.keypoints],
        images=[Path(path) for path in snakemake.input.images],
        truths=[Path(path) for path in snakemake.input.truths] or [None] * len(snakemake.params.subjects),
        models=[Path(path) for path in snakemake.input.models] or [None] * len(snakemake.params.subjects),
        patches_output=Path(snakemake.output.patches),
        index_output=Path(snakemake.output.index),
        pairs_output=Path(snakemake.output.pairs),
        settings=VerificationPairSettings(**snakemake.params.settings),
        seed=snakemake.params.seed,
    )
