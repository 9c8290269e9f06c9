"""What the stages made of the tiny workflow, in a few numbers each; `python tests/workflow/golden.py RESULTS` stores them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from porepatch_lib.captures.views import load_grey, read_views
from porepatch_lib.files import read_json, write_json
from porepatch_lib.tables import KEYPOINTS, MATCHES, PATCH_PAIRS, PATCHES, TEST_PAIRS, TRACKS, read_table
from porepatch_lib.versions import STAGE_VERSIONS

GOLDEN = Path(__file__).parent / "golden.json"
Numbers = dict[str, float]


def measure(results: Path) -> dict[str, Numbers]:
    """Return {stage: numbers} of a finished tiny run; training is left out, it differs between processors."""
    keypoints = read_table(results / "keypoints/tiny01.parquet", KEYPOINTS)
    matches = read_table(results / "round0/matches/tiny01.parquet", MATCHES)
    found = read_table(results / "keypoints/tiny04.parquet", KEYPOINTS)
    tracks = read_table(results / "round0/tracks/tiny01.parquet", TRACKS)
    truth = read_table(results / "verification/tracks/tiny03.parquet", TRACKS)
    pairs = read_table(results / "round0/dataset/train/pairs.parquet", PATCH_PAIRS)
    index = read_table(results / "round0/dataset/train/index.parquet", PATCHES)
    patches = np.load(results / "round0/patches/tiny01.npy")
    descriptors = np.load(results / "round0/descriptors/tiny01.npy").astype(np.float64)
    views = [load_grey(view) for view in read_views(results / "captures/tiny01/images.parquet")]
    status = read_json(results / "round0/sfm/tiny01/status.json")
    rootsift = read_json(results / "verification/rendered/rootsift.json")
    bare = np.load(results / "verification/rendered/descriptors/sift-bare.npy")
    labelled = read_table(results / "verification/rendered/pairs.parquet", TEST_PAIRS)
    matched = read_json(results / "verification/matching/tiny03/rootsift.json")
    rebuilt = results / "reconstruction/tiny04/psift/densified"
    guided = read_table(rebuilt / "guided.parquet", MATCHES)
    moved = read_table(rebuilt / "refined.parquet", KEYPOINTS)[["x", "y"]] - found[["x", "y"]]
    row = read_json(rebuilt / "evaluation/metrics.json")["row"]
    return {
        "render": {"mean_grey": float(np.mean(views)), "contrast": float(np.std(views))},
        "detect": {name: float(keypoints[name].mean()) for name in ("x", "y", "sigma", "response")} | {"count": len(keypoints)},
        "describe": {"mean": float(descriptors.mean()), "largest": float(descriptors.max(axis=1).mean())},
        "match": {"count": len(matches), "distance": float(matches["distance"].mean())},
        "reconstruct": {"points": status["points"], "error_px": status["mean_reprojection_error_px"]},
        "tracks": {"observations": len(tracks), "angle_rad": float(tracks["triangulation_angle_rad"].mean())},
        "patches": {"count": len(patches), "mean_grey": float(patches.mean()), "contrast": float(patches.std())},
        "dataset": {"patches": len(index), "pairs": len(pairs)},
        "truth": {"observations": len(truth), "points": truth["point_id"].nunique()},
        "test_pairs": {"hard": int((labelled["kind"] == "hard").sum()), "octaves": float(labelled["octaves"].mean())},
        "describe_test": {"mean": float(bare.mean()), "largest": float(bare.max(axis=1).mean())},
        "verify": {name: rootsift[name] for name in ("average_precision", "auc", "positives")},
        "calibrate_ratio": {"ratio": read_json(results / "reconstruction/calibration/psift.json")["ratio"]},
        "match_guided": {"count": len(guided), "distance": float(guided["distance"].mean())},
        "refine_keypoints": {"shift_px": float(np.hypot(moved["x"], moved["y"]).mean())},
        "dense": {"points": row["dense_points"]["median"]},
        "evaluate_reconstruction": {
            name: row[name]["median"] for name in ("sparse_points", "sparse_accuracy_0.5mm", "dense_f_0.5mm")
        },
        "matching_score": {name: matched[name] for name in ("precision", "recall")},
    }


def main() -> None:
    found = measure(Path(sys.argv[1]))
    write_json(GOLDEN, {stage: {"version": STAGE_VERSIONS[stage], "numbers": numbers} for stage, numbers in found.items()})
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
