"""Rule `calibrate_ratio`: the ratio test of one descriptor, from validation subjects."""

from pathlib import Path

from porepatch_lib.matching.calibration import CalibrationSettings, calibrate_ratio
from porepatch_lib.sfm.settings import SfmSettings
from porepatch_lib.stage import stage

with stage(snakemake):
    truths = dict(zip(snakemake.params.rendered, snakemake.input.truths, strict=True))
    calibrate_ratio(
        subjects=snakemake.params.subjects,
        images=[Path(path) for path in snakemake.input.images],
        keypoints=[Path(path) for path in snakemake.input.keypoints],
        descriptors=[Path(path) for path in snakemake.input.descriptors],
        pairs=[Path(path) for path in snakemake.input.pairs],
        truths=[Path(truths[subject]) if subject in truths else None for subject in snakemake.params.subjects],
        output=Path(snakemake.output.card),
        settings=CalibrationSettings(**snakemake.params.settings),
        sfm=SfmSettings(**snakemake.params.sfm),
        seed=snakemake.params.seed,
        descriptor=snakemake.wildcards.descriptor,
        threads=snakemake.threads,
    )
