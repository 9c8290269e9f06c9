"""Lay out rendered captures: whole views above, forehead, cheek and nose at full resolution below.

    python docs/images/make_captures_sheet.py results/captures/face01 results/captures/face02 ... --output captures.jpg

With `--photographs` crops of real skin are put below, for the eye only:

    ... --photographs face4k_1.png:0.6:420,180 face4k_1.png:0.6:200,420     (file : factor to the renders' scale : left, top)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.captures.views import load_colour
from porepatch_lib.geometry import project
from porepatch_lib.rendering.features import REGIONS
from porepatch_lib.rendering.truth import SubjectTruth
from porepatch_lib.rendering.truth_files import read_truth

CROP_PX = 240
GAP_PX = 6
SHOWN = ("forehead", "cheek_left", "nose")

Image = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", type=Path, nargs="+", help="folders of rendered captures")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--photographs", nargs="*", default=[], help="FILE:FACTOR:LEFT,TOP of real skin to compare with")
    arguments = parser.parse_args()
    truths = [read_truth(folder / "images.parquet", folder / "truth") for folder in arguments.captures]
    rows = [[whole_view(truth, share) for truth, share in zip(truths, np.linspace(0.1, 0.9, len(truths)), strict=True)]]
    rows += [[crop_of_region(truth, region) for truth in truths] for region in SHOWN]
    if arguments.photographs:
        rows.append([crop_of_photograph(text) for text in arguments.photographs])
    cv2.imwrite(str(arguments.output), lay_out(rows), [cv2.IMWRITE_JPEG_QUALITY, 90])


def whole_view(truth: SubjectTruth, share: float) -> Image:
    """Return the view that lies at `share` of the way from the left to the right, as wide as a crop."""
    image_ids = sorted(truth.views)
    image = load_colour(truth.views[image_ids[round(share * (len(image_ids) - 1))]])
    height = round(CROP_PX * image.shape[0] / image.shape[1])
    return np.asarray(cv2.resize(image, (CROP_PX, height), interpolation=cv2.INTER_AREA), np.uint8)


def crop_of_region(truth: SubjectTruth, region: str) -> Image:
    """Return pixels around the middle of a region in the view that faces it most."""
    chosen = truth.regions == REGIONS.index(region)
    middle = np.asarray(truth.reference.vertices, np.float64)[chosen].mean(axis=0)
    centres = {image_id: truth.pose(image_id).centre - middle for image_id in truth.views}
    towards = middle * [1.0, 0.0, 1.0]
    image_id = max(centres, key=lambda key: float(centres[key] @ towards) / float(np.linalg.norm(centres[key])))
    view = truth.views[image_id]
    (x, y), _ = (values[0] for values in project(view.camera, truth.pose(image_id), middle[None]))
    return square(load_colour(view), round(x) - CROP_PX // 2, round(y) - CROP_PX // 2)


def crop_of_photograph(text: str) -> Image:
    """Return a crop of FILE:FACTOR:LEFT,TOP, enlarged or shrunk by the factor first."""
    path, factor, corner = text.rsplit(":", 2)
    image = cv2.imread(path)
    if image is None:
        raise SystemExit(f"Cannot read {path}; give a JPEG or PNG file.")
    left, top = (int(value) for value in corner.split(","))
    return square(
        np.asarray(cv2.resize(image, None, fx=float(factor), fy=float(factor), interpolation=cv2.INTER_AREA)), left, top
    )


def square(image: Image, left: int, top: int) -> Image:
    left = int(np.clip(left, 0, image.shape[1] - CROP_PX))
    top = int(np.clip(top, 0, image.shape[0] - CROP_PX))
    return image[top : top + CROP_PX, left : left + CROP_PX]


def lay_out(rows: list[list[Image]]) -> Image:
    """Return the images of each row side by side on white, rows below each other."""
    width = max(sum(image.shape[1] + GAP_PX for image in row) for row in rows) + GAP_PX
    height = sum(row[0].shape[0] + GAP_PX for row in rows) + GAP_PX
    sheet = np.full((height, width, 3), 255, np.uint8)
    y = GAP_PX
    for row in rows:
        x = GAP_PX
        for image in row:
            sheet[y : y + image.shape[0], x : x + image.shape[1]] = image
            x += image.shape[1] + GAP_PX
        y += row[0].shape[0] + GAP_PX
    return sheet


if __name__ == "__main__":
    main()
