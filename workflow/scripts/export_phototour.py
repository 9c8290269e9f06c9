"""Rule `export_phototour`: write a dataset in UBC PhotoTour layout."""

from porepatch_lib.patches.phototour import export_phototour
from porepatch_lib.stage import stage

with stage(snakemake.log[0], snakemake.threads):
    export_phototour(
        patches=snakemake.input.patches,
        index=snakemake.input.index,
        pairs=snakemake.input.pairs,
        output_folder=snakemake.output.phototour,
    )
