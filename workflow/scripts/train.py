"""Rule `train`: train one network."""

from pathlib import Path

from porepatch_lib.stage import stage
from porepatch_lib.training.job import TrainingJob
from porepatch_lib.training.settings import TrainingSettings
from porepatch_lib.training.train import train

with stage(snakemake) as running:
    running.device = train(
        TrainingJob(
            train_patches=Path(snakemake.input.train_patches),
            train_index=Path(snakemake.input.train_index),
            validation_patches=Path(snakemake.input.validation_patches),
            validation_index=Path(snakemake.input.validation_index),
            validation_pairs=Path(snakemake.input.validation_pairs),
            output_weights=Path(snakemake.output.weights),
            output_card=Path(snakemake.output.card),
            output_curve=Path(snakemake.output.curve),
            checkpoint_folder=Path(snakemake.params.checkpoint),
            tensorboard_folder=Path(snakemake.log[0]).with_suffix(""),
            settings=TrainingSettings(**snakemake.params.settings),
            initial_weights=Path(snakemake.input.initial_weights) if snakemake.input.initial_weights else None,
            networks=snakemake.params.networks,
            keep_collapsed=snakemake.params.keep_collapsed,
            seed=snakemake.params.seed,
            threads=snakemake.params.threads,
        )
    )
