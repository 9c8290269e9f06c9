"""Rule `nersemble`: read one frame of a NeRSemble participant from all cameras."""

from porepatch_lib.captures.face_masks import MaskSettings
from porepatch_lib.captures.nersemble import NersembleSettings, ingest_nersemble
from porepatch_lib.stage import stage

with stage(snakemake):
    ingest_nersemble(
        subject=snakemake.wildcards.subject,
        participant=snakemake.input.participant,
        masks=snakemake.params.mask_source,
        output=snakemake.output.images,
        settings=NersembleSettings(**snakemake.params.settings),
        mask_settings=MaskSettings(**snakemake.params.masks),
        threads=snakemake.threads,
    )
