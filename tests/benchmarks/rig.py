"""Does structure from motion recover the rig of rendered captures? Incremental mapping, poses unknown, against the true cameras.

Intrinsics are taken as calibrated, or with `--refine` found too: with lenses this long a camera's distance and focal length then
stand in for each other.

python tests/benchmarks/rig.py results face01 face02
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from porepatch_lib.captures.views import read_views
from porepatch_lib.reporting.markdown import markdown_table
from porepatch_lib.sfm.reconstruct import SfmSettings, reconstruct_subject

FloatArray = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results of a run with rendered subjects")
    parser.add_argument("subjects", nargs="+")
    parser.add_argument("--round", type=int, default=0)
    parser.add_argument("--refine", action="store_true", help="refine the intrinsics")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    settings = SfmSettings(mapper="incremental", refine_intrinsics=arguments.refine)
    rows = [_row(arguments.results, subject, arguments.round, settings, arguments.seed) for subject in arguments.subjects]
    headers = ["subject", "views", "points", "median error %", "largest error %"]
    print("Camera positions after similarity alignment; error as a share of the rig's radius.\n")
    print(markdown_table(headers, rows))


def _row(results: Path, subject: str, r: int, settings: SfmSettings, seed: int) -> list[str]:
    images = results / "captures" / subject / "images.parquet"
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / subject
        reconstruct_subject(
            subject,
            images,
            results / "keypoints" / f"{subject}.parquet",
            results / f"round{r}" / "matches" / f"{subject}.parquet",
            output,
            settings,
            seed,
            threads=1,
        )
        model = pycolmap.Reconstruction(str(output / "model"))
    true = {view.name: view.pose.centre for view in read_views(images) if view.pose is not None}
    found = {image.name: image.projection_center() for image in model.images.values()}
    names = sorted(found)
    error = position_errors(np.array([found[name] for name in names]), np.array([true[name] for name in names]))
    percent = 100.0 * error / rig_radius(np.array(list(true.values())))
    return [subject, f"{len(names)}/{len(true)}", str(model.num_points3D()), f"{np.median(percent):.3f}", f"{percent.max():.3f}"]


def position_errors(found: FloatArray, true: FloatArray) -> FloatArray:
    """Return the distances (N,) mm between positions (N,3) after the similarity that fits them best (Umeyama, PAMI 1991)."""
    centred, target = found - found.mean(axis=0), true - true.mean(axis=0)
    u, s, vt = np.linalg.svd(target.T @ centred)
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = np.trace(np.diag(s) @ sign) / np.sum(centred**2)
    return np.asarray(np.linalg.norm(scale * centred @ (u @ sign @ vt).T - target, axis=1))


def rig_radius(centres: FloatArray) -> float:
    """Return the radius in mm of the sphere that fits camera centres (N,3) best."""
    system = np.column_stack([2.0 * centres, np.ones(len(centres))])
    solution = np.linalg.lstsq(system, np.sum(centres**2, axis=1), rcond=None)[0]
    return float(np.sqrt(solution[3] + solution[:3] @ solution[:3]))


if __name__ == "__main__":
    main()
