"""Training: losses, batches, augmentation, loop, checkpoints."""
