"""Reading linear face models: arrays in an .npz file, a checkout of ICT-FaceKit, or a Basel Face Model in HDF5.

ICT-FaceKit: https://github.com/ICT-VGL/ICT-FaceKit. Basel: T. Gerig et al., "Morphable Face Models - An Open Framework", 2018.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError

FloatArray = NDArray[np.float64]
Faces = NDArray[np.int32]

LANDMARKS = 70  # the 68 Multi-PIE points, then the right and the left nostril
_MOST_MODES = 100  # later ones of a Basel model move the skin by less than a tenth of a millimetre

_ICT_VERTICES, _ICT_FACES = 9409, 9230  # "full face area" in the repository's table: first in every file
_ICT_UNITS_MM = 10.0
# "Multi-PIE 68 point facial landmarks indices" of the repository's documentation.
_ICT_LANDMARKS = """
    1225 1888 1052 367 1719 1722 2199 1447 966 3661 4390 3927 3924 2608 3272 4088 3443 268 493 1914 2044 1401 3615 4240 4114 2734
    2509 978 4527 4942 4857 1140 2075 1147 4269 3360 1507 1542 1537 1528 1518 1511 3742 3751 3756 3721 3725 3732 5708 5695 2081
    0 4275 6200 6213 6346 6461 5518 5957 5841 5702 5711 5533 6216 6207 6470 5517 5966
