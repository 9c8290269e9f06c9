"""One of several training processes: `python -m porepatch_lib.training.worker FOLDER RANK COUNT`, started by `launch`."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from pathlib import Path

from porepatch_lib.errors import PorePatchError
from porepatch_lib.training.distributed import report_failure
from porepatch_lib.training.job import TrainingJob
from porepatch_lib.training.train import train_as_worker


def main() -> int:
    """Train as process RANK of COUNT; returns the exit code."""
    folder, rank, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    threading.Thread(target=_end_with_parent, args=[os.getppid()], daemon=True).start()
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.ERROR, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        train_as_worker(TrainingJob.load(folder / "job.json"), rank, count, folder)
    except PorePatchError as error:
        report_failure(folder, error)
        return 1
    return 0


def _end_with_parent(parent: int) -> None:
    """A killed parent takes its workers with it: nobody would wait for them."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
