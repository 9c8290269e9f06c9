"""The neutral face of the average head, sculpted from implicit shapes, in millimetres.

The coarse head is a smooth radius over directions through anatomical points (x >= 0, mirrored), as seen from `SOURCE`. Nose,
lips and closed eyelids are implicit shapes (capsules, ellipsoids, cut balls) joined to it with smooth minima (I. Quilez, "smooth
minimum", cubic), and folds are strokes along curves. A surface point is where a ray from `SOURCE` leaves the sculpture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, RBFInterpolator, RectBivariateSpline, make_interp_spline

FloatArray = NDArray[np.float64]
Point = tuple[float, float, float]

SOURCE = np.array([0.0, 6.0, 2.0])
EXTENT_RAD = (2.2, 1.95)  # how far directions reach from straight ahead, sideways and up or down

_UNION, _CARVE, _STROKE, _BLOB = range(4)
_CAPSULE, _ELLIPSOID, _CUT_BALL = range(3)
_COLUMNS = 22  # numbers per operation, see `_pack_shape`
_MIRROR = np.ones(_COLUMNS)
_MIRROR[[2, 5, 11, 14, 17]] = -1.0

_STROKE_DEPTH_WEIGHT = 0.35  # strokes are drawn on the face from in front, so how deep they lie counts little
_NOSE_ABOVE_HEAD_MM = 45.0
_SHAPES_ABOVE_HEAD_MM = 12.0
_STEEPEST = 1.33  # the distances of the smooth minima change along a ray by at most this, per mm
_CLOSE_MM = 1e-5
_MOST_STEPS = 100

_MIDLINE: tuple[Point, ...] = (
    (0, 131, -15), (0, 124, 30), (0, 108, 64), (0, 88, 85), (0, 70, 93), (0, 55, 96), (0, 43, 96),
    (0, 28, 86), (0, 10, 83), (0, -10, 87), (0, -24, 92), (0, -33, 93), (0, -43, 92), (0, -54, 89.5), (0, -62, 88),
    (0, -77, 91), (0, -86, 88), (0, -92, 80), (0, -95, 65), (0, -98, 50), (0, -112, 42), (0, -130, 40), (0, -160, 42),
    (0, 105, -75), (0, 60, -102), (0, 20, -101), (0, -20, -86), (0, -60, -74), (0, -100, -72), (0, -150, -80),
)  # fmt: skip
_SIDE: tuple[Point, ...] = (
    # forehead and temple
    (25, 88, 80), (25, 70, 89), (25, 55, 91.5), (43, 88, 66), (44, 70, 75.5), (46, 53, 78), (58, 88, 40), (60, 65, 52),
    (25, 117, 32), (48, 108, 20), (68, 80, 0), (62, 100, -25), (40, 118, -30), (72, 55, -5), (67, 55, 28),
    # brow, orbit, nose side
    (12, 41, 94.5), (25, 44, 93), (38, 45, 87), (49, 41.5, 76), (58, 38, 55), (66, 36, 28), (71, 34, 0),
    (9, 27, 81), (17, 26, 75.5), (31, 26, 76), (43, 26, 71), (31, 37, 88), (20, 37, 88), (43, 37, 82),
    (31, 31.5, 82.5), (20, 31, 80.5), (43, 31, 77), (51, 27, 64),
    (60, 24, 46), (67, 21, 22), (70, 18, 0), (31, 15, 77.5), (18, 14, 77.5), (43, 15, 73),
    # cheek
    (31, 7, 80.5), (20, 2, 80.5), (45, 4, 73.5), (56.5, 2, 61), (64, 2, 42), (67.5, 2, 20), (70, 2, 0),
    (20, -10, 84), (32, -10, 81), (45, -10, 71.5), (55, -12, 56), (62, -12, 36), (67, -12, 8),
    (15, -25, 90.5), (25, -25, 86.5), (38, -25, 77), (50, -26, 60), (57.5, -28, 38), (63, -28, 10),
    (15, -43, 90), (25, -43, 85), (36, -43, 75), (46, -44, 59), (54, -45, 36), (59, -45, 12),
    # chin and jaw
    (13, -61, 87), (25, -60, 80.5), (35, -61, 69), (45, -60, 51), (54, -59, 28), (58.5, -58, 8),
    (12, -77, 89), (23, -77, 81), (33, -76, 66), (41, -74, 48), (47.5, -69, 28),
    (14, -89, 80), (24, -87, 69), (34, -83, 53), (42, -77, 34), (49, -70, 14),
    # below the jaw, neck
    (16, -93, 62), (28, -89, 44), (37, -84, 28), (45, -78, 8), (53, -66, -8),
    (25, -112, 33), (42, -112, 14), (52, -108, -15), (48, -110, -45), (26, -110, -66),
    (25, -150, 33), (44, -150, 14), (55, -150, -15), (50, -150, -50),
    # side and back of the skull
    (73, 10, -18), (70, -15, -15), (65, -38, -12), (76, 55, -35), (75, 30, -40), (71, 5, -45), (63, -20, -42), (56, -60, -35),
    (67, 85, -50), (55, 55, -82), (52, 15, -84), (40, 95, -70), (33, -25, -80), (40, -60, -62),
)  # fmt: skip

EYE_CENTRE = np.array([31.5, 26.0, 68.0])
MOUTH_LINE: tuple[Point, ...] = (
    (-28, -44.6, 82), (-18, -43.7, 89), (-8, -43.2, 93), (0, -43.9, 94), (8, -43.2, 93), (18, -43.7, 89), (28, -44.6, 82),
)  # fmt: skip
_LASH_NORMAL = np.array([0.12, -0.86, -0.5])


@dataclass(frozen=True)
class Shape:
    """An implicit shape: `points` holds the two ends of a capsule, or a centre; `radii` two radii, or three semi-axes.

    axes (3,3): rows are the axes of an ellipsoid; of a cut ball the first row is the outward normal of the cutting plane.
    blend_mm is the reach of the smooth minimum (or, when it carves, maximum) with what was there before.
    """

    kind: int
    points: FloatArray
    radii: FloatArray
    axes: FloatArray
    blend_mm: float
    carve: bool = False


@dataclass(frozen=True)
class Stroke:
    """A fold (height < 0) or ridge (height > 0) of Gaussian section along a smooth curve through `points`, in mm."""

    points: tuple[Point, ...]
    width_mm: float
    height_mm: float


@dataclass(frozen=True)
class Blob:
    """A mound (height > 0) or hollow of Gaussian shape with standard deviations `sigma_mm` along x, y, z."""

    centre: Point
    sigma_mm: Point
    height_mm: float


def directions(angles: FloatArray) -> FloatArray:
    """Return unit directions (N,3) of angle vectors (N,2) rad from straight ahead: (sideways, up), azimuthal equidistant."""
    radius = np.hypot(angles[:, 0], angles[:, 1])
    return np.column_stack([angles * np.sinc(radius / np.pi)[:, None], np.cos(radius)])


class Sculpture:
    """The average head as a surface over directions from `SOURCE`."""

    def __init__(self, with_nostrils: bool = True) -> None:
        shapes = [shapes for shapes in _shapes() if with_nostrils or not shapes[0].carve]
        self._operations = _pack(_BLOBS, shapes, _STROKES)
        self._radius = _coarse_radius()

    def surface(self, angles: FloatArray) -> FloatArray:
        """Return the points (N,3) in mm in the directions of `angles` (N,2) rad, see `directions`."""
        ray = directions(angles)
        delta = 1e-3
        radius = self._radius.ev(angles[:, 0], angles[:, 1])
        slope_a = self._radius.ev(angles[:, 0] + delta, angles[:, 1]) - radius
        slope_b = self._radius.ev(angles[:, 0], angles[:, 1] + delta) - radius
        turn = np.maximum(np.sinc(np.hypot(angles[:, 0], angles[:, 1]) / np.pi), 0.1)
        steepness = np.hypot(slope_a, slope_b / turn) / (delta * radius)
        cosine = 1.0 / np.sqrt(1.0 + np.minimum(steepness, 3.0) ** 2)
        reach = np.empty(len(ray))
        _cast(ray, SOURCE, radius, cosine, self._operations.rows, self._operations.first, self._operations.bounds, reach)
        return np.asarray(SOURCE + reach[:, None] * ray)


@cache
def _coarse_radius() -> RectBivariateSpline:
    """Return the coarse head's distance from `SOURCE` as a spline over angles."""
    points = np.array(_MIDLINE + _SIDE + tuple((-x, y, z) for x, y, z in _SIDE), np.float64) - SOURCE
    radius = np.linalg.norm(points, axis=1)
    interpolate = RBFInterpolator(points / radius[:, None], radius, kernel="cubic", smoothing=2e-3)
    a = np.linspace(-EXTENT_RAD[0] - 0.05, EXTENT_RAD[0] + 0.05, 181)
    b = np.linspace(-EXTENT_RAD[1] - 0.05, EXTENT_RAD[1] + 0.05, 161)
    grid = np.stack(np.meshgrid(a, b, indexing="ij"), axis=-1).reshape(-1, 2)
    values = interpolate(directions(grid)).reshape(len(a), len(b))
    return RectBivariateSpline(a, b, 0.5 * (values + values[::-1]))


