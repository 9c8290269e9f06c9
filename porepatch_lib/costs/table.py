"""The table of costs: what every stage was measured to need, per unit of what drives it.

CPU seconds and peak memory are those of finished jobs (`results/benchmarks`): 8 faces of 8 views of 1100x1604 pixels with 4,000
keypoints each, and one of 16 views of 2200x3208 with 10,000, on two shared cores of a server without a GPU.
`python tests/benchmarks/bench_plan.py --costs` prints what it says of the scale of the paper.
"""

from __future__ import annotations

from porepatch_lib.costs.cost import Cost, Unit

# Not measured here, where there is no GPU, and low for those of this decade.
_GPU_GAIN, _TRAINING_GPU_GAIN = 10.0, 40.0

COSTS: dict[str, Cost] = {
    # Captures.
    "render": Cost(1700.0, 30.0, {"megapixels": Unit(seconds=3.4)}, thread_megabytes=40.0, parallel=0.9),
    "capture": Cost(200.0, 2.0, {"megapixels": Unit(seconds=0.5)}, thread_megabytes=30.0, parallel=0.9),
    "survey": Cost(190.0, 1.5, {"megapixels": Unit(seconds=0.08)}, thread_megabytes=12.0, parallel=0.8),
    # Keypoints, descriptors, matches.
    "detect": Cost(310.0, 2.0, {"megapixels": Unit(seconds=0.15), "keypoints": Unit(0.5)}, thread_megabytes=20.0, parallel=0.8),
    "describe": Cost(
        300.0, 2.0, {"megapixels": Unit(seconds=0.1), "keypoints": Unit(2.5, 0.15)}, thread_megabytes=20.0, parallel=0.8
    ),
    "describe_network": Cost(650.0, 4.0, {"keypoints": Unit(1.5, 0.75)}, thread_megabytes=5.0, parallel=0.9, gpu_gain=_GPU_GAIN),
    "colmap_sift": Cost(150.0, 1.0, {"megapixels": Unit(seconds=1.6)}, thread_megabytes=310.0, parallel=0.9),
    "exchange": Cost(250.0, 2.0, {"keypoints": Unit(6.0, 0.05)}),
    "view_pairs": Cost(150.0, 1.0),
    "match": Cost(230.0, 1.5, {"keypoints": Unit(2.0), "comparisons": Unit(seconds=20.0)}, parallel=0.9),
    "match_guided": Cost(
        260.0, 1.5, {"keypoints": Unit(3.0, 0.03), "comparisons": Unit(seconds=3.0)}, thread_megabytes=10.0, parallel=0.7
    ),
    "calibrate_ratio": Cost(300.0, 2.0, {"keypoints_each": Unit(8.0), "comparisons": Unit(seconds=20.0)}, parallel=0.5),
    # Structure from motion.
    "reconstruct": Cost(200.0, 1.0, {"keypoints": Unit(1.5, 0.12)}),
    "tracks": Cost(150.0, 0.5, {"keypoints": Unit(2.5, 0.02)}),
    "refine_keypoints": Cost(
        200.0, 1.5, {"keypoints": Unit(4.0, 0.1), "megapixels": Unit(1.0)}, thread_megabytes=10.0, parallel=0.7
    ),
    "dense": Cost(
        300.0,
        5.0,
        {"dense_megapixels": Unit(45.0, 18.0)},
        thread_megabytes=10.0,
        parallel=0.8,
        gpu_gain=_GPU_GAIN,
    ),
    "evaluate_reconstruction": Cost(450.0, 4.0, {"keypoints": Unit(6.0, 0.15)}, parallel=0.5),
    "draw_clouds": Cost(240.0, 2.0, {"keypoints": Unit(1.0, 0.01)}),
    # Patches: those held are mapped from the disk, and their index is in memory.
    "extract": Cost(250.0, 1.0, {"keypoints": Unit(2.5, 0.03)}, thread_megabytes=20.0, parallel=0.7),
    "merge": Cost(280.0, 1.0, {"patches": Unit(0.2, 0.012), "pairs": Unit(0.2, 0.002)}),
    "card": Cost(140.0, 0.5, {"patches": Unit(0.4, 0.005)}),
    "contact_sheet": Cost(200.0, 1.0, {"patches": Unit(0.4, 0.003)}),
    "export_phototour": Cost(200.0, 1.0, {"patches": Unit(0.6, 0.02)}),
    "import_patches": Cost(300.0, 2.0, {"input_mb": Unit(1.5, 0.02)}),
    # Training: patches are mapped, a batch and its gradients are held.
    "train": Cost(
        800.0,
        15.0,
        {"samples": Unit(seconds=3.0), "batch": Unit(megabytes=600.0), "patches": Unit(0.3, 0.002)},
        parallel=0.95,
        gpu_gain=_TRAINING_GPU_GAIN,
    ),
    "export_onnx": Cost(900.0, 10.0),
    # Verification and evaluation.
    "truth_tracks": Cost(250.0, 1.0, {"keypoints": Unit(7.0, 0.05)}),
    "merge_test": Cost(300.0, 1.0, {"patches": Unit(0.5, 0.03), "keypoints_each": Unit(3.0), "pairs": Unit(0.2, 0.002)}),
    "describe_test": Cost(
        400.0, 2.0, {"patches": Unit(2.5, 0.2), "megapixels": Unit(seconds=0.1)}, thread_megabytes=20.0, parallel=0.8
    ),
    "describe_test_network": Cost(
        750.0, 4.0, {"patches": Unit(1.0, 0.65)}, thread_megabytes=10.0, parallel=0.9, gpu_gain=_GPU_GAIN
    ),
    "verify": Cost(300.0, 1.5, {"patches": Unit(3.0, 0.02), "pairs": Unit(0.6, 0.04)}, parallel=0.6),
    "worst_pairs": Cost(400.0, 2.0, {"patches": Unit(2.0, 0.005)}),
    "matching_score": Cost(350.0, 2.0, {"keypoints": Unit(6.0, 0.3)}, thread_megabytes=20.0, parallel=0.7),
    "matching_score_network": Cost(
        600.0, 4.0, {"keypoints": Unit(7.0, 0.8)}, thread_megabytes=20.0, parallel=0.8, gpu_gain=_GPU_GAIN
    ),
    "audit": Cost(300.0, 1.5, {"keypoints_each": Unit(3.0), "patches": Unit(0.8, 0.02), "pairs": Unit(0.5, 0.005)}),
    "evaluate_detector": Cost(300.0, 2.0, {"keypoints": Unit(6.0, 0.25)}),
    "speed": Cost(400.0, 30.0, {"patches": Unit(2.0, 0.01)}, parallel=0.5),
    "speed_network": Cost(800.0, 60.0, {"patches": Unit(2.0, 0.01)}, parallel=0.5),
    # Tables and figures.
    "tables": Cost(200.0, 5.0, {"people": Unit(0.2, 0.05), "patches": Unit(0.1, 0.001)}),
}
