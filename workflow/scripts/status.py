"""Rule `status`: print where the run stands, from its files alone."""

from pathlib import Path

from porepatch_lib.reporting.status import Planned, status_page

print(
    status_page(
        results=Path(snakemake.config["pathvars"]["results"]),
        planned=[Planned(*stage) for stage in snakemake.params.planned],
        reconstructions=snakemake.params.reconstructions,
    )
)
