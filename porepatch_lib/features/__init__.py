"""Keypoints and descriptors in the files of other programs: the ETH local-feature evaluation and hloc."""
