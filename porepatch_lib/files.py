"""Whole files or none: everything is written beside its target and renamed into place.

The temporary files and folders are hidden, `.<name>.part-...`, and locked by who writes them, folders by a file beside them. A
killed process leaves them; the next one that writes the same target removes those that nobody holds any more. Several may write
one target at the same time (a job of a cluster that is believed dead, and the one sent after it): the last one stays. Where the
file system has no locks nothing is removed; where its locks hold on one machine only (Lustre's localflock), a writer on another
one may lose its file and fails. What is renamed is on the disk already: a power cut leaves no empty files, and other machines
read all of it.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from porepatch_lib.errors import PorePatchError
from porepatch_lib.failures import disk_full, is_disk_full

_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
_ZEROS = bytes(2**20)
_ROOM_BYTES = 2**24


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path with the target's suffix; rename it to `target` when the block succeeds.

    Raises:
        OSError: ENOSPC with the target's name, where the disk is full, whatever error the block had for it.
    """
    target = Path(target)
    with _part(target, folder=False) as temporary:
        yield temporary
        _settle(temporary)
        temporary.replace(target)
        _settle(target.parent)


@contextmanager
def atomic_folder(target: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder; it replaces `target` when the block succeeds.

    Raises:
        OSError: as `atomic_path`.
    """
    target = Path(target)
    with _part(target, folder=True) as temporary:
        yield temporary
        for inside in [path for path in temporary.rglob("*") if not path.is_symlink()]:
            _settle(inside)
        _replace_folder(temporary, target)
        _settle(target.parent)


def write_text(target: str | Path, text: str) -> None:
    """Write UTF-8 text."""
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8")


def write_json(target: str | Path, value: Any) -> None:
    """Write JSON with stable key order; NaN is refused because JSON has none."""
    write_text(target, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_array(target: str | Path, array: NDArray[Any]) -> None:
    """Write one array as `.npy`, without pickle."""
    with atomic_path(target) as path, path.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)


def write_image(path: Path, image: NDArray[np.uint8], suffix: str, parameters: Sequence[int] = ()) -> None:
    """Write (H,W) or (H,W,3) BGR uint8 into a part that the caller holds, encoded for `suffix`.

    `parameters`: OpenCV's IMWRITE_.... (OpenCV's own writer takes a full disk for success, and ASCII paths only.)
    """
    import cv2

    path.write_bytes(cv2.imencode(suffix, image, list(parameters))[1].tobytes())


def create_array(path: str | Path, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """Create a `.npy` file of zeros and return it as a writable memory map.

    The disk's blocks are taken at once: a write into a map that finds the disk full would kill the process (SIGBUS).

    Raises:
        OSError: ENOSPC where the disk is too small.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    with Path(path).open("r+b") as stream:
        _reserve(stream, array.offset)
    return array


def read_array(path: str | Path, memory_map: bool = True) -> NDArray[Any]:
    """Read a `.npy` array, memory-mapped read-only unless asked otherwise."""
    return np.load(path, mmap_mode="r" if memory_map else None, allow_pickle=False)


def sha256_of(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of a file, read in blocks."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def require_room(folder: Path) -> None:
    """Check that 16 MB more fit; for after a library that does not say why it could not write.

    Raises:
        OSError: ENOSPC with the folder's name if they do not; any other as it comes.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.truncate(_ROOM_BYTES)
            _reserve(stream, 0)
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(folder) from error
        raise


def require_writable(folder: str | Path) -> None:
    """Check that a folder, or where it does not exist yet the nearest one above it, may be written.

    Raises:
        PorePatchError: if it may not.
    """
    nearest = next(path for path in (Path(folder).absolute(), *Path(folder).absolute().parents) if path.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PorePatchError(f"The folder {nearest} may not be written; mend its permissions or give another one in the config.")


@contextmanager
def _part(target: Path, folder: bool) -> Iterator[Path]:
    """Yield a new locked file or folder beside `target`; remove what is left of it in the end, and before what the dead left."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target, folder)
        part, lock = _locked_part(target, folder)
        try:
            yield part
        finally:
            _remove(part)
            _unlock(part, lock, folder)
    except Exception as error:
        if is_disk_full(error):
            raise disk_full(target) from error
        raise


def _locked_part(target: Path, folder: bool) -> tuple[Path, int]:
    """Make a part of `target`; returns it and the descriptor that holds its lock, as far as there are locks."""
    stem, suffix = _named(target, folder)
    while True:  # until it is not taken for a leftover before it is locked
        part = target.with_name(f"{stem}{secrets.token_hex(6)}{suffix}")
        held = _lock_of(part, folder)
        descriptor = os.open(held, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if held.exists():
            if folder:
                part.mkdir()
            return part, descriptor
        os.close(descriptor)


def _lock_of(part: Path, folder: bool) -> Path:
    """The file that locks a part: itself, or one beside a folder, which NFS cannot lock."""
    return part.with_name(f"{part.name}.lock") if folder else part


def _unlock(part: Path, descriptor: int, folder: bool) -> None:
    _lock_of(part, folder).unlink(missing_ok=True)
    os.close(descriptor)


def _remove_leftovers(target: Path, folder: bool) -> None:
    """Remove the parts of `target` that nobody holds."""
    stem, suffix = (glob.escape(part) for part in _named(target, folder))
    for held in target.parent.glob(f"{stem}*{suffix}{'.lock' if folder else ''}"):
        with suppress(OSError):  # gone meanwhile, held by its writer, or there are no locks
            descriptor = os.open(held, os.O_RDWR)  # NFS locks for writing what is open for writing
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part = held.with_suffix("") if folder else held
                _remove(part)
                held.unlink(missing_ok=True)
            finally:
                os.close(descriptor)


def _named(target: Path, folder: bool) -> tuple[str, str]:
    """How the names of a target's parts begin and end."""
    return (f".{target.name}.part-", "") if folder else (f".{target.stem}.part-", target.suffix)


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        part.unlink(missing_ok=True)


def _replace_folder(folder: Path, target: Path) -> None:
    """Put `folder` in the place of `target`, which is moved away whole: nobody finds half of it."""
    while True:
        try:
            folder.replace(target)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
        else:
            return
        old, lock = _locked_part(target, folder=True)
        with suppress(FileNotFoundError):
            target.replace(old)
        _remove(old)
        _unlock(old, lock, folder=True)


def _settle(path: Path) -> None:
    """Wait until what was written into a file, or the names in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:  # folders of some file systems
            raise
    finally:
        os.close(descriptor)


def _reserve(stream: IO[bytes], start: int) -> None:
    """Take the blocks of a file that is zero from `start` on."""
    size = os.fstat(stream.fileno()).st_size
    try:
        os.posix_fallocate(stream.fileno(), 0, size)
    except (AttributeError, OSError) as error:  # macOS has no such call, some file systems neither
        if is_disk_full(error):
            raise
        stream.seek(start)
        for position in range(start, size, len(_ZEROS)):
            stream.write(_ZEROS[: size - position])
