"""Measures of a view: closed forms, and real photographs that are blurred, darkened, repeated and re-saved."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from porepatch_lib.captures.quality import (
    Exposure,
    centroid,
    exposure,
    exposure_fault,
    face_place,
    near_copies,
    pixels_per_mm_at,
    pixels_per_mm_between,
    reduce_for_comparison,
    sharpness,
    similarity,
)
from porepatch_lib.geometry import Camera, Pose, nearest_to_rays

_SIGMAS_PX = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)


def _texture(seed: int = 0, size: int = 400) -> np.ndarray:
    """Contrast at all scales, as in nature: the amplitude of the spectrum falls as 1 / frequency."""
    rng = np.random.default_rng(seed)
    u, v = np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None]
    spectrum = np.fft.fft2(rng.normal(size=(size, size))) / np.maximum(np.hypot(u, v), 1.0 / size)
    image = np.fft.ifft2(spectrum).real
    return np.clip(np.rint(128.0 + 35.0 * image / image.std()), 0, 255).astype(np.uint8)


def _blurred(grey: np.ndarray, sigma_px: float) -> np.ndarray:
    return cv2.GaussianBlur(grey, (0, 0), sigma_px)


def _assert_falls_steadily(grey: np.ndarray) -> None:
    whole = sharpness(grey, None)
    values = [sharpness(_blurred(grey, sigma), None) for sigma in _SIGMAS_PX]
    assert values[0] < 1.05 * whole  # detail near the limit of the pixels hardly counts
    assert all(later < earlier for earlier, later in pairwise(values))
    assert values[_SIGMAS_PX.index(2.0)] < 0.45 * whole


def test_sharpness_of_a_wave_is_its_closed_form() -> None:
    """The second difference of cos(w x) at a step h is 2 (cos(w h) - 1) cos(w x)."""
    period, amplitude = 18.0, 100.0
    rows, columns = np.indices((720, 720))
    w = 2.0 * np.pi / period
    wave = np.rint(128.0 + 0.5 * amplitude * (np.cos(w * columns) + np.cos(w * rows))).astype(np.uint8)

    def energy(step: int) -> float:
        return (2.0 * (np.cos(w * step) - 1.0)) ** 2 * (0.5 * amplitude) ** 2 / 2.0

    coarse = max(0.0, energy(16) - energy(8))
    assert sharpness(wave, None) == pytest.approx((energy(4) - energy(2)) / (coarse + 1.0), rel=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_sharpness_falls_steadily_with_blur(seed: int) -> None:
    grey = _texture(seed)
    _assert_falls_steadily(grey)


@pytest.mark.parametrize("name", ["vespasian/images/IMG_1860.jpg", "fountain-P11/images/0005.jpg", "skin/face4k_1.png"])
def test_sharpness_of_a_real_photograph_falls_steadily_with_blur(shared: Path, name: str) -> None:
    grey = cv2.imread(str(shared / "data" / name), cv2.IMREAD_GRAYSCALE)[600:1200, 400:1200]
    _assert_falls_steadily(grey)


def test_of_real_views_the_sharp_are_not_blurred_and_the_blurred_are(shared: Path) -> None:
    """IMG_1876 is out of focus, as one sees at full size; it is the only one."""
    names = [1858, 1860, 1874, 1876, 1877, 1898]
    folder = shared / "data" / "vespasian"
    images = [
        cv2.imread(str(folder / f"images/IMG_{n}.jpg"), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION) for n in names
    ]
    masks = [cv2.imread(str(folder / f"masks/IMG_{n}.png"), cv2.IMREAD_GRAYSCALE) for n in names]
    values = np.array([sharpness(image, mask) for image, mask in zip(images, masks, strict=True)])
    assert (values < 0.5 * np.median(values)).tolist() == [name == 1876 for name in names]
    again = sharpness(_blurred(images[4], 2.0), masks[4])
    assert again < 0.5 * np.median(values)


@pytest.mark.parametrize("axis", [0, 1])
def test_motion_along_one_direction_shows(axis: int) -> None:
    grey = _texture()
    kernel = np.ones((9, 1) if axis == 0 else (1, 9), np.float32) / 9.0
    assert sharpness(cv2.filter2D(grey, -1, kernel), None) < 0.5 * sharpness(grey, None)


def test_noise_of_a_dark_photograph_does_not_look_sharp() -> None:
    grey = _texture()
    dark = 0.15 * _blurred(grey, 2.0).astype(np.float32) + 10.0
    noisy = np.clip(np.rint(dark + np.random.default_rng(1).normal(0.0, 3.0, grey.shape)), 0, 255).astype(np.uint8)
    assert sharpness(noisy, None) < 0.5 * sharpness(grey, None)
    flat = np.clip(np.rint(np.random.default_rng(2).normal(20.0, 4.0, grey.shape)), 0, 255).astype(np.uint8)
    assert sharpness(flat, None) < 0.5 * sharpness(grey, None)


def test_sharpness_does_not_change_with_the_light() -> None:
    grey = _texture()
    assert sharpness((0.5 * grey + 20.0).astype(np.uint8), None) == pytest.approx(sharpness(grey, None), rel=0.05)


def test_nothing_outside_the_mask_counts() -> None:
    grey = _texture()
    mask = cv2.circle(np.zeros_like(grey), (200, 200), 150, 255, cv2.FILLED)
    other = np.where(mask > 0, grey, np.random.default_rng(0).integers(0, 256, grey.shape)).astype(np.uint8)
    assert sharpness(other, mask) == sharpness(grey, mask)
    assert exposure(other, mask) == exposure(grey, mask)
    assert sharpness(other, None) != pytest.approx(sharpness(grey, None), rel=0.1)


@pytest.mark.parametrize(
    ("grey", "mask"),
    [
        (np.zeros((60, 80), np.uint8), None),
        (np.full((60, 80), 200, np.uint8), None),
        (np.zeros((7, 5), np.uint8), None),
        (_texture(size=80), np.zeros((80, 80), np.uint8)),
        (_texture(size=80), np.eye(80, dtype=np.uint8) * 255),
    ],
    ids=["black", "one colour", "tiny", "empty mask", "thin mask"],
)
def test_nothing_to_compare_is_not_sharp(grey: np.ndarray, mask: np.ndarray | None) -> None:
    assert sharpness(grey, mask) == 0.0
    assert reduce_for_comparison(grey).ndim == 2


def test_exposure_counts_inside_the_mask() -> None:
    grey = np.array([[0, 5, 6, 100], [249, 250, 255, 100], [9, 9, 9, 9]], np.uint8)
    mask = np.array([[255] * 4, [255] * 4, [0] * 4], np.uint8)
    measured = exposure(grey, mask)
    assert measured.mean_grey == pytest.approx(965 / 8)
    assert (measured.dark_share, measured.saturated_share) == (0.25, 0.25)
    assert (measured.low_grey, measured.high_grey) == (0, 255)
    assert exposure(grey, np.zeros_like(mask)) == Exposure(0.0, 0, 0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("measured", "is_masked", "fault"),
    [
        (Exposure(120.0, 60, 180, 0.0, 0.0), True, ""),
        (Exposure(60.0, 30, 100, 0.01, 0.0), True, ""),
        (Exposure(30.0, 10, 60, 0.1, 0.0), True, "too dark"),
        (Exposure(80.0, 0, 180, 0.3, 0.0), True, "too dark"),
        (Exposure(180.0, 90, 250, 0.0, 0.08), True, "too bright"),
        (Exposure(230.0, 200, 249, 0.0, 0.0), True, "too bright"),
        (Exposure(25.0, 0, 120, 0.8, 0.0), False, ""),
        (Exposure(225.0, 100, 255, 0.0, 0.7), False, ""),
        (Exposure(20.0, 0, 40, 0.5, 0.0), False, "too dark"),
        (Exposure(250.0, 240, 255, 0.0, 0.7), False, "too bright"),
    ],
)
def test_bad_exposure(measured: Exposure, is_masked: bool, fault: str) -> None:
    assert exposure_fault(measured, is_masked) == fault


def _moved(grey: np.ndarray, shift_px: tuple[float, float], angle_deg: float) -> np.ndarray:
    height, width = grey.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle_deg, 1.0)
    matrix[:, 2] += shift_px
    return cv2.warpAffine(grey, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


def test_bursts_and_saved_again_are_near_copies_and_other_views_are_not(shared: Path) -> None:
    folder = shared / "data" / "fountain-P11" / "images"
    first, second = (cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE) for name in ("0004.jpg", "0005.jpg"))
    noise = np.random.default_rng(0).normal(0.0, 3.0, first.shape)
    burst = np.clip(1.1 * _moved(first, (80.0, 50.0), 0.3) + noise, 0, 255).astype(np.uint8)
    saved_again = cv2.imdecode(cv2.imencode(".jpg", second, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_GRAYSCALE)
    reduced = [reduce_for_comparison(image) for image in (first, second, burst, saved_again, second)]
    assert near_copies(reduced, above=0.95) == [-1, -1, 0, 1, 1]
    assert similarity(reduced[0], reduced[1]) < 0.85


def test_no_two_views_of_vespasian_are_near_copies(shared: Path) -> None:
    paths = sorted((shared / "data" / "vespasian" / "images").glob("*.jpg"))
    reduced = [reduce_for_comparison(cv2.imread(str(path), cv2.IMREAD_REDUCED_GRAYSCALE_4)) for path in paths]
    assert near_copies(reduced, above=0.85) == [-1] * len(paths)


def test_images_without_contrast_or_of_another_shape_are_alike_to_none() -> None:
    texture = reduce_for_comparison(_texture())
    flat = reduce_for_comparison(np.full((400, 400), 9, np.uint8))
    wide = reduce_for_comparison(_texture()[:200])
    thin = reduce_for_comparison(_texture()[:3])
    assert [similarity(a, b) for a, b in ((flat, flat), (texture, flat), (texture, wide), (thin, thin))] == [0.0] * 4
    assert similarity(texture, texture) == pytest.approx(1.0, abs=1e-5)


def test_centroid() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[4:7, 10:21] = 255
    found = centroid(mask)
    assert found is not None
    np.testing.assert_allclose(found, [15.0, 5.0])
    assert centroid(np.zeros_like(mask)) is None


def test_nearest_point_of_crossing_and_of_skew_lines() -> None:
    rng = np.random.default_rng(3)
    point, directions = rng.normal(size=3), rng.normal(size=(5, 3))
    np.testing.assert_allclose(nearest_to_rays(point - 4.0 * directions, directions), point, atol=1e-9)
    # x axis at height 0 and y axis at height 2: half way between them
    skew = nearest_to_rays(np.array([[5.0, 0.0, 0.0], [0.0, -7.0, 2.0]]), np.array([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    np.testing.assert_allclose(skew, [0.0, 0.0, 1.0], atol=1e-12)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_one_line_or_parallel_lines_meet_nowhere(count: int) -> None:
    origins = np.arange(3.0 * count).reshape(count, 3)
    assert nearest_to_rays(origins, np.tile([0.0, 0.0, 1.0], (count, 1))) is None


def _turned(angle_rad: float, distance_mm: float) -> Pose:
    """A camera that looks at the origin from a distance."""
    sine, cosine = np.sin(angle_rad), np.cos(angle_rad)
    return Pose(np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]]), np.array([0.0, 0.0, distance_mm]))


def test_pixels_per_mm_of_a_rig() -> None:
    camera = Camera("PINHOLE", 2000, 3000, (8000.0, 8000.0, 1000.0, 1500.0))
    poses = [_turned(angle, distance) for angle, distance in ((-0.5, 800.0), (0.0, 1000.0), (0.6, 1200.0))]
    place = face_place([camera] * 3, poses, [np.array([1000.0, 1500.0])] * 3)
    assert place is not None
    np.testing.assert_allclose(place, 0.0, atol=1e-6)
    assert [pixels_per_mm_at(camera, pose, place) for pose in poses] == pytest.approx([10.0, 8.0, 20.0 / 3.0])
    assert pixels_per_mm_at(camera, poses[1], np.array([0.0, 0.0, -1500.0])) == 0.0


def test_pixels_per_mm_between_the_eyes() -> None:
    assert pixels_per_mm_between(((100.0, 200.0), (289.0, 452.0))) == pytest.approx(5.0)
