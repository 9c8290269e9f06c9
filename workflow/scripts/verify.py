"""Rule `verify`: verify one descriptor on one test set."""

from pathlib import Path

from porepatch_lib.stage import stage
from porepatch_lib.verification.hpatches import HPatchesSettings
from porepatch_lib.verification.verify import VerificationSettings, verify

with stage(snakemake):
    verify(
        test_set=snakemake.wildcards.test_set,
        labels=snakemake.params.labels,
        subjects=snakemake.params.subjects,
        index=Path(snakemake.input.index),
        pairs=Path(snakemake.input.pairs),
        descriptors=Path(snakemake.input.descriptors),
        card=Path(snakemake.input.card),
        output=Path(snakemake.output.report),
        settings=VerificationSettings(**snakemake.params.settings),
        hpatches=HPatchesSettings(**snakemake.params.hpatches),
        seed=snakemake.params.seed,
        threads=snakemake.threads,
    )
