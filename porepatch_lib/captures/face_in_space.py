"""A face in space, from views of known pose that show it from the front, and what of it is no bare skin in any other view.

Pupils and mouth are intersections of rays. They span a frame: origin between the pupils, x from pupil to pupil, y down to the
mouth, z into the head; its unit is the distance of the pupils, as in `face_frame`. Heights and widths come from the outlined
photographs named there; depths were set by eye on rendered heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from porepatch_lib.geometry import Camera, FloatArray, Pose, nearest_to_rays, project, rays

BoolArray = NDArray[np.bool_]

_TOLERANCE = 0.10  # pupil distances; a landmark farther from its reprojection is misplaced
_LEAST_ANGLE_RAD = np.radians(8.0)  # between the rays of a landmark
LEAST_VIEWS = 3  # two views agree on a point too easily: only errors across their baseline show
_MOUTH_BELOW = (0.8, 1.6)  # units below the pupils
_MOUTH_ASIDE = 0.2
_MOST_TURNED_RAD = np.radians(40.0)  # of a view in which the cascade finds a face

_HEAD = (1.15, 1.5)  # half width and half depth of the cylinder that the features lie on
_EYE = (0.31, 0.17)  # half axes
_LIPS = (0.44, 0.21)
_NOSTRILS = (0.25, 0.12)
_BROW = ((0.16, -0.24), (0.55, -0.31), (0.94, -0.22))  # middle line
_BROW_HALF_HEIGHT = 0.12
_EYE_Z, _BROW_Z, _NOSTRIL_Z, _LIPS_Z = -0.05, -0.15, -0.25, -0.06
_NOSTRIL_Y = 0.64  # in distances to the mouth
_CHIN, _JAW_CORNER, _EAR, _TEMPLE = (0.35, 1.68, 0.05), (0.95, 1.10, 1.15), (1.15, 0.25, 1.35), (1.2, -1.0, 1.0)
_ABOVE = ((0.9, -2.2, 0.6), (0.4, -2.2, -0.4))
_NOSE_TIP = (0.2, 0.60, -0.7)


@dataclass(frozen=True)
class SeenFace:
    """Landmarks (3,2) of a face in pixels of a view of known pose: both pupils, image-left first, and the mouth's middle."""

    camera: Camera
    pose: Pose
    landmarks: FloatArray


@dataclass(frozen=True)
class FaceInSpace:
    """Landmarks (3,3) in the world, and which of them agree with which view (views, 3)."""

    landmarks: FloatArray
    agrees: BoolArray

    @property
    def unit(self) -> float:
        """Distance of the pupils in the world."""
        return float(np.linalg.norm(self.landmarks[1] - self.landmarks[0]))

    @property
    def axes(self) -> FloatArray:
        """Rows x, y, z (3,3) of the frame in the world."""
        x = (self.landmarks[1] - self.landmarks[0]) / self.unit
        z = np.cross(x, self.landmarks[2] - self.origin)
        z /= np.linalg.norm(z)
        return np.stack([x, np.cross(z, x), z])

    @property
    def origin(self) -> FloatArray:
        """Middle between the pupils in the world, (3,)."""
        return np.asarray(0.5 * (self.landmarks[0] + self.landmarks[1]))

    @property
    def mouth(self) -> FloatArray:
        """Middle of the mouth in the frame, (3,); its z is 0."""
        return np.asarray(self.axes @ (self.landmarks[2] - self.origin) / self.unit)

    def to_world(self, points: FloatArray) -> FloatArray:
        """Take points (N,3) of the frame to the world."""
        return np.asarray(self.origin + self.unit * points @ self.axes)

    def within_rim(self, camera: Camera, pose: Pose) -> BoolArray:
        """Where (H,W) a view may show the face: before the ears and above the jaw, generously."""
        return _hull(camera, pose, self.to_world(self._rim()))

    def features(self, camera: Camera, pose: Pose) -> BoolArray:
        """Where (H,W) a view shows eyes, brows, nostrils and lips, generously; what the head hides is left out."""
        return np.any([_hull(camera, pose, self.to_world(outline)) for outline in self._outlines(pose)], axis=0)

    def turned_rad(self, pose: Pose) -> float:
        """Angle between where the face looks to and the way to a camera."""
        way = self.axes @ (pose.centre - self.origin)
        return float(np.arccos(np.clip(-way[2] / np.linalg.norm(way), -1.0, 1.0)))

    def _rim(self) -> FloatArray:
        """What the face's outline is the hull of, (N,3) in the frame."""
        down = np.array([1.0, self.mouth[1], 1.0])
        half = np.array([*(down * point for point in (_CHIN, _JAW_CORNER, _NOSE_TIP)), _EAR, _TEMPLE, *_ABOVE])
        return np.concatenate([half, half * [-1.0, 1.0, 1.0]])

    def _outlines(self, pose: Pose) -> list[FloatArray]:
        """Outlines (N,3) in the frame; lips and nostrils stand out, of eyes and brows only what faces the camera is seen."""
        angles = np.linspace(0.0, 2.0 * np.pi, 48, endpoint=False)
        ring = np.column_stack([np.cos(angles), np.sin(angles)])
        brow = np.concatenate([np.add(_BROW, (0.0, side * _BROW_HALF_HEIGHT)) for side in (-1.0, 1.0)])
        mouth, nose = self.mouth[:2], np.array([0.9 * self.mouth[0], _NOSTRIL_Y * self.mouth[1]])
        towards = self.axes @ (pose.centre - self.origin)
        outlines = [_on_head(ring * _LIPS + mouth, mouth[0], _LIPS_Z), _on_head(ring * _NOSTRILS + nose, nose[0], _NOSTRIL_Z)]
        for side in (-1.0, 1.0):
            eye, over = ring * _EYE + [0.5 * side, 0.0], brow * [side, 1.0]
            both = _on_head(eye, 0.5, _EYE_Z), _on_head(over, 0.5, _BROW_Z)
            outlines += [outline[_outward(outline) @ towards > 0.0] for outline in both]
        return outlines


