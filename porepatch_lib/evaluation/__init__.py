"""Evaluation: pure functions of arrays, and the rules' entry points."""
