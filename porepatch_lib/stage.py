"""What every Snakemake script needs around its one call: threads, a log file, errors as one sentence."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from porepatch_lib.errors import PorePatchError
from porepatch_lib.threads import limit_threads


@contextmanager
def stage(log_path: str | Path, threads: int) -> Iterator[None]:
    """Run a stage with `threads` threads, logging to `log_path` and to standard error.

    A PorePatchError ends the process with its sentence and no traceback.
    """
    limit_threads(threads)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        handlers=[logging.FileHandler(log_path, mode="w", encoding="utf-8"), logging.StreamHandler(sys.stderr)],
        force=True,
    )
    try:
        yield
    except PorePatchError as error:
        logging.error("%s", error)
        sys.exit(1)
    except Exception:
        logging.exception("The stage stopped on an error nobody foresaw; please report it with this log.")
        sys.exit(1)
