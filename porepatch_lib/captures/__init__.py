"""Captures: subjects, photographs, calibration and masks as one table of views per subject."""
