"""Failures of the machine rather than of our code, as the one sentence a user needs."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

from porepatch_lib.errors import PorePatchError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
# Libraries that have errors of their own: SQLite, Rust and C++ libraries; NumPy tells how many items went into a file.
_FULL_TEXT = re.compile(r"no space left|disk is full|disk quota|\d+ requested and \d+ written", re.IGNORECASE)
_MEMORY_TEXT = re.compile(r"out of memory|can(?:'|no)t allocate memory|insufficient memory|std::bad_alloc", re.IGNORECASE)


class Terminated(BaseException):
    """The process was told to end (SIGTERM); like KeyboardInterrupt it is no Exception, so that nothing takes it for an error."""


def sentence_of(error: BaseException) -> str | None:
    """Return the sentence for the user: of a PorePatchError its own, of a full disk, exhausted memory, a folder that may not be
    written or an end from outside what it means; None for any other error.

    A full disk and exhausted memory are found among an error's causes too, and then hide what was made of them.
    """
    full = next((link for link in _chain(error) if _is_full(link)), None)
    if full is not None:
        return f"The disk is full{_where(full)}; make room and run again: what is finished stays."
    if any(_is_out_of_memory(link) for link in _chain(error)):
        return _memory_sentence(error)
    if isinstance(error, PorePatchError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _FORBIDDEN:
        return f"Writing or reading is not allowed{_where(error)}; mend the permissions or choose another folder, and run again."
    if isinstance(error, Terminated | KeyboardInterrupt):
        return "The job was stopped from outside (cancelled, or its time was up); run again: what is finished stays."
    return None


def is_disk_full(error: BaseException) -> bool:
    """Return whether a full disk, or a quota that is used up, is the error or among its causes."""
    return any(_is_full(link) for link in _chain(error))


def disk_full(path: str | os.PathLike[str]) -> OSError:
    """Return the error of a disk that is full where `path` was to be written."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what it came from."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _is_full(error: BaseException) -> bool:
    return (isinstance(error, OSError) and error.errno in _FULL) or bool(_FULL_TEXT.search(str(error)))


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or bool(_MEMORY_TEXT.search(str(error)))


def _memory_sentence(error: BaseException) -> str:
    if any("CUDA" in str(link) for link in _chain(error)):
        return "The GPU's memory is exhausted; set training.micro_batch, or let fewer jobs share it (gpu=1), and run again."
    return "The memory is exhausted; give the job more (mem_mb), or the machine fewer jobs at once, and run again."


def _where(error: BaseException) -> str:
    filename = getattr(error, "filename", None)
    return f" at {filename}" if filename else ""
