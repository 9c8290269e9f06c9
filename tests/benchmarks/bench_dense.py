"""Our patch match beside its peers on one rendered subject: seconds, coverage of the visible surface, error.

    python tests/benchmarks/bench_dense.py CAPTURES SFM [--threads N] [--max-image-px N]

CAPTURES is the folder of a rendered subject (`images.parquet`, `truth/`), SFM its folder of the sfm stage with metric poses. All
methods see the same undistorted views and are confirmed and fused alike. The peers: rectified semi-global matching
(OpenCV's StereoSGBM) of each view with its two best sources, and a fronto-parallel plane sweep with NCC in torch.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch

from porepatch_lib.captures.views import read_views
from porepatch_lib.dense.consistency import confirmations
from porepatch_lib.dense.depth_maps import DepthMap, find_depth_maps, normals_of
from porepatch_lib.dense.patch_match import transform
from porepatch_lib.dense.scene import DenseView, undistorted_view
from porepatch_lib.dense.settings import DenseSettings
from porepatch_lib.dense.sources import choose_sources
from porepatch_lib.geometry import rays, unproject
from porepatch_lib.rendering.truth_files import read_truth
from porepatch_lib.rendering.visibility import build_scene
from porepatch_lib.reporting.markdown import markdown_table
from porepatch_lib.sfm.colmap import set_quiet
from porepatch_lib.sfm.model import SparseModel, read_model
from porepatch_lib.sfm.workspace import fuse, write_maps, write_workspace
from porepatch_lib.threads import limit_threads

Views = Mapping[int, DenseView]
Sources = Mapping[int, list[int]]
_PLANES = 96
_STEP = 5  # every so many pixels of the true depth are points of the surface to be covered


def main() -> None:
    arguments = _arguments()
    limit_threads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    set_quiet(True)
    settings = DenseSettings(max_image_px=arguments.max_image_px)
    model = read_model(arguments.sfm / "model")
    views = {
        view.image_id: undistorted_view(view, model.cameras[view.image_id], model.poses[view.image_id], settings.max_image_px)
        for view in read_views(arguments.captures / "images.parquet")
        if view.image_id in model.cameras
    }
    sources = choose_sources(model.poses, model.xyz, model.observed_point, model.image_id, settings.sources)
    methods: dict[str, Callable[[], dict[int, DepthMap]]] = {
        "patch match (ours)": lambda: find_depth_maps(views, sources, model, settings, 1, arguments.threads),
        "StereoSGBM, 2 rectified pairs": lambda: _confirmed(_semi_global(views, sources, model), views, sources, settings),
        f"plane sweep, {_PLANES} depths, torch": lambda: _confirmed(
            _plane_sweep(views, sources, model), views, sources, settings
        ),
    }
    rows = [[name, *_measure(method, arguments, model, views, sources, settings)] for name, method in methods.items()]
    print(markdown_table(["method", "s/view", "points", "within 0.25 mm", "median mm", "p95 mm", "normal deg"], rows))


def _measure(
    method: Callable[[], dict[int, DepthMap]],
    arguments: argparse.Namespace,
    model: SparseModel,
    views: Views,
    sources: Sources,
    settings: DenseSettings,
) -> list[str]:
    import open3d as o3d

    started = time.process_time()
    maps = method()
    seconds = (time.process_time() - started) / len(views)
    with tempfile.TemporaryDirectory() as name:
        workspace = Path(name)
        write_workspace(workspace, list(views.values()), model, sources)
        for image_id, found in maps.items():
            write_maps(workspace, image_id, found.depth, found.normals)
        count = fuse(workspace, workspace / "fused.ply", "geometric", settings.fused_pixels(len(views)), settings.fusion_error_px)
        cloud = o3d.io.read_point_cloud(str(workspace / "fused.ply"))
    truth = read_truth(arguments.captures / "images.parquet", arguments.captures / "truth").reference
    scene = build_scene(truth.vertices, truth.triangles, threads=1)
    points = np.asarray(cloud.points, np.float32)
    nearest = scene.compute_closest_points(o3d.core.Tensor(points), nthreads=1)
    error = np.linalg.norm(nearest["points"].numpy() - points, axis=1)
    cosine = np.einsum("ij,ij->i", np.asarray(cloud.normals), nearest["primitive_normals"].numpy()).clip(-1, 1)
    surface = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(_visible(scene, views)))
    covered = np.mean(np.asarray(surface.compute_point_cloud_distance(cloud)) < 0.25)
    angle = np.rad2deg(np.median(np.arccos(cosine)))
    return [
        f"{seconds:.1f}",
        f"{count:,}",
        f"{covered:.3f}",
        f"{np.median(error):.3f}",
        f"{np.percentile(error, 95):.3f}",
        f"{angle:.1f}",
    ]


def _visible(scene: object, views: Views) -> np.ndarray:
    """Points (N,3) of the true surface that the masks show."""
    import open3d as o3d

    found = []
    for view in views.values():
        y, x = (_STEP * place for place in np.nonzero(view.mask[::_STEP, ::_STEP]))
        beams = rays(view.camera, np.stack([x, y], axis=1).astype(float))
        starts = np.broadcast_to(view.pose.centre, beams.shape)
        cast = np.concatenate([starts, beams @ view.pose.rotation], axis=1).astype(np.float32)
        depth = scene.cast_rays(o3d.core.Tensor(cast), nthreads=1)["t_hit"].numpy()  # type: ignore[attr-defined]
        hit = np.isfinite(depth)
        found.append(unproject(view.camera, view.pose, np.stack([x, y], axis=1).astype(float)[hit], depth[hit].astype(float)))
    return np.concatenate(found)


def _confirmed(inverse: dict[int, np.ndarray], views: Views, sources: Sources, settings: DenseSettings) -> dict[int, DepthMap]:
    """The same agreement between views as ours; normals from the differences of a smoothed inverse depth."""
    maps = {}
    for image_id, view in views.items():
        others = [views[source] for source in sources[image_id]]
        there = np.array([transform(view, view.matrix, other, other.matrix) for other in others])
        back = np.array([transform(other, other.matrix, view, view.matrix) for other in others])
        count = confirmations(inverse[image_id], tuple(inverse[s] for s in sources[image_id]), there, back, settings.max_error_px)
        kept = count >= min(settings.min_consistent, len(others))
        weight = cv2.GaussianBlur(kept.astype(np.float32), (0, 0), 2.5)
        smooth = cv2.GaussianBlur(np.where(kept, inverse[image_id], 0).astype(np.float32), (0, 0), 2.5) / np.maximum(weight, 1e-6)
        down, across = np.gradient(smooth)
        normals = normals_of(np.stack([smooth, across, down], axis=-1), view.matrix) * kept[..., None]
        depth = np.where(kept, 1.0 / np.where(kept, inverse[image_id], 1.0), 0.0)
        maps[image_id] = DepthMap(depth.astype(np.float32), normals.astype(np.float32))
    return maps


def _depth_range(view: DenseView, model: SparseModel) -> tuple[float, float]:
    depth = view.pose.to_camera(model.xyz[model.observed_point[model.image_id == view.image_id]])[:, 2]
    low, high = np.percentile(depth, (1, 99))
    return low - 0.2 * (high - low), high + 0.2 * (high - low)


def _semi_global(views: Views, sources: Sources, model: SparseModel) -> dict[int, np.ndarray]:
    """Inverse depth of each view: the nearer of its rectified pairs' depths."""
    found = {}
    for image_id, view in views.items():
        pairs = [
            _pair_depth(view, views[source], _depth_range(view, model), np.median(model.xyz, axis=0))
            for source in sources[image_id][:2]
        ]
        depth = np.fmin.reduce(pairs)
        found[image_id] = np.where(np.isfinite(depth) & view.mask, 1.0 / depth, 0.0).astype(np.float32)
    return found