def locate_face(faces: Sequence[SeenFace]) -> FaceInSpace | None:
    """Return the face that views agree on, or None.

    Every landmark is seen by three views or more, at an angle, within a tenth of the pupils' distance of where it projects to;
    the mouth lies below the pupils as mouths do, and the face looks towards the views that agree on all of it.
    """
    units = np.array([np.linalg.norm(face.landmarks[1] - face.landmarks[0]) for face in faces])
    found = [_intersect_most(faces, index, _TOLERANCE * units) for index in range(3)]
    known = [one for one in found if one is not None]
    if len(known) < 3:
        return None
    face = FaceInSpace(np.stack([place for place, _ in known]), np.stack([agrees for _, agrees in known], axis=1))
    return face if _is_plausible(face, faces) else None


def intersect(faces: Sequence[SeenFace], index: int) -> FloatArray | None:
    """Return the point (3,) nearest to the rays of a landmark, in least squares of distances; None where they are parallel."""
    return nearest_to_rays(np.array([face.pose.centre for face in faces]), np.array([_ray(face, index) for face in faces]))


def _intersect_most(faces: Sequence[SeenFace], index: int, tolerance_px: FloatArray) -> tuple[FloatArray, BoolArray] | None:
    """The point that most views agree on, from all of these views, and which views (N,) they are."""
    best: tuple[tuple[int, float], BoolArray] | None = None
    for pair in combinations(list(faces), 2):
        cosine = float(_ray(pair[0], index) @ _ray(pair[1], index))
        place = intersect(pair, index)
        if place is not None and np.arccos(np.clip(cosine, -1.0, 1.0)) > _LEAST_ANGLE_RAD:
            misses = _misses(faces, index, place) / tolerance_px
            agree = misses < 1.0
            rank = int(agree.sum()), -float(misses[agree].sum())
            if agree.sum() >= LEAST_VIEWS and (best is None or rank > best[0]):
                best = rank, agree
    if best is None:
        return None
    place = intersect([face for face, agrees in zip(faces, best[1], strict=True) if agrees], index)
    return None if place is None else (place, _misses(faces, index, place) < tolerance_px)


def _misses(faces: Sequence[SeenFace], index: int, place: FloatArray) -> FloatArray:
    """Distance in pixels (N,) of a landmark from where a point projects to, infinite behind the camera."""
    offsets = [project(face.camera, face.pose, place[None])[0][0] - face.landmarks[index] for face in faces]
    return np.nan_to_num(np.linalg.norm(offsets, axis=1), nan=np.inf)


def _ray(face: SeenFace, index: int) -> FloatArray:
    ray = face.pose.rotation.T @ rays(face.camera, face.landmarks[index][None])[0]
    return np.asarray(ray / np.linalg.norm(ray))


def _is_plausible(face: FaceInSpace, faces: Sequence[SeenFace]) -> bool:
    turned = [face.turned_rad(one.pose) for one, agrees in zip(faces, face.agrees, strict=True) if agrees.all()]
    if not turned or face.agrees.sum(axis=0).min() < LEAST_VIEWS:
        return False
    placed = _MOUTH_BELOW[0] < face.mouth[1] < _MOUTH_BELOW[1] and abs(face.mouth[0]) < _MOUTH_ASIDE
    return placed and max(turned) < _MOST_TURNED_RAD


def _depth(x: FloatArray) -> FloatArray:
    return np.asarray(-_HEAD[1] * np.sqrt(np.maximum(1.0 - (x / _HEAD[0]) ** 2, 0.0)))


def _on_head(outline: FloatArray, x: float, z: float) -> FloatArray:
    """An outline (N,2) on the head's cylinder (N,3), moved so that the cylinder's depth at x is z."""
    return np.column_stack([outline, _depth(outline[:, 0]) - _depth(np.array(x)) + z])


def _outward(points: FloatArray) -> FloatArray:
    x = np.clip(points[:, 0], -0.99 * _HEAD[0], 0.99 * _HEAD[0])
    return np.column_stack([x / _HEAD[0] ** 2, np.zeros_like(x), _depth(x) / _HEAD[1] ** 2])


def _hull(camera: Camera, pose: Pose, points: FloatArray) -> BoolArray:
    """The convex hull (H,W) of projected world points (N,3)."""
    pixels, _ = project(camera, pose, points)
    filled = np.zeros((camera.height, camera.width), np.uint8)
    if len(places := np.rint(pixels[np.isfinite(pixels).all(axis=1)]).astype(np.int32)) > 2:
        cv2.fillConvexPoly(filled, cv2.convexHull(places), 1)
    return filled > 0
