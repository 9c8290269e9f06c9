"""Skin from photographs: best cuts, no piece of skin twice, invisible seams, and what counts as usable skin."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from porepatch_lib.errors import PorePatchError
from porepatch_lib.rendering.quilting import (
    UNIT,
    Exemplar,
    boundary_cut,
    flatten,
    height_from_detail,
    judge_skin,
    quilt,
    read_exemplars,
)

BLOCK, OVERLAP = 24, 8
STEP = BLOCK - OVERLAP


def exemplar(detail: np.ndarray, usable: np.ndarray | None = None) -> Exemplar:
    stored = np.rint(detail * UNIT).astype(np.uint16)
    return Exemplar(stored, np.ones(detail.shape[:2], bool) if usable is None else usable, 0.1)


def noise(shape: tuple[int, int], seed: int, sigma_px: float = 1.5) -> np.ndarray:
    """Correlated noise (H,W,3) of standard deviation 0.1 around 1."""
    field = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal((*shape, 3)), (0, 0), sigma_px)
    return 1.0 + 0.1 * field / field.std()


def steepest_seam(image: np.ndarray, axis: int, step: int, overlap: int) -> float:
    """Return the largest of the mean gradients at the same place in all overlaps, over the mean gradient outside them."""
    gradient = np.abs(np.diff(image, axis=axis)).mean(axis=(1 - axis, 2))
    profile = gradient[step - 1 : (len(gradient) - 1) // step * step - 1].reshape(-1, step).mean(axis=0)
    return float(profile[: overlap + 1].max() / profile[overlap + 1 :].mean())


def skin_photograph(folder: Path, name: str, tone: float = 1.0) -> np.ndarray:
    """Write a disc of pinkish skin with fine noise, brighter at the left, before a grey wall; return the disc."""
    size = 240
    row, column = np.mgrid[:size, :size]
    disc = np.hypot(row - size / 2, column - size / 2) < 0.45 * size
    fine = noise((size, size), 3)[..., :1]
    light = (1.3 - 0.6 * column / size)[..., None]
    linear = np.where(disc[..., None], np.array([0.45, 0.28, 0.2]) * tone * light * fine, 0.3)
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / name), np.rint(255 * linear[..., ::-1] ** (1 / 2.2)).astype(np.uint8))
    return disc


def test_boundary_cut_follows_a_valley() -> None:
    valley = np.array([2, 3, 4, 4, 3, 2, 1, 0, 0, 1])
    error = np.ones((10, 6))
    error[np.arange(10), valley] = 0.0
    np.testing.assert_array_equal(boundary_cut(error), valley)


def test_boundary_cut_is_connected_and_of_least_sum() -> None:
    error = np.random.default_rng(0).random((6, 4))
    cut = boundary_cut(error)
    paths = np.stack(np.meshgrid(*[np.arange(4)] * 6, indexing="ij"), -1).reshape(-1, 6)
    paths = paths[(np.abs(np.diff(paths, axis=1)) <= 1).all(axis=1)]
    sums = error[np.arange(6), paths].sum(axis=1)
    assert error[np.arange(6), cut].sum() == pytest.approx(sums.min())
    assert all(abs(a - b) <= 1 for a, b in pairwise(cut))


def test_a_constant_exemplar_gives_a_constant_map() -> None:
    flat = exemplar(np.full((130, 130, 3), 1.25))
    result = quilt([flat], (70, 50), BLOCK, OVERLAP, np.random.default_rng(0))
    assert result.shape == (70, 50, 3) and result.dtype == np.float32
    np.testing.assert_array_equal(result, np.float32(1.25))


def coordinates(usable: np.ndarray, number: int = 0) -> Exemplar:
    """An exemplar whose colours are its rows, columns and number: a map tells where each of its texels was taken."""
    rows, columns = np.indices(usable.shape)
    return Exemplar(np.stack([rows, columns, np.full_like(rows, number)], -1).astype(np.uint16), usable, 0.1)


def source_windows(result: np.ndarray) -> np.ndarray:
    """Return row, column and number (N,3) of the first texels of the source windows, read off the middle of every block."""
    source = np.rint(result * UNIT).astype(int)
    rows, columns = ((length - OVERLAP) // STEP for length in result.shape[:2])
    middles = [
        source[i * STEP + OVERLAP : (i + 1) * STEP, j * STEP + OVERLAP : (j + 1) * STEP].reshape(-1, 3)
        for i in range(rows)
        for j in range(columns)
    ]
    assert all(len(np.unique(middle, axis=0)) == (STEP - OVERLAP) ** 2 for middle in middles)
    return np.array([middle.min(axis=0) for middle in middles]) - [OVERLAP, OVERLAP, 0]


def are_apart(windows: np.ndarray, by: int) -> bool:
    """Whether no two windows of one exemplar are nearer than `by` texels in row and column."""
    gap = np.abs(windows[:, None] - windows[None])
    apart = (gap[..., :2].max(axis=2) >= by) | (gap[..., 2] > 0)
    return bool(apart[~np.eye(len(windows), dtype=bool)].all())


def test_no_block_is_used_twice() -> None:
    exemplars = [coordinates(np.ones((118, 118), bool), number) for number in range(2)]
    size = (118 - OVERLAP) // STEP * STEP + OVERLAP
    result = quilt(exemplars, (2 * size - OVERLAP, size), BLOCK, OVERLAP, np.random.default_rng(1))  # takes every block
    windows = source_windows(result)
    assert len(windows) == 72 and are_apart(windows, STEP)


def test_where_there_is_enough_skin_not_even_the_edges_are_used_twice() -> None:
    skin = coordinates(np.ones((118, 118), bool))
    result = quilt([skin], (3 * STEP + OVERLAP, 4 * STEP + OVERLAP), BLOCK, OVERLAP, np.random.default_rng(1))
    assert are_apart(source_windows(result), BLOCK)


def test_blocks_of_ragged_skin_are_usable_and_apart() -> None:
    row, column = np.indices((200, 200))
    usable = (np.hypot(row - 100, column - 100) < 98) & ((np.abs(row - column) > 2) | (row > 120))
    most = int(usable.sum() / STEP**2)
    for count in range(most, 0, -1):  # until there is enough skin: every block is taken
        try:
            result = quilt([coordinates(usable)], (BLOCK, OVERLAP + count * STEP), BLOCK, OVERLAP, np.random.default_rng(0))
        except PorePatchError:
            continue
        break
    windows = source_windows(result)
    assert len(windows) > 0.6 * most and are_apart(windows, STEP)
    for row, column, _ in windows:
        assert usable[row : row + BLOCK, column : column + BLOCK].all()


def test_all_skin_is_used_before_it_is_said_to_be_too_little() -> None:
    size = 3 * STEP + OVERLAP
    full = quilt([exemplar(noise((size, size), 0))], (size, size), BLOCK, OVERLAP, np.random.default_rng(0))
    assert (full != 1.0).any(axis=2).all()
    with pytest.raises(PorePatchError, match=r"give 0\.2 cm2 .* 0\.3 cm2 are needed"):
        quilt([exemplar(noise((size, size), 0))], (size, size + 1), BLOCK, OVERLAP, np.random.default_rng(0))


def test_only_needed_blocks_are_laid() -> None:
    needed = np.zeros((120, 120), bool)
    needed[30:45, 20:70] = True
    needed[100, 100] = True
    result = quilt([exemplar(noise((120, 120), 0) + 0.5)], (120, 120), BLOCK, OVERLAP, np.random.default_rng(0), needed)
    laid = (result != 1.0).any(axis=2)
    assert laid[needed].all()
    assert not laid[:16].any() and not laid[60:80].any() and not laid[:60, 96:].any()


def test_same_seed_same_bytes() -> None:
    skin = [exemplar(noise((160, 160), seed)) for seed in range(2)]
    first, again, other = (quilt(skin, (100, 100), BLOCK, OVERLAP, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_seams_are_hardly_steeper_than_the_rest() -> None:
    skin = [exemplar(noise((500, 500), seed, sigma_px=2.0)) for seed in range(2)]
    result = quilt(skin, (400, 400), 30, 10, np.random.default_rng(0))
    assert steepest_seam(result, 0, 20, 10) < 1.18
    assert steepest_seam(result, 1, 20, 10) < 1.18


def test_smooth_skin_is_not_all_laid_first() -> None:
    strength = np.linspace(0.3, 1.7, 500)[None, :, None]
    result = quilt([exemplar(1.0 + strength * (noise((500, 500), 0) - 1.0))], (410, 410), 30, 10, np.random.default_rng(0))
    assert result[:200].std() == pytest.approx(result[200:].std(), rel=0.25)


def test_stray_hairs_are_left_out_where_there_is_enough_skin() -> None:
    detail = noise((240, 240), 0)
    detail[96:120, 4::8] = 1.8
    result = quilt([exemplar(detail)], (9 * STEP + OVERLAP, 8 * STEP + OVERLAP), BLOCK, OVERLAP, np.random.default_rng(0))
    assert result.max() < 1.6


@pytest.mark.parametrize("overlap", [4, 13])
def test_an_overlap_that_cannot_be_cut_is_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap_px"):
        quilt([exemplar(noise((60, 60), 0))], (40, 40), BLOCK, overlap, np.random.default_rng(0))


def test_flatten_takes_illumination_away_and_leaves_detail() -> None:
    column = np.arange(300) * 0.2
    light = np.tile(0.4 * np.exp(-column / 60.0), (300, 1))
    detail = np.tile(1.0 + 0.1 * np.sin(2.0 * np.pi * column / 2.0), (300, 1))
    flat = flatten((light * detail).astype(np.float32), np.ones((300, 300), bool), 0.2) / UNIT
    assert np.abs(flat - detail)[100:200, 100:200].max() < 0.01
    assert np.abs(flat - detail).max() < 0.09  # at the edge the mean is one-sided


@pytest.mark.parametrize("tone", [1.0, 0.12])
def test_skin_is_told_from_its_surroundings(tmp_path: Path, tone: float) -> None:
    disc = skin_photograph(tmp_path / "skin", "a.png", tone)
    image = cv2.imread(str(tmp_path / "skin" / "a.png"))
    image[100:125, 100:125] = 255  # a highlight
    image[150:160, 60:180] //= 3  # a brow
    lips = image[190:210, 90:150]
    lips[..., 2] = np.minimum(lips[..., 2] * 1.25, 249)
    skin = judge_skin(image, 0.2)
    assert not skin[~disc].any() and not skin[100:125, 100:125].any() and not skin[150:160, 60:180].any()
    assert not skin[195:205, 95:145].any()
    assert skin.sum() > 0.4 * disc.sum()


def test_a_photograph_gives_flat_skin(tmp_path: Path) -> None:
    skin_photograph(tmp_path / "skin", "a.png")
    (read,) = read_exemplars(tmp_path / "skin", 0.2, 0.2)
    assert max(read.usable.shape) <= 218  # cropped to the skin
    values = read.detail[read.usable] / UNIT
    np.testing.assert_allclose(values.mean(axis=0), 1.0, atol=0.02)
    np.testing.assert_allclose(values.std(axis=0), 0.1, atol=0.02)
    assert (read.detail[~read.usable] == UNIT).all()


@pytest.mark.parametrize(("mm_per_px", "size"), [(0.1, 108), (0.4, 432)])
def test_a_photograph_is_resampled_to_the_texels(tmp_path: Path, mm_per_px: float, size: int) -> None:
    disc = skin_photograph(tmp_path / "skin", "a.png")
    cv2.imwrite(str(tmp_path / "skin" / "a.mask.png"), disc.astype(np.uint8) * 255)
    (read,) = read_exemplars(tmp_path / "skin", 0.2, mm_per_px)
    assert max(abs(length - size) for length in read.usable.shape) <= 2


def test_a_mask_beside_the_photograph_decides(tmp_path: Path) -> None:
    skin_photograph(tmp_path / "skin", "a.png")
    mask = np.zeros((240, 240), np.uint8)
    mask[100:130, 90:160] = 255
    cv2.imwrite(str(tmp_path / "skin" / "a.mask.png"), mask)
    (read,) = read_exemplars(tmp_path / "skin", 0.2, 0.2)
    assert read.usable.shape == (30, 70) and read.usable.all()


def test_a_texel_is_usable_where_all_its_pixels_are(tmp_path: Path) -> None:
    skin_photograph(tmp_path / "skin", "a.png")
    mask = np.zeros((240, 240), np.uint8)
    mask[100:130, 90:160] = 255
    mask[:, 101] = 0
    cv2.imwrite(str(tmp_path / "skin" / "a.mask.png"), mask)
    (read,) = read_exemplars(tmp_path / "skin", 0.4, 0.2)
    assert read.usable.shape == (15, 35)
    np.testing.assert_array_equal(np.flatnonzero(~read.usable.all(axis=0)), [5])


def test_a_folder_without_skin_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "skin").mkdir()
    with pytest.raises(PorePatchError, match="has no JPEG or PNG"):
        read_exemplars(tmp_path / "skin", 0.2, 0.2)
    cv2.imwrite(str(tmp_path / "skin" / "wall.png"), np.full((80, 80, 3), 120, np.uint8))
    with pytest.raises(PorePatchError, match=r"No usable skin .*wall\.png.*wall\.mask\.png"):
        read_exemplars(tmp_path / "skin", 0.2, 0.2)


def test_height_is_the_band_of_relief_and_darker_is_deeper() -> None:
    column = np.arange(400) * 0.05

    def skin(wavelength_mm: float) -> np.ndarray:
        wave = np.exp(0.1 * np.cos(2.0 * np.pi * column / wavelength_mm))
        return np.tile(wave[None, :, None], (60, 1, 3)).astype(np.float32)

    height = height_from_detail(skin(0.5), 0.05, 0.02)
    assert height.shape == (60, 400) and height.dtype == np.float32
    assert height.std() == pytest.approx(0.02, rel=1e-3)
    assert np.corrcoef(height[30, 50:350], skin(0.5)[30, 50:350, 0])[0, 1] > 0.99
    both = height_from_detail(skin(0.5) * skin(8.0), 0.05, 0.02)
    assert np.corrcoef(both[30, 50:350], height[30, 50:350])[0, 1] > 0.98
    np.testing.assert_array_equal(height_from_detail(np.ones((20, 20, 3), np.float32), 0.05, 0.02), 0.0)


def test_a_real_cheek_quilts_without_seams(shared: Path, tmp_path: Path) -> None:
    photograph = shared / "data" / "skin" / "face4k_1.png"
    if not photograph.exists():
        pytest.skip("the photograph face4k_1.png is not here")
    (tmp_path / "face.png").symlink_to(photograph)
    skin = read_exemplars(tmp_path, 0.1, 0.1)
    assert 60.0 < skin[0].usable.sum() * 0.01 / 100.0 < 110.0
    result = quilt(skin, (560, 560), 40, 14, np.random.default_rng(0))
    assert steepest_seam(result, 0, 26, 14) < 1.25 and steepest_seam(result, 1, 26, 14) < 1.25
