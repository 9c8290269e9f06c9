"""Rule `eth`: read one folder in the layout of the ETH local-feature evaluation."""

from porepatch_lib.captures.eth import capture_eth
from porepatch_lib.captures.face_masks import MaskSettings
from porepatch_lib.captures.photographs import PhotographSettings
from porepatch_lib.stage import stage

with stage(snakemake):
    capture_eth(
        subject=snakemake.wildcards.subject,
        folder=snakemake.input.dataset,
        masks=snakemake.params.mask_source,
        output=snakemake.output.images,
        settings=PhotographSettings(**snakemake.params.settings),
        mask_settings=MaskSettings(**snakemake.params.masks),
        threads=snakemake.threads,
    )