"""
# The nostrils are hollows that the texture shrinks to points; these vertices lie deep inside.
_ICT_NOSTRILS = (5002, 5456)
# Names in the files of the Basel Face Model, by their place among the 68 points.
BASEL_LANDMARKS = {
    8: "center.chin.tip",
    19: "right.eyebrow.bend.upper",
    21: "right.eyebrow.inner_upper",
    22: "left.eyebrow.inner_upper",
    24: "left.eyebrow.bend.upper",
    30: "center.nose.tip",
    31: "right.nose.wing.tip",
    33: "center.nose.attachement_to_philtrum",
    35: "left.nose.wing.tip",
    36: "right.eye.corner_outer",
    37: "right.eye.top",
    39: "right.eye.corner_inner",
    41: "right.eye.bottom",
    42: "left.eye.corner_inner",
    43: "left.eye.top",
    45: "left.eye.corner_outer",
    47: "left.eye.bottom",
    48: "right.lips.corner",
    51: "center.lips.upper.outer",
    54: "left.lips.corner",
    57: "center.lips.lower.outer",
    62: "center.lips.upper.inner",
    66: "center.lips.lower.inner",
    68: "right.nose.hole.center",
    69: "left.nose.hole.center",
}


@dataclass(frozen=True)
class LinearModel:
    """A mesh and the directions in which it may be moved, mm.

    mean (N,3) float64; faces (F,4) int32, -1 in the last column of triangles; identity (K,N,3), expression (E,N,3) float32: per
    standard deviation, or for 1 = the full expression. uv (T,2) float64 and uv_faces (F,4) int32, or both None: the texture
    and its corners. landmarks (70,) int64: vertices of the 68 Multi-PIE points
    and of the two nostrils, -1 where unknown.
    """

    mean: FloatArray
    faces: Faces
    identity: NDArray[np.float32]
    expression: NDArray[np.float32]
    expression_names: tuple[str, ...]
    uv: FloatArray | None
    uv_faces: Faces | None
    landmarks: NDArray[np.int64]


def read_linear_model(path: Path) -> LinearModel:
    """Read a model.

    An .npz holds `vertices` (N,3), `quads` (F,4) or `triangles` (F,3), `identity` (K,N,3), `units_mm` (how many millimetres one
    unit has) and `landmarks` (68,), the vertices of the Multi-PIE (iBUG) points, -1 for unknown, the person's right first.
    It may hold `nostrils` (2,), `identity_std` (K,), `expression` (E,N,3), `expression_std` (E,), `expression_names` (E,),
    and `uv` (T,2) with `uv_quads` or `uv_triangles`. ICT-FaceKit's face area (9409 vertices) needs no `units_mm`, `landmarks`
    and `nostrils`.

    Raises:
        PorePatchError: if nothing is there, or what is there is no such model.
    """
    if path.is_dir():
        return _read_facekit(path)
    if not path.is_file():
        raise PorePatchError(
            f"There is no face model at {path}; give an .npz file, a Basel .h5 file or a checkout of ICT-FaceKit."
        )
    if path.suffix == ".h5":
        return _read_basel(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise PorePatchError(f"The face model {path} cannot be read as an .npz file: {error}") from error
    return model_from_arrays(arrays, path)


def model_from_arrays(arrays: Mapping[str, NDArray[Any]], path: Path) -> LinearModel:
    """Check the arrays of an .npz file, see `read_linear_model`, and bring them to millimetres."""
    vertices = _array(arrays, "vertices", (None, 3), path)
    count = len(vertices)
    if count == _ICT_VERTICES and "landmarks" not in arrays:
        points = np.array(_ICT_LANDMARKS.split(), np.int64)
        arrays = {"units_mm": np.array(_ICT_UNITS_MM), "landmarks": points, "nostrils": np.array(_ICT_NOSTRILS), **arrays}
    units_mm = float(_array(arrays, "units_mm", (), path))
    if not units_mm > 0.0:
        raise PorePatchError(f"`units_mm` of the face model {path} is {units_mm}; give the millimetres of one unit.")
    faces = _faces(arrays, "", count, path)
    arrays = {"nostrils": np.array([-1, -1]), **arrays}
    lengths = {"landmarks": LANDMARKS - 2, "nostrils": 2}
    landmarks = np.concatenate([_indices(arrays, name, (length,), -1, count, path) for name, length in lengths.items()])
    identity = _modes(arrays, "identity", count, path)
    expression = _modes(arrays, "expression", count, path) if "expression" in arrays else np.zeros((0, count, 3), np.float32)
    names = tuple(str(name) for name in arrays.get("expression_names", np.arange(len(expression))))
    if len(names) != len(expression):
        raise PorePatchError(f"The face model {path} has {len(expression)} expressions but {len(names)} expression_names.")
    uv, uv_faces = None, None
    if "uv" in arrays:
        uv = _array(arrays, "uv", (None, 2), path)
        uv_faces = _faces(arrays, "uv_", len(uv), path)
        if uv_faces.shape != faces.shape or np.any((uv_faces < 0) != (faces < 0)):
            raise PorePatchError(f"The texture faces of the face model {path} do not match its faces; write one for each.")
    scale = np.float32(units_mm)
    return LinearModel(vertices * units_mm, faces, identity * scale, expression * scale, names, uv, uv_faces, landmarks)


def _array(arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | None, ...], path: Path) -> FloatArray:
    """Return an array of numbers in the expected shape; None stands for any length but 0."""
    if name not in arrays:
        raise PorePatchError(f"The face model {path} has no `{name}`; write it into the file.")
    array = arrays[name]
    fits = array.ndim == len(shape) and all(n == m or (m is None and n > 0) for n, m in zip(array.shape, shape, strict=False))
    if not fits or array.dtype.kind not in "fiu":
        expected = ", ".join("any" if length is None else str(length) for length in shape)
        raise PorePatchError(f"`{name}` of the face model {path} is {array.dtype} {array.shape}; expected numbers ({expected}).")
    if not np.all(np.isfinite(array)):
        raise PorePatchError(f"`{name}` of the face model {path} holds values that are not finite; mend or export it again.")
    return array.astype(np.float64)


def _indices(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | None, ...], low: int, count: int, path: Path
) -> NDArray[np.int64]:
    values = _array(arrays, name, shape, path)
    if np.any(values < low) or np.any(values >= count) or np.any(values % 1.0):
        raise PorePatchError(f"`{name}` of the face model {path} must be indices from {low} to {count - 1}; count from 0.")
    return values.astype(np.int64)


def _faces(arrays: Mapping[str, NDArray[Any]], prefix: str, count: int, path: Path) -> Faces:
    """Return quads, or triangles with -1 as the fourth corner."""
    if f"{prefix}quads" in arrays:
        quads = _indices(arrays, f"{prefix}quads", (None, 4), -1, count, path)
        if np.any(quads[:, :3] < 0):
            raise PorePatchError(f"`{prefix}quads` of the face model {path} may hold -1 in the last column only.")
        return quads.astype(np.int32)
    triangles = _indices(arrays, f"{prefix}triangles", (None, 3), 0, count, path)
    return np.pad(triangles, ((0, 0), (0, 1)), constant_values=-1).astype(np.int32)


def _modes(arrays: Mapping[str, NDArray[Any]], name: str, count: int, path: Path) -> NDArray[np.float32]:
    modes = _array(arrays, name, (None, count, 3), path)[:_MOST_MODES]
    if f"{name}_std" in arrays:
        modes = modes * _array(arrays, f"{name}_std", (len(arrays[name]),), path)[:_MOST_MODES, None, None]
    return modes.astype(np.float32)


def _read_facekit(folder: Path) -> LinearModel:
    """Read the face area of ICT-FaceKit: without eyeballs, teeth and the back of the head."""
    folder = folder / "FaceXModel" if (folder / "FaceXModel").is_dir() else folder
    neutral = folder / "generic_neutral_mesh.obj"
    if not neutral.is_file():
        raise PorePatchError(f"The folder {folder} has no generic_neutral_mesh.obj; give a checkout of ICT-FaceKit.")
    vertices, uv, faces, uv_faces = _read_obj(neutral)
    if len(vertices) < _ICT_VERTICES or len(faces) < _ICT_FACES:
        raise PorePatchError(f"{neutral} has {len(vertices)} vertices, fewer than ICT-FaceKit's face area; check it out again.")
    others = sorted(path for path in folder.glob("*.obj") if path != neutral)
    shapes = {path.stem: _read_obj_vertices(path, _ICT_VERTICES) - vertices[:_ICT_VERTICES] for path in others}
    identity = [name for name in shapes if name.startswith("identity")]
    expression = [name for name in shapes if not name.startswith("identity")]
    if not identity:
        raise PorePatchError(f"The folder {folder} has no identity000.obj; give a complete checkout of ICT-FaceKit.")
    used, corners = np.unique(uv_faces[:_ICT_FACES], return_inverse=True)
    arrays = {
        "vertices": vertices[:_ICT_VERTICES],
        "quads": faces[:_ICT_FACES],
        "uv": uv[used],
        "uv_quads": corners.reshape(_ICT_FACES, 4),
        "identity": np.stack([shapes[name] for name in identity]),
    }
    if expression:
        arrays |= {"expression": np.stack([shapes[name] for name in expression]), "expression_names": np.array(expression)}
    return model_from_arrays(arrays, folder)


def _read_obj(path: Path) -> tuple[FloatArray, FloatArray, NDArray[np.int64], NDArray[np.int64]]:
    """Return vertices (N,3), texture vertices (T,2), and the quads' corners in both (F,4), counted from 0."""
    vertices, uv, corners = [], [], []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            kind, *words = line.split() or [""]
            if kind == "v":
                vertices.append([float(word) for word in words[:3]])
            elif kind == "vt":
                uv.append([float(word) for word in words[:2]])
            elif kind == "f":
                corners.append([[int(index) for index in word.split("/")[:2]] for word in words])
        faces = np.array([face for face in corners if len(face) == 4], np.int64) - 1
        return np.array(vertices), np.array(uv), faces[..., 0], faces[..., 1]
    except (OSError, ValueError, IndexError) as error:
        raise PorePatchError(f"{path} cannot be read as a mesh of quads with texture: {error}") from error