def _capsule(first: Point, last: Point, radius_first: float, radius_last: float, blend_mm: float) -> Shape:
    return Shape(_CAPSULE, np.array([first, last], np.float64), np.array([radius_first, radius_last]), np.eye(3), blend_mm)


def _ellipsoid(centre: Point, radii: Point, blend_mm: float, turn_deg: Point = (0.0, 0.0, 0.0), carve: bool = False) -> Shape:
    """Return an ellipsoid turned about x, then y, then z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, cx, -sx], [0.0, sx, cx]])
    about_y = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
    about_z = np.array([[cz, -sz, 0.0], [sz, cz, 0.0], [0.0, 0.0, 1.0]])
    axes = (about_z @ about_y @ about_x).T
    return Shape(_ELLIPSOID, np.array([centre], np.float64), np.array(radii, np.float64), axes, blend_mm, carve)


def _cut_ball(centre: FloatArray, radius: float, normal: FloatArray, edge_mm: float, blend_mm: float) -> Shape:
    """Return a ball of which the half beyond a plane through its centre is cut off; `edge_mm` rounds the rim."""
    axes = np.zeros((3, 3))
    axes[0] = normal / np.linalg.norm(normal)
    return Shape(_CUT_BALL, centre[None], np.array([radius, edge_mm]), axes, blend_mm)


def _chain(points: tuple[Point, ...], radii: tuple[float, ...], blend_mm: float) -> tuple[Shape, ...]:
    """Return one symmetric shape, as capsules that belong together, along a smooth curve through points (from x = 0 on)."""
    points = tuple((-x, y, z) for x, y, z in points[:0:-1]) + points
    radii = radii[:0:-1] + radii
    knots = np.arange(len(points))
    fine = np.linspace(0, len(points) - 1, 10 * (len(points) - 1) + 1)
    curve = CubicSpline(knots, np.array(points))(fine)
    radius = CubicSpline(knots, radii)(fine)
    return tuple(Shape(_CAPSULE, curve[i : i + 2], radius[i : i + 2], np.eye(3), blend_mm) for i in range(len(fine) - 1))


def _shapes() -> list[tuple[Shape, ...]]:
    """Return the shapes of the right half (x >= 0) and the middle, in the order in which they are joined.

    The shapes of one tuple make a plain union first.
    """
    return [
        # nose
        (_capsule((0, 33, 82), (0, 8, 91.5), 7.0, 7.0, 16.0),),
        (_capsule((0, 8, 91.5), (0, -8, 99.0), 7.0, 8.0, 8.0),),
        (_capsule((6, 22, 78), (10, -10, 87), 6.0, 8.0, 30.0),),
        (_capsule((13, 9, 74.5), (17, -5, 77.5), 6.0, 6.0, 20.0),),
        (_ellipsoid((0, -13, 102.0), (9.5, 8.0, 9.5), 12.0),),
        (_capsule((0, -24, 92), (0, -19.5, 104.0), 3.0, 3.8, 7.0),),
        (_ellipsoid((10.8, -17, 95), (6.2, 6.6, 9.5), 12.0, (0.0, 26.0, 0.0)),),
        (_ellipsoid((6.9, -24.0, 97.6), (3.0, 5.6, 5.2), 2.0, (-15.0, -25.0, 0.0), carve=True),),
        # lids
        (_ellipsoid(tuple(EYE_CENTRE), (14.2, 12.0, 12.0), 12.0),),
        (_cut_ball(EYE_CENTRE, 13.0, _LASH_NORMAL, 1.0, 2.0),),
        # lips
        _chain(((0, -39.6, 92.0), (6, -38.7, 91.8), (15, -40.6, 87.6), (24.5, -43.8, 81.8)), (3.7, 4.0, 3.2, 1.2), 3.0),
        _chain(((0, -48.4, 90.0), (7, -48.2, 89.4), (15, -47.0, 86.4), (23.5, -44.8, 81.8)), (5.0, 4.9, 3.8, 1.2), 3.5),
    ]


_BLOBS: tuple[Blob, ...] = (
    Blob((0, -76, 90), (11, 8, 12), 2.0),
    Blob((0, -40, 93), (22, 12, 16), 1.0),
    Blob((40, 3, 75), (13, 9, 14), 1.8),
    Blob((20, 44, 93), (13, 5.5, 10), 1.2),
)
_STROKES: tuple[Stroke, ...] = (
    Stroke(
        MOUTH_LINE,
        1.1,
        -1.0,
    ),
    Stroke(((17, -11, 91), (25, -24, 87), (30, -34, 83), (33, -46, 78)), 3.0, -1.3),
    Stroke(((9, -7.5, 100), (14, -9, 95), (18, -14, 91), (18.5, -20, 90), (16, -25, 91)), 1.2, -1.4),
    Stroke(((0, -24, 93), (0, -37, 96)), 2.2, -1.1),
    Stroke(((17, 27, 78), (23.5, 31, 81.5), (31.5, 32.5, 83), (40, 31.5, 79.5), (49, 26, 71)), 0.8, -0.8),
    Stroke(((16, 25.5, 76), (23.5, 21.3, 78.5), (31.5, 19.6, 79.7), (39.5, 21, 77.5), (47, 25, 70)), 0.7, -1.1),
)


@dataclass(frozen=True)
class _Operations:
    """The sculpture as rows of numbers for the compiled functions, see `_pack_shape`.

    rows (M,_COLUMNS) float64; first (G+1,) int64 counts the rows before every group that is applied at once; bounds (G,4) float64
    are the centre and radius of a ball outside of which the group's shapes do not reach.
    """

    rows: FloatArray
    first: NDArray[np.int64]
    bounds: FloatArray


def _pack(blobs: tuple[Blob, ...], shapes: list[tuple[Shape, ...]], strokes: tuple[Stroke, ...]) -> _Operations:
    """Return mounds, then shapes, then folds, each followed by the mirror image of what lies off the middle."""
    groups = [_pack_blob(blob) for blob in blobs]
    groups += [np.array([_pack_shape(shape) for shape in together]) for together in shapes]
    groups += [_pack_stroke(stroke) for stroke in strokes]
    both = []
    for rows in groups:
        both.append(rows)
        if rows[:, [2, 5]].min() >= 0.0 and rows[:, [2, 5]].max() > 0.0:
            both.append(rows * _MIRROR)
    first = np.cumsum([0, *(len(rows) for rows in both)])
    return _Operations(np.concatenate(both), first, np.array([_bound(rows) for rows in both]))


def _bound(rows: FloatArray) -> FloatArray:
    """Return the centre and radius of a ball around a group of rows."""
    ends = np.concatenate([rows[:, 2:5], rows[:, 5:8]])
    middle = 0.5 * (ends.min(axis=0) + ends.max(axis=0))
    reach = float(np.linalg.norm(ends - middle, axis=1).max()) + float(rows[:, 21].max())
    return np.array([*middle, reach])


def _pack_shape(shape: Shape) -> FloatArray:
    """Return operation, kind, points (6), radii (3), axes (9), blend, reach around the points; _MIRROR turns x around."""
    row = np.zeros(_COLUMNS)
    row[:2] = _CARVE if shape.carve else _UNION, shape.kind
    row[2:5], row[5:8] = shape.points[0], shape.points[-1]
    row[8 : 8 + len(shape.radii)] = shape.radii
    row[11:20] = shape.axes.ravel()
    row[20:] = shape.blend_mm, max(shape.radii)
    return row


def _pack_blob(blob: Blob) -> FloatArray:
    row = np.zeros((1, _COLUMNS))
    row[0, 0] = _BLOB
    row[0, 2:5] = row[0, 5:8] = blob.centre
    row[0, 8:11] = blob.sigma_mm
    row[0, 20:] = blob.height_mm, 5.0 * max(blob.sigma_mm)
    return row


def _pack_stroke(stroke: Stroke) -> FloatArray:
    """Return a row per straight piece: its ends, the width, and the height at both ends, which fades at the ends of the curve."""
    knots = np.linspace(0.0, 1.0, len(stroke.points))
    fine = np.linspace(0.0, 1.0, 6 * (len(knots) - 1) + 1)
    curve = make_interp_spline(knots, np.array(stroke.points, np.float64), k=min(3, len(knots) - 1))(fine)
    height = stroke.height_mm * np.sin(np.pi * fine)
    rows = np.zeros((len(fine) - 1, _COLUMNS))
    rows[:, 0] = _STROKE
    rows[:, 2:5], rows[:, 5:8] = curve[:-1], curve[1:]
    rows[:, 8], rows[:, 9], rows[:, 10] = stroke.width_mm, height[:-1], height[1:]
    rows[:, 21] = 4.0 * stroke.width_mm / _STROKE_DEPTH_WEIGHT
    return rows


@njit(cache=True, nogil=True)
def _smooth_minimum(a: float, b: float, reach: float) -> float:
    overlap = max(reach - abs(a - b), 0.0) / reach
    return min(a, b) - overlap * overlap * overlap * reach / 6.0


@njit(cache=True, nogil=True)
def _along(p, row, depth_weight):  # type: ignore[no-untyped-def]
    """Return where along a straight piece the point nearest p lies (0 to 1), and its distance; z counts `depth_weight`."""
    ax, ay, az = p[0] - row[2], p[1] - row[3], depth_weight * (p[2] - row[4])
    bx, by, bz = row[5] - row[2], row[6] - row[3], depth_weight * (row[7] - row[4])
    share = min(max((ax * bx + ay * by + az * bz) / (bx * bx + by * by + bz * bz), 0.0), 1.0)
    ax, ay, az = ax - share * bx, ay - share * by, az - share * bz
    return share, np.sqrt(ax * ax + ay * ay + az * az)


@njit(cache=True, nogil=True)
def _shape_distance(p, row):  # type: ignore[no-untyped-def]
    if row[1] == _CAPSULE:
        share, distance = _along(p, row, 1.0)
        return distance - (row[8] + share * (row[9] - row[8]))
    x, y, z = p[0] - row[2], p[1] - row[3], p[2] - row[4]
    if row[1] == _CUT_BALL:
        ball = np.sqrt(x * x + y * y + z * z) - row[8]
        plane = row[11] * x + row[12] * y + row[13] * z
        return -_smooth_minimum(-ball, -plane, row[9])
    unit, steep = 0.0, 0.0
    for axis in range(3):
        q = (row[11 + 3 * axis] * x + row[12 + 3 * axis] * y + row[13 + 3 * axis] * z) / row[8 + axis]
        unit += q * q
        steep += q * q / (row[8 + axis] * row[8 + axis])
    unit = np.sqrt(unit)
    return unit * (unit - 1.0) / max(np.sqrt(steep), 1e-9)


@njit(cache=True, nogil=True)
def _mound(p, row):  # type: ignore[no-untyped-def]
    x, y, z = (p[0] - row[2]) / row[8], (p[1] - row[3]) / row[9], (p[2] - row[4]) / row[10]
    return row[20] * np.exp(-0.5 * (x * x + y * y + z * z))


@njit(cache=True, nogil=True)
def _ridge(p, rows):  # type: ignore[no-untyped-def]
    """Return the height of a stroke at p."""
    nearest, height = 1e9, 0.0
    for row in rows:
        share, distance = _along(p, row, _STROKE_DEPTH_WEIGHT)
        if distance < nearest:
            nearest, height = distance, row[9] + share * (row[10] - row[9])
    return height * np.exp(-0.5 * (nearest / rows[0, 8]) ** 2)


@njit(cache=True, nogil=True)
def _distance(p, base, rows, first, bounds):  # type: ignore[no-untyped-def]
    """Return about the signed distance of p to the sculpture, `base` being that to the coarse head."""
    f = base
    for group in range(len(bounds)):
        row = rows[first[group]]
        x, y, z = p[0] - bounds[group, 0], p[1] - bounds[group, 1], p[2] - bounds[group, 2]
        outside = np.sqrt(x * x + y * y + z * z) - bounds[group, 3]
        if row[0] == _BLOB:
            if outside < 0.0:
                f -= _mound(p, row)
        elif row[0] == _STROKE:
            if outside < 0.0:
                f -= _ridge(p, rows[first[group] : first[group + 1]])
        elif row[0] == _CARVE:
            if outside + f < row[20]:
                f = -_smooth_minimum(-f, _shape_distance(p, row), row[20])
        elif outside - f < row[20]:
            together = 1e9
            for index in range(first[group], first[group + 1]):
                together = min(together, _shape_distance(p, rows[index]))
            f = _smooth_minimum(f, together, row[20])
    return f


@njit(cache=True, nogil=True)
def _cast(rays, source, radius, cosine, rows, first, bounds, reach):  # type: ignore[no-untyped-def]
    """March from outside towards the source; the last crossing found is where the ray leaves the sculpture."""
    p = np.empty(3)
    for index in range(len(rays)):
        ahead = rays[index, 2] > 0.8 and abs(rays[index, 0]) < 0.35
        t = radius[index] + (_NOSE_ABOVE_HEAD_MM if ahead else _SHAPES_ABOVE_HEAD_MM)
        before, slope = 0.0, _STEEPEST
        for step in range(_MOST_STEPS):
            for axis in range(3):
                p[axis] = source[axis] + t * rays[index, axis]
            f = _distance(p, (t - radius[index]) * cosine[index], rows, first, bounds)
            if abs(f) < _CLOSE_MM:
                break
            # near the surface the slope along the last step leads there faster
            secant = (before - f) * slope / before if step > 0 and abs(f) < 0.5 else 0.0
            slope = secant if 0.2 < secant < _STEEPEST else _STEEPEST
            before = f
            t -= f / slope
        reach[index] = t
