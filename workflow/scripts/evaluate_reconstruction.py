"""Rule `evaluate_reconstruction`: the figures and clouds of one reconstruction."""

from pathlib import Path

from porepatch_lib.reconstruction.evaluate import ReconstructionTruthSettings, evaluate_reconstruction
from porepatch_lib.stage import stage

with stage(snakemake):
    evaluate_reconstruction(
        subject=snakemake.wildcards.subject,
        descriptor=snakemake.wildcards.descriptor,
        variant=snakemake.wildcards.variant,
        features=snakemake.params.features,
        learned=snakemake.params.learned,
        descriptors=Path(snakemake.input.descriptors),
        ratio=snakemake.params.ratio,
        calibration=Path(snakemake.input.calibration) if snakemake.input.calibration else None,
        images=Path(snakemake.input.images),
        truth_folder=Path(snakemake.input.truth) if snakemake.input.truth else None,
        sfm_folders=[Path(path) for path in snakemake.input.sfm],
        seeds=snakemake.params.seeds,
        dense_folder=Path(snakemake.input.dense) if snakemake.input.dense else None,
        output_folder=Path(snakemake.output.evaluation),
        settings=ReconstructionTruthSettings(**snakemake.params.settings),
        seed=snakemake.params.seed,
        threads=snakemake.threads,
    )
