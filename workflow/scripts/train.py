"""Rule `train`: train the network of one round."""

from pathlib import Path

from porepatch_lib.stage import stage
from porepatch_lib.training.train import TrainingSettings, train

with stage(snakemake.log[0], snakemake.threads):
    train(
        train_patches=Path(snakemake.input.train_patches),
        train_index=Path(snakemake.input.train_index),
        validation_patches=Path(snakemake.input.validation_patches),
        validation_index=Path(snakemake.input.validation_index),
        validation_pairs=Path(snakemake.input.validation_pairs),
        output_weights=Path(snakemake.output.weights),
        output_card=Path(snakemake.output.card),
        output_curve=Path(snakemake.output.curve),
        checkpoint_folder=Path(snakemake.params.checkpoint),
        settings=TrainingSettings(**snakemake.params.settings),
        initial_weights=Path(snakemake.input.initial_weights) if snakemake.input.initial_weights else None,
        seed=snakemake.params.seed,
        threads=snakemake.threads,
    )
