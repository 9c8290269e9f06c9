"""Rendered captures with exact ground truth."""