def _pair_depth(view: DenseView, source: DenseView, limits: tuple[float, float], middle: np.ndarray) -> np.ndarray:
    """Depth (H,W) of a view from one rectified pair, NaN where unknown."""
    rotation = source.pose.rotation @ view.pose.rotation.T
    translation = source.pose.translation - rotation @ view.pose.translation
    height, width = view.mask.shape
    size = (int(1.2 * max(width, height)),) * 2
    none = np.zeros(4)
    r1, r2, p1, p2, *_ = cv2.stereoRectify(
        view.matrix,
        none,
        source.matrix,
        none,
        (width, height),
        rotation,
        translation[:, None],
        flags=0,
        alpha=-1,
        newImageSize=size,
    )
    # OpenCV puts the middle of either image somewhere; the subject belongs in the middle of both.
    for viewer, turn, onto in ((view, r1, p1), (source, r2, p2)):
        place = turn @ viewer.pose.to_camera(middle[None])[0]
        onto[:2, 2] = np.array(size) / 2 - onto[[0, 1], [0, 1]] * place[:2] / place[2]
    turned = []
    for image, matrix, turn, onto in ((view, view.matrix, r1, p1), (source, source.matrix, r2, p2)):
        columns, rows = cv2.initUndistortRectifyMap(matrix, none, turn, onto, size, cv2.CV_32FC1)
        turned.append(cv2.remap(image.image, columns, rows, cv2.INTER_LINEAR))
    upright = abs(p2[1, 3]) > abs(p2[0, 3])  # OpenCV rectifies to columns where the baseline is steep
    if upright:
        turned = [np.ascontiguousarray(image.transpose(1, 0, 2)) for image in turned]
    axis = 1 if upright else 0
    middle_ray = view.pose.to_camera(middle[None])[0]
    middle_ray /= middle_ray[2]
    # A disparity is a shift over depth plus the difference of the two principal points.
    offset = p1[axis, 2] - p2[axis, 2]
    ends = [-p2[axis, 3] / (r1[2] @ middle_ray * depth) + offset for depth in limits]
    first = int(np.floor(min(ends))) - 16
    count = int(np.ceil((max(ends) + 16 - first) / 16) * 16)
    matcher = cv2.StereoSGBM_create(
        first, count, 5, 600, 2400, disp12MaxDiff=1, uniquenessRatio=5, speckleWindowSize=100, speckleRange=2,
        mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
    )  # fmt: skip
    disparity = matcher.compute(*turned).astype(np.float32) / 16.0
    disparity[disparity < first] = np.nan
    if upright:
        disparity = np.ascontiguousarray(disparity.T)
    rows, columns = np.indices((height, width))
    beams = np.stack([columns, rows, np.ones_like(rows)], axis=-1).reshape(-1, 3) @ np.linalg.inv(view.matrix).T @ r1.T
    place = beams @ p1[:, :3].T
    place = (place[:, :2] / place[:, 2:]).astype(np.float32).reshape(height, width, 2)
    seen = cv2.remap(disparity, place[..., 0], place[..., 1], cv2.INTER_LINEAR, borderValue=float("nan"))
    return -p2[axis, 3] / (seen - offset) / beams[:, 2].reshape(height, width)


