"""Rule `train`: train the network of one round."""

from porepatch_lib.training.train import TrainingSettings, train
from porepatch_lib.stage import stage

with stage(snakemake.log[0], snakemake.threads):
    train(
        train_patches=snakemake.input.train_patches,
    )
