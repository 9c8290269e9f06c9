"""Rule `tracks`: filter the tracks of one subject."""

from porepatch_lib.sfm.tracks import TrackSettings, extract_tracks
from porepatch_lib.stage import stage

with stage(snakemake):
    extract_tracks(
        images=snakemake.input.images,
        keypoints=snakemake.input.keypoints,
        sfm_folder=snakemake.input.sfm,
        output=snakemake.output.tracks,
        settings=TrackSettings(**snakemake.params.settings),
    )
