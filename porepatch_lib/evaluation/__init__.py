"""Ground truth: the labels of the datasets, the detectors, the appearance of rendered skin."""
