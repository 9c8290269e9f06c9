"""Rule `reconstruction_table`: one table over all reconstructions, and its figures."""

from pathlib import Path

from porepatch_lib.reporting.reconstruction import write_reconstruction_table
from porepatch_lib.stage import stage

with stage(snakemake):
    write_reconstruction_table(
        metrics=[Path(folder) / "metrics.json" for folder in snakemake.input.evaluations],
        csv=Path(snakemake.output.csv),
        markdown=Path(snakemake.output.markdown),
        latex=Path(snakemake.output.latex),
        figures=Path(snakemake.output.figures),
        reference=snakemake.params.reference,
    )
