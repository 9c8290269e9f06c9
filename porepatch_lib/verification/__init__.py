"""Patch verification: fixed test sets, every descriptor on them, metrics with intervals, comparisons."""
