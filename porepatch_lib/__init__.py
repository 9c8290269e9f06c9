"""PorePatch: pore-scale facial patch datasets by Data-Model Co-Evolution."""

import os

# OpenBLAS splits sums among its threads, so it rounds differently with another number of them; read as NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
