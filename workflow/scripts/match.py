"""Rule `match`: match the views of one subject."""

from porepatch_lib.matching.match import MatchSettings, match_subject
from porepatch_lib.stage import stage

with stage(snakemake):
    match_subject(
        images=snakemake.input.images,
        keypoints=snakemake.input.keypoints,
        descriptors=snakemake.input.descriptors,
        pairs=snakemake.input.pairs,
        output=snakemake.output.matches,
        settings=MatchSettings(**snakemake.params.settings),
        threads=snakemake.threads,
        calibration=snakemake.input.get("calibration") or None,
    )
