"""Refinement: keypoints of a track moved, by a fraction of a pixel, onto one and the same place of the surface."""
