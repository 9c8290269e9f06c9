"""Rule `summary`: write the table of the run and its figures."""

from pathlib import Path

from porepatch_lib.reporting.summary import write_summary
from porepatch_lib.stage import stage

with stage(snakemake):
    write_summary(
        verification=[Path(path) for path in snakemake.input.verification],
        detectors=[Path(path) for path in snakemake.input.detectors],
        sfm=[Path(path) for path in snakemake.input.sfm],
        cards=[Path(path) for path in snakemake.input.cards],
        curves=[Path(path) for path in snakemake.input.curves],
        datasets=[Path(path) for path in snakemake.input.datasets],
        audits=[Path(path) for path in snakemake.input.audits],
        sheets=[Path(path) for path in snakemake.input.sheets],
        summary=Path(snakemake.output.summary),
        figures=Path(snakemake.output.figures),
    )
