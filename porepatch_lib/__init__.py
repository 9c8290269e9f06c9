"""PorePatch: pore-scale facial patch datasets by Data-Model Co-Evolution."""

__version__ = "0.1.0"
