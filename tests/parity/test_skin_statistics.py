"""Rendered skin against photographed skin: power spectrum, contrast, and the density and size of its keypoints.

`python tests/parity/test_skin_statistics.py` prints the table.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from porepatch_lib.captures.views import load_grey, load_mask, read_views
from porepatch_lib.evaluation.appearance import SkinStatistics, skin_statistics, square_crops
from porepatch_lib.rendering.render import render_subject
from porepatch_lib.rendering.settings import RenderSettings
from porepatch_lib.rendering.sitting import Sitting
from porepatch_lib.reporting.markdown import markdown_table

# Who is rendered: one frontal view, wide enough for cheeks, nose and forehead.
SITTING, SEED = Sitting("face02"), 1  # fair and without stubble, like the person of the close photograph
WIDTH_MM, HEIGHT_MM = 122, 162

# Resolutions at which skin is compared, that of NeRSemble first. The close photograph reaches it, all of them reach the second.
SCALES_PX_PER_MM = (7.4, 3.2)
MOST_CROPS = 8
MOST_CROP_PX = 180
_MOST_ENLARGEMENT = 1.1


@dataclass(frozen=True)
class Photograph:
    """A photograph of skin, its resolution at the face, and boxes (left, top, side) of bare skin at two resolutions.

    The resolution follows from the distance of the pupils, 63 mm, or from that between the corners of eye and mouth, 69 mm.
    """

    name: str
    px_per_mm: float
    boxes: dict[float, tuple[tuple[int, int, int], ...]]


PHOTOGRAPHS = (
    Photograph(
        "face4k_1.png",
        12.5,
        {7.4: ((300, 330, 300), (400, 620, 300), (320, 900, 290), (760, 220, 254)), 3.2: ((212, 328, 536),)},
    ),
    Photograph("london_002.jpg", 3.65, {3.2: ((590, 365, 158), (745, 652, 156))}),
    Photograph("london_034.jpg", 3.14, {3.2: ((585, 378, 130), (475, 622, 136), (752, 622, 136))}),
    Photograph("london_096.jpg", 2.98, {3.2: ((592, 440, 130), (494, 692, 128), (730, 705, 130))}),
    Photograph("london_123.jpg", 2.96, {3.2: ((580, 390, 130), (482, 628, 130), (745, 628, 130))}),
)


@dataclass(frozen=True)
class Crop:
    """The statistics of one crop at one resolution."""

    origin: str
    px_per_mm: float
    statistics: SkinStatistics

    def numbers(self) -> dict[str, float]:
        """The compared numbers by name."""
        found = self.statistics
        return {
            "slope": found.slope,
            "contrast %": found.contrast_percent,
            "density /100x100 px": found.psift.density,
            "median sigma px": found.psift.sigma_quartiles_px[1],
        }


@pytest.fixture(scope="module")
def rendered(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Crop]:
    return rendered_crops(tmp_path_factory.mktemp("skin"))


@pytest.fixture(scope="module")
def photographed(shared: Path) -> list[Crop]:
    return real_crops(shared / "data" / "skin")


@pytest.mark.parametrize("scale", SCALES_PX_PER_MM)
@pytest.mark.parametrize("number", ["slope", "contrast %", "density /100x100 px", "median sigma px"])
def test_rendered_skin_lies_within_the_range_of_real_skin(
    photographed: list[Crop], rendered: list[Crop], scale: float, number: str
) -> None:
    """The middle of our crops; single ones may be more porous than the few places that were photographed."""
    real = [crop for crop in photographed if crop.px_per_mm == scale]
    ours = [crop for crop in rendered if crop.px_per_mm == scale]
    assert ours
    values = [crop.numbers()[number] for crop in real]
    middle = float(np.median([crop.numbers()[number] for crop in ours]))
    low, high = min(values), max(values)
    assert low <= middle <= high, f"{number} {middle:.2f} is outside {low:.2f} .. {high:.2f}:\n{table([*real, *ours])}"


def real_crops(folder: Path) -> list[Crop]:
    """Measure the boxes of all photographs in `folder`."""
    crops = []
    for photograph in PHOTOGRAPHS:
        grey = read_grey(folder / photograph.name)
        for scale, boxes in photograph.boxes.items():
            for left, top, side in boxes:
                crop = resampled(grey[top : top + side, left : left + side], scale / photograph.px_per_mm)
                crops.append(Crop(f"{photograph.name} ({left},{top})", scale, skin_statistics(crop)))
    return crops


def rendered_crops(folder: Path) -> list[Crop]:
    """Render into `folder` with a camera of each resolution and measure the largest squares of skin."""
    crops = []
    for scale in SCALES_PX_PER_MM:
        size = {"width": round(WIDTH_MM * scale), "height": round(HEIGHT_MM * scale), "field_height_mm": HEIGHT_MM}
        settings = RenderSettings(views=1, texel_mm=0.05 * max(SCALES_PX_PER_MM) / scale, **size)
        images = folder / f"{scale:g}" / "images.parquet"
        render_subject(SITTING, images, settings, SEED, threads=2)
        view = read_views(images)[0]
        grey, mask = load_grey(view), load_mask(view)
        assert mask is not None
        for left, top, side in square_crops(mask, MOST_CROPS, MOST_CROP_PX):
            statistics = skin_statistics(grey[top : top + side, left : left + side])
            crops.append(Crop(f"rendered {side} px at ({left},{top})", scale, statistics))
    return crops


def resampled(grey: np.ndarray, factor: float) -> np.ndarray:
    """Reduce a crop by averaging areas, as larger pixels would. Factors near 1 leave it as it is."""
    assert factor <= _MOST_ENLARGEMENT
    return grey if factor > 0.95 else cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def read_grey(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return image


def table(crops: list[Crop]) -> str:
    """All numbers of the crops as a Markdown table."""
    rows = []
    for crop in crops:
        sigmas = " ".join(f"{sigma:.2f}" for sigma in crop.statistics.psift.sigma_quartiles_px)
        shares = " ".join(f"{100 * share:.0f}" for share in crop.statistics.psift.sigma_histogram)
        slope, contrast, density, _ = (f"{value:.2f}" for value in crop.numbers().values())
        pore = (f"{crop.statistics.pore.density:.0f}", f"{crop.statistics.pore.sigma_quartiles_px[1]:.2f}")
        rows.append([crop.origin, f"{crop.px_per_mm:g}", slope, contrast, density, sigmas, shares, *pore])
    names = ["crop", "px/mm", "slope", "contrast %", "psift", "sigma quartiles", "sigma histogram %", "pore", "pore sigma"]
    return markdown_table(names, rows)


def main() -> None:
    """Print the statistics of photographed and rendered skin."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--photographs", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data" / "skin")
    arguments = parser.parse_args()
    real = real_crops(arguments.photographs)
    with tempfile.TemporaryDirectory() as folder:
        ours = rendered_crops(Path(folder))
    print(table(sorted([*real, *ours], key=lambda crop: -crop.px_per_mm)))


if __name__ == "__main__":
    main()
