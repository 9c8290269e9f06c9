"""Real photographs through the same workflow, by sheet and config alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from porepatch_lib.files import read_json
from porepatch_lib.tables import PATCHES, read_table


def test_real_photographs_register_and_yield_patches(shared, snakemake, tmp_path):
    config = yaml.safe_load((Path(__file__).parent / "photographs.yaml").read_text())
    config["pathvars"] = {"results": str(tmp_path)}
    config["keypoints"] = {"target_count": 3000}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    targets = [str(tmp_path / f"round0/patches/{subject}.npy") for subject in ("vespasian", "fountain")]
    process = snakemake(*targets, config=tmp_path / "config.yaml")
    assert process.returncode == 0, process.stdout[-4000:]
    for subject, registered in (("vespasian", 10), ("fountain", 11)):
        status = read_json(tmp_path / f"round0/sfm/{subject}/status.json")
        assert status["registered"] >= registered
        assert status["mean_reprojection_error_px"] < 1.0
        patches = np.load(tmp_path / f"round0/patches/{subject}.npy", mmap_mode="r")
        index = read_table(tmp_path / f"round0/patches/{subject}.parquet", PATCHES)
        assert len(patches) == len(index) > 4000
        assert index.groupby("point_id").size().min() >= 2
