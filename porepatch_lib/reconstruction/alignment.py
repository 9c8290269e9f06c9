"""Similarity alignment of camera centres, and what is left of the error of the poses after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from porepatch_lib.geometry import FloatArray, Pose

# Second singular value over the first: centres nearer to a line than this leave the rotation about it open.
_LEAST_SPREAD = 1e-3
# Poses that went through COLMAP's files differ by rounding only.
_SAME = 1e-9


@dataclass(frozen=True)
class Similarity:
    """x -> scale * rotation (3,3) @ x + translation (3,)."""

    scale: float
    rotation: FloatArray
    translation: FloatArray

    def apply(self, points: FloatArray) -> FloatArray:
        """Move points (N,3)."""
        return self.scale * points @ self.rotation.T + self.translation

    def turn(self, directions: FloatArray) -> FloatArray:
        """Turn directions (N,3), such as normals."""
        return directions @ self.rotation.T

    def after(self, first: Similarity) -> Similarity:
        """Return the similarity that applies `first`, then this one."""
        moved = self.apply(first.translation[None])[0]
        return Similarity(self.scale * first.scale, self.rotation @ first.rotation, moved)


IDENTITY = Similarity(1.0, np.eye(3), np.zeros(3))


@dataclass(frozen=True)
class CameraErrors:
    """Errors of N registered views after alignment.

    similarity: from the model's world to the true one. position (N,) in true world units, rotation_deg (N,).
    """

    similarity: Similarity
    position: FloatArray
    rotation_deg: FloatArray


def align_points(source: FloatArray, target: FloatArray) -> Similarity | None:
    """Return the similarity that takes points `source` (N,3) to `target` (N,3) with the least sum of squared distances.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991, equations 34-42;
    never a reflection. None for fewer than three points, or where either set lies on a line: its rotation is open then.
    """
    if len(source) < 3 or _is_on_a_line(source) or _is_on_a_line(target):
        return None
    from_mean, to_mean = source.mean(axis=0), target.mean(axis=0)
    centred = source - from_mean
    left, singular, right = np.linalg.svd((target - to_mean).T @ centred / len(source))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = (left * signs) @ right
    scale = float(singular @ signs / np.mean(np.sum(centred**2, axis=1)))
    return Similarity(scale, rotation, to_mean - scale * rotation @ from_mean) if scale > 0.0 else None


def camera_errors(estimated: Mapping[int, Pose], true: Mapping[int, Pose]) -> CameraErrors | None:
    """Return the errors of the views that have both poses, in ascending image_id, after aligning the camera centres.

    The rotation error is the angle of R_true (R_estimated R^T)^T, where R is the rotation of the alignment. None where
    `align_points` finds no alignment. A model made with the true poses needs none, however its cameras stand: it keeps its frame.
    """
    shared = sorted(set(estimated) & set(true))
    if not shared:
        return None
    if are_given(estimated, true):
        return CameraErrors(IDENTITY, np.zeros(len(shared)), np.zeros(len(shared)))
    centres = np.array([estimated[image_id].centre for image_id in shared])
    goals = np.array([true[image_id].centre for image_id in shared])
    similarity = align_points(centres, goals)
    if similarity is None:
        return None
    turns = [true[i].rotation @ (estimated[i].rotation @ similarity.rotation.T).T for i in shared]
    position = np.linalg.norm(similarity.apply(centres) - goals, axis=1)
    return CameraErrors(similarity, position, np.rad2deg([rotation_angle(turn) for turn in turns]))


def are_given(estimated: Mapping[int, Pose], true: Mapping[int, Pose]) -> bool:
    """Return whether a model kept the given poses: all its views have a true pose, equal up to the rounding of COLMAP's files."""
    if not set(estimated) <= set(true):
        return False
    return all(
        np.abs(pose.rotation - true[i].rotation).max() <= _SAME
        and np.abs(pose.translation - true[i].translation).max() <= _SAME * (1.0 + np.abs(true[i].translation).max())
        for i, pose in estimated.items()
    )


def rotation_angle(rotation: FloatArray) -> float:
    """Return the angle in radians of a rotation matrix (3,3); atan2 keeps small angles, which acos of the trace loses."""
    skew = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    return float(np.arctan2(np.linalg.norm(skew), np.trace(rotation) - 1.0))


def _is_on_a_line(points: FloatArray) -> bool:
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return bool(spread[1] <= _LEAST_SPREAD * spread[0])
