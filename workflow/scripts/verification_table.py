"""Rule `verification_table`: the table of patch verification, its comparisons and figures."""

from pathlib import Path

from porepatch_lib.reporting.verification import write_verification_table
from porepatch_lib.stage import stage

with stage(snakemake):
    write_verification_table(
        reports=[Path(path) for path in snakemake.input.reports],
        matching=[Path(path) for path in snakemake.input.matching],
        table_csv=Path(snakemake.output.csv),
        table_markdown=Path(snakemake.output.markdown),
        table_latex=Path(snakemake.output.latex),
        comparisons_csv=Path(snakemake.output.comparisons),
        figures=Path(snakemake.output.figures),
        reference=snakemake.params.reference,
    )
