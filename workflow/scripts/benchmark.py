"""Rule `benchmark`: write the table of all descriptors."""

from pathlib import Path

from porepatch_lib.benchmark.table import write_benchmark
from porepatch_lib.stage import stage

with stage(snakemake):
    write_benchmark(
        verification=[Path(path) for path in snakemake.input.verification],
        speeds=[Path(path) for path in snakemake.input.speeds],
        cards=[Path(path) for path in snakemake.input.cards],
        table=Path(snakemake.output.table),
        page=Path(snakemake.output.page),
        figures=Path(snakemake.output.figures),
    )
