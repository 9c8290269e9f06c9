"""Rule `truth_tracks`: label the keypoints of one rendered subject by truth."""

from porepatch_lib.evaluation.test_set import TruthSettings, write_truth_tracks
from porepatch_lib.stage import stage

with stage(snakemake.log[0], snakemake.threads):
    write_truth_tracks(
        images=snakemake.input.images,
        keypoints=snakemake.input.keypoints,
        truth_folder=snakemake.input.truth,
        output=snakemake.output.tracks,
        settings=TruthSettings(**snakemake.params.settings),
    )
