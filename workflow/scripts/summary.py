"""Rule `summary`: write the table of the run."""

from porepatch_lib.reporting.summary import write_summary
from porepatch_lib.stage import stage

with stage(snakemake.log[0], snakemake.threads):
    write_summary(
        verification=snakemake.input.verification,
    )
