"""Point clouds as binary little-endian PLY: one element `vertex` of scalar properties, one structured array in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_path

_FORMAT = "format binary_little_endian 1.0"
_TYPES = {
    "char": "<i1",
    "uchar": "<u1",
    "short": "<i2",
    "ushort": "<u2",
    "int": "<i4",
    "uint": "<u4",
    "float": "<f4",
    "double": "<f8",
}
_NAMES = {np.dtype(kind): name for name, kind in _TYPES.items()}
_ALIASES = {
    "int8": "char",
    "uint8": "uchar",
    "int16": "short",
    "uint16": "ushort",
    "int32": "int",
    "uint32": "uint",
    "float32": "float",
    "float64": "double",
}
_MOST_HEADER_BYTES = 65536


def write_ply(path: str | Path, vertices: NDArray[Any]) -> None:
    """Write a structured array (N,) as PLY; a field of the array is a property of the file.

    Fields are scalars: integers of 8 to 32 bits, float32 or float64.
    """
    fields = {name: vertices.dtype[name].newbyteorder("<") for name in vertices.dtype.names or ()}
    properties = [f"property {_NAMES[kind]} {name}" for name, kind in fields.items()]
    header = "\n".join(["ply", _FORMAT, f"element vertex {len(vertices)}", *properties, "end_header", ""])
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(header.encode("ascii"))
        stream.write(vertices.astype(np.dtype(list(fields.items()))).tobytes())


def read_ply(path: str | Path) -> NDArray[Any]:
    """Read what `write_ply` writes, and the clouds of COLMAP: a structured array (N,).

    Raises:
        PorePatchError: if the file is missing, no such PLY, cut short or too long.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise PorePatchError(f"Cannot read the point cloud {path} ({error}); make it again.") from error
    lines, start = _header(data, path)
    count, kind = _layout(lines, path)
    if len(data) - start != count * kind.itemsize:
        raise _damaged(path, f"it has {len(data) - start} bytes of points where its header promises {count * kind.itemsize}")
    return np.frombuffer(data, kind, count, start)


def _header(data: bytes, path: str | Path) -> tuple[list[str], int]:
    """Return the header's lines between first and last, without comments, and where the points start."""
    end = data.find(b"\nend_header\n", 0, _MOST_HEADER_BYTES)
    if not data.startswith(b"ply\n") or end < 0:
        raise _damaged(path, "it has no PLY header")
    try:
        lines = data[:end].decode("ascii").split("\n")[1:]
    except UnicodeDecodeError:
        raise _damaged(path, "its header is not plain text") from None
    return [line for line in lines if not line.startswith(("comment", "obj_info"))], end + len(b"\nend_header\n")


def _layout(lines: list[str], path: str | Path) -> tuple[int, np.dtype[Any]]:
    """Return the number of points and the type of one."""
    if not lines or lines[0] != _FORMAT:
        raise _damaged(path, "it is not binary little-endian PLY 1.0")
    element = lines[1].split() if len(lines) > 1 else []
    if len(element) != 3 or element[:2] != ["element", "vertex"] or not element[2].isdigit():
        raise _damaged(path, "its first element is not a number of vertices")
    fields = []
    for line in lines[2:]:
        words = line.split()
        name = _ALIASES.get(words[1], words[1]) if len(words) == 3 and words[0] == "property" else ""
        if name not in _TYPES:
            raise _damaged(path, f"the line '{line}' of its header is no scalar property of a vertex")
        fields.append((words[2], _TYPES[name]))
    if not fields or len({name for name, _ in fields}) != len(fields):
        raise _damaged(path, "its vertices have no properties, or two of one name")
    return int(element[2]), np.dtype(fields)


def _damaged(path: str | Path, what: str) -> PorePatchError:
    return PorePatchError(f"The point cloud {path} cannot be used: {what}; make it again.")
