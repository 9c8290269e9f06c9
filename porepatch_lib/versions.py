"""A number per stage, raised whenever the stage's output changes: Snakemake does not see edits inside a library."""

STAGE_VERSIONS = {
    "render": 1,
    "capture": 1,
    "detect": 1,
    "describe": 1,
    "match": 1,
    "reconstruct": 1,
    "tracks": 1,
    "patches": 1,
    "dataset": 1,
    "train": 2,
    "truth": 1,
    "evaluate_detector": 1,
    "audit": 1,
    "verify": 1,
    "summary": 1,
}
