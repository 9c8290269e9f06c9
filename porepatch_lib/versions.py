"""A number per stage, raised whenever the stage's output changes: Snakemake does not see edits inside a library."""

STAGE_VERSIONS = {
    "render": 3,
    "capture": 2,
    "survey": 1,
    "detect": 1,
    "describe": 1,
    "match": 1,
    "reconstruct": 1,
    "tracks": 1,
    "patches": 1,
    "dataset": 1,
    "card": 1,
    "export_onnx": 1,
    "train": 3,
    "truth": 2,
    "evaluate_detector": 2,
    "audit": 2,
    "verify": 1,
    "speed": 1,
    "benchmark": 1,
    "summary": 3,
}
