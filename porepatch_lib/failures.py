"""Failures of the machine rather than of our code, as the one sentence a user needs."""

from __future__ import annotations

import errno

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


def sentence_of(error: BaseException) -> str | None:
    """Return what a full disk, a read-only folder or exhausted memory means to the user; None for any other error."""
    if isinstance(error, MemoryError):
        return "The memory is exhausted; give the job more (mem_mb), or the machine fewer jobs at once, and run again."
    if isinstance(error, OSError) and error.errno in _FULL:
        return f"The disk is full{_where(error)}; make room and run again: what is finished stays."
    if isinstance(error, OSError) and error.errno in _FORBIDDEN:
        return f"Writing or reading is not allowed{_where(error)}; mend the permissions or choose another folder, and run again."
    return None


def _where(error: OSError) -> str:
    return f" at {error.filename}" if error.filename else ""
