"""Rule `verify`: verify one descriptor on one test set."""

from pathlib import Path

from porepatch_lib.evaluation.verification import VerificationSettings, verify
from porepatch_lib.stage import stage

with stage(snakemake.log[0], snakemake.threads):
    verify(
        test_set=snakemake.wildcards.test_set,
        patches=Path(snakemake.input.patches),
        index=Path(snakemake.input.index),
        pairs=Path(snakemake.input.pairs),
        images=dict(zip(snakemake.params.subjects, map(Path, snakemake.input.images), strict=True)),
        descriptor=snakemake.wildcards.descriptor,
        weights=Path(snakemake.input.weights) if snakemake.input.weights else None,
        networks=snakemake.params.networks,
        output=Path(snakemake.output.report),
        settings=VerificationSettings(**snakemake.params.settings),
        seed=snakemake.params.seed,
        threads=snakemake.threads,
    )
