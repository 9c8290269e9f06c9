"""Rule `merge`: merge the patches of several subjects into one dataset."""

from porepatch_lib.patches.dataset import PairSettings, build_dataset
from porepatch_lib.stage import stage

with stage(snakemake.log[0], snakemake.threads):
    build_dataset(
        subjects=snakemake.params.subjects,
        patches=snakemake.input.patches,
        indexes=snakemake.input.index,
        output=snakemake.output,
        settings=PairSettings(**snakemake.params.settings),
        seed=snakemake.params.seed,
    )
