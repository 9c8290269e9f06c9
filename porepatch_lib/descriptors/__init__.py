"""Descriptors: hand-made and learned, one contract."""
