"""Rule `audit`: check the labels of a dataset of rendered subjects against the truth."""

from pathlib import Path

from porepatch_lib.evaluation.audit import AuditSettings, audit_dataset
from porepatch_lib.stage import stage

with stage(snakemake):
    audit_dataset(
        index=Path(snakemake.input.index),
        pairs=Path(snakemake.input.pairs),
        images=dict(zip(snakemake.params.subjects, map(Path, snakemake.input.images), strict=True)),
        truth_folders=dict(zip(snakemake.params.subjects, map(Path, snakemake.input.truth), strict=True)),
        report=Path(snakemake.output.report),
        table=Path(snakemake.output.table),
        labels=(int(snakemake.wildcards.r), snakemake.wildcards.split),
        settings=AuditSettings(**snakemake.params.settings),
    )