def _read_obj_vertices(path: Path, count: int) -> FloatArray:
    """Return the first vertices (count, 3) of a mesh."""
    try:
        with path.open(encoding="utf-8") as file:
            rows = [line[2:] for line in file if line.startswith("v ")][:count]
        vertices = np.array(" ".join(rows).split(), np.float64).reshape(-1, 3)
    except (OSError, ValueError) as error:
        raise PorePatchError(f"{path} cannot be read as a mesh: {error}") from error
    if len(vertices) < count:
        raise PorePatchError(f"{path} has {len(vertices)} vertices, expected {count} or more; check ICT-FaceKit out again.")
    return vertices


def _read_basel(path: Path) -> LinearModel:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            mean, identity = _basel_part(file, "shape")
            cells = np.asarray(file["shape/representer/cells"], np.int64)
            stored = np.ravel(file["metadata/landmarks/json"])[0]
            marks = {str(mark["id"]): mark["coordinates"] for mark in json.loads(stored)}
            arrays: dict[str, NDArray[Any]] = {"identity": identity}
            if "expression" in file:
                offset, arrays["expression"] = _basel_part(file, "expression")
                mean = mean + offset
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise PorePatchError(f"{path} cannot be read as a Basel Face Model of 2017 or 2019: {error}") from error
    missing = [name for name in BASEL_LANDMARKS.values() if name not in marks]
    if missing:
        raise PorePatchError(f"The Basel model {path} has no landmark `{missing[0]}`; use one of the models of 2017 or 2019.")
    vertex_of = np.full(LANDMARKS, -1)
    for place, name in BASEL_LANDMARKS.items():
        vertex_of[place] = np.argmin(np.linalg.norm(mean - np.array(marks[name]), axis=1))
    arrays |= {
        "vertices": mean,
        "triangles": cells.T if len(cells) == 3 else cells,
        "units_mm": np.array(1.0 if np.ptp(mean[:, 1]) < 1e3 else 1e-3),
        "landmarks": vertex_of[:-2],
        "nostrils": vertex_of[-2:],
    }
    return model_from_arrays(arrays, path)


def _basel_part(file: Any, name: str) -> tuple[FloatArray, FloatArray]:
    """Return the mean (N,3) and the modes (K,N,3) times their standard deviations."""
    mean = np.asarray(file[f"{name}/model/mean"], np.float64).reshape(-1, 3)
    basis = np.asarray(file[f"{name}/model/pcaBasis"][:, :_MOST_MODES], np.float64)
    deviation = np.sqrt(np.asarray(file[f"{name}/model/pcaVariance"], np.float64)[: basis.shape[1]])
    return mean, (basis * deviation).T.reshape(-1, *mean.shape)
