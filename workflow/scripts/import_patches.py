"""Rule `import_patches`: take over a patch set in UBC PhotoTour layout."""

from pathlib import Path

from porepatch_lib.patches.imported import PatchSetSettings, import_patch_set
from porepatch_lib.stage import stage

with stage(snakemake):
    pairs = snakemake.output.get("pairs")
    import_patch_set(
        name=snakemake.wildcards.patch_set,
        part=snakemake.params.part,
        output_patches=Path(snakemake.output.patches),
        output_index=Path(snakemake.output.index),
        output_pairs=Path(pairs) if pairs else None,
        settings=PatchSetSettings(**snakemake.params.settings),
        hold_out=snakemake.params.hold_out,
        seed=snakemake.params.seed,
    )
