"""Rule `evaluate_detector`: measure one detector on one rendered subject."""

from porepatch_lib.evaluation.detectors import DetectorSettings, evaluate_detector
from porepatch_lib.stage import stage

with stage(snakemake):
    evaluate_detector(
        images=snakemake.input.images,
        keypoints=snakemake.input.keypoints,
        truth_folder=snakemake.input.truth,
        output=snakemake.output.report,
        settings=DetectorSettings(**snakemake.params.settings),
    )
