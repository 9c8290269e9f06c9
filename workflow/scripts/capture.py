"""Rule `capture`: read the photographs of one subject."""

from porepatch_lib.captures.face_masks import MaskSettings
from porepatch_lib.captures.photographs import PhotographSettings, ingest_photographs
from porepatch_lib.stage import stage

with stage(snakemake):
    ingest_photographs(
        subject=snakemake.wildcards.subject,
        folder=snakemake.input.photographs,
        masks=snakemake.params.mask_source,
        cameras=snakemake.input.cameras or None,
        output=snakemake.output.images,
        settings=PhotographSettings(**snakemake.params.settings),
        mask_settings=MaskSettings(**snakemake.params.masks),
        threads=snakemake.threads,
    )
