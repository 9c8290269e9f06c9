"""Rule `merge`: merge the patches of several subjects into one dataset."""

from porepatch_lib.patches.dataset import PairSettings, build_dataset
from porepatch_lib.stage import stage

with stage(snakemake):
    build_dataset(
        split=snakemake.params.title,
        subjects=snakemake.params.subjects,
        patches=snakemake.input.patches,
        indexes=snakemake.input.index,
        patches_output=snakemake.output.patches,
        index_output=snakemake.output.index,
        pairs_output=snakemake.output.pairs,
        settings=PairSettings(**snakemake.params.settings),
        seed=snakemake.params.seed,
        hint=snakemake.params.hint,
    )
