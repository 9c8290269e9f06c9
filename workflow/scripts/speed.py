"""Rule `speed`: time one descriptor on patches of a test set."""

from pathlib import Path

from porepatch_lib.benchmark.speed import measure_speed
from porepatch_lib.stage import stage

with stage(snakemake) as running:
    running.device = measure_speed(
        descriptor=snakemake.wildcards.descriptor,
        weights=Path(snakemake.input.weights) if snakemake.input.weights else None,
        patches=Path(snakemake.input.patches),
        index=Path(snakemake.input.index),
        images=dict(zip(snakemake.params.subjects, map(Path, snakemake.input.images), strict=True)),
        output=Path(snakemake.output.report),
        threads=snakemake.threads,
        networks=snakemake.params.networks,
        card=Path(snakemake.input.card) if snakemake.input.card else None,
    )
