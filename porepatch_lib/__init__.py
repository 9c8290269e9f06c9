"""PorePatch: pore-scale facial patch datasets by Data-Model Co-Evolution."""

import os

# OpenBLAS splits sums among its threads, so it rounds differently with another number of them. Read as NumPy is imported;
# Snakemake gives every script the threads of its job, so this is no default.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

__version__ = "0.1.0"
