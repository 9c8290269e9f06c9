"""Patches: sampler, store, splits, pairs, UBC PhotoTour."""