def _plane_sweep(views: Views, sources: Sources, model: SparseModel) -> dict[int, np.ndarray]:
    """Inverse depth of each view: the fronto-parallel plane of best NCC (9x9, best half of the sources), then a parabola."""
    found = {}
    for image_id, view in views.items():
        low, high = _depth_range(view, model)
        inverse = torch.linspace(1.0 / high, 1.0 / low, _PLANES)
        costs = torch.stack([_sweep_cost(view, [views[s] for s in sources[image_id]], float(value)) for value in inverse])
        best = costs.argmin(0).clamp(1, _PLANES - 2)
        below, middle, above = (costs.gather(0, (best + step)[None])[0] for step in (-1, 0, 1))
        shift = (0.5 * (below - above) / (below + above - 2 * middle).clamp_min(1e-6)).clamp(-0.5, 0.5)
        value = inverse[0] + (best + shift) * (inverse[1] - inverse[0])
        found[image_id] = np.where(view.mask & (middle < 0.5).numpy(), value.numpy(), 0.0).astype(np.float32)
    return found


def _sweep_cost(view: DenseView, others: list[DenseView], inverse_depth: float) -> torch.Tensor:
    reference = torch.from_numpy(view.grey)[None, None]
    height, width = view.mask.shape
    costs = []
    for other in others:
        row = transform(view, view.matrix, other, other.matrix).astype(float)
        homography = row[:9].reshape(3, 3) + np.outer(row[9:] * inverse_depth, [0.0, 0.0, 1.0])
        warped = cv2.warpPerspective(other.grey, homography, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        costs.append(1.0 - _ncc(reference, torch.from_numpy(warped)[None, None]))
    return torch.stack(costs).sort(0).values[: (len(others) + 1) // 2].mean(0)


def _ncc(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    def mean(image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(image, 9, 1, 4, count_include_pad=False)

    first, second = mean(one), mean(two)
    both = mean(one * two) - first * second
    variances = (mean(one * one) - first**2).clamp_min(0.3) * (mean(two * two) - second**2).clamp_min(0.3)
    return (both / variances.sqrt())[0, 0]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", type=Path)
    parser.add_argument("sfm", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--max-image-px", type=int, default=1200)
    return parser.parse_args()


if __name__ == "__main__":
    main()
