"""Reconstruction as a test of descriptors: the ETH protocol, and truth where it exists."""
