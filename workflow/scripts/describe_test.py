"""Rule `describe_test`: describe all patches of one test set by one descriptor."""

from pathlib import Path

from porepatch_lib.stage import stage
from porepatch_lib.verification.describe import SweepSettings, describe_test_set

with stage(snakemake) as running:
    running.device = describe_test_set(
        patches=Path(snakemake.input.patches),
        index=Path(snakemake.input.index),
        pairs=Path(snakemake.input.pairs),
        images=dict(zip(snakemake.params.subjects, map(Path, snakemake.input.images), strict=True)),
        descriptor=snakemake.wildcards.descriptor,
        weights=Path(snakemake.input.weights) if snakemake.input.weights else None,
        output=Path(snakemake.output.descriptors),
        card=Path(snakemake.output.card),
        settings=SweepSettings(**snakemake.params.settings),
        seed=snakemake.params.seed,
        threads=snakemake.threads,
        networks=snakemake.params.networks,
        architecture=snakemake.params.architecture,
    )
