"""Keypoints: scale space, the pore detector and the PSIFT reference detector."""
