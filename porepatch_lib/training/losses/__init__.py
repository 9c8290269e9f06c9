"""Losses on pairs of raw descriptors, one file each; `make.py` names them all."""
