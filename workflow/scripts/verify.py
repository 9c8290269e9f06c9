"""Rule `verify`: verify one descriptor on one test set."""

from porepatch_lib.evaluation.verification import VerificationSettings, verify
from porepatch_lib.stage import stage

with stage(snakemake.log[0], snakemake.threads):
    verify(
        patches=snakemake.input.patches,
    )
