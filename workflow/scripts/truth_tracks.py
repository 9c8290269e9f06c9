"""Rule `truth_tracks`: label the keypoints of one rendered subject by truth."""

from porepatch_lib.stage import stage
from porepatch_lib.verification.truth_tracks import TruthSettings, write_truth_tracks

with stage(snakemake):
    write_truth_tracks(
        images=snakemake.input.images,
        keypoints=snakemake.input.keypoints,
        truth_folder=snakemake.input.truth,
        output=snakemake.output.tracks,
        settings=TruthSettings(**snakemake.params.settings),
    )
