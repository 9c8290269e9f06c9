"""The columns of the reconstruction table, declared once: names in metrics.json, titles, units."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One figure of a reconstruction.

    `name`: key in `metrics.json`. `title`: header in tables, `unit` included. `decimals`: as shown. `scale`: shown number over
    stored one (100 for shares in %). `better`: 1 where more is better, -1 where less is, 0 where neither is.
    """

    name: str
    title: str
    decimals: int = 0
    scale: float = 1.0
    better: int = 0


# Whose features a row is of, beside "colmap" and "given": keypoints of this project.
OWN_FEATURES = "project"

# Thresholds of accuracy, completeness and F-score on rendered faces.
TOLERANCES_MM = (0.1, 0.25, 0.5)

# The row of Schonberger et al., "Comparative Evaluation of Hand-Crafted and Learned Local Features", CVPR 2017, table 3.
ETH = (
    Column("images", "Images"),
    Column("registered", "Registered", better=1),
    Column("sparse_points", "Sparse points", better=1),
    Column("observations", "Observations", better=1),
    Column("track_length", "Track length", 2, better=1),
    Column("observations_per_image", "Obs. per image", better=1),
    Column("reprojection_error_px", "Reproj. error px", 3, better=-1),
    Column("dense_points", "Dense points", better=1),
    Column("inlier_pairs", "Inlier pairs", better=1),
    Column("inlier_matches", "Inlier matches", better=1),
)

# After similarity alignment of the camera centres; over the registered views, so it stands beside `registered`.
CAMERAS = (
    Column("position_error_mm", "Position error mm", 3, better=-1),
    Column("largest_position_error_mm", "Largest position error mm", 3, better=-1),
    Column("rotation_error_deg", "Rotation error deg", 4, better=-1),
)


def _surface(cloud: str) -> tuple[Column, ...]:
    title = cloud.capitalize()
    shares = [
        Column(f"{cloud}_{name}_{tolerance:g}mm", f"{title} {label} {tolerance:g} mm %", 1, 100.0, 1)
        for tolerance in TOLERANCES_MM
        for name, label in (("accuracy", "accuracy"), ("completeness", "completeness"), ("f", "F"))
    ]
    return (Column(f"{cloud}_error_mm", f"{title} median error mm", 4, better=-1), *shares)


# Distances to the true surface, and of the true surface to the cloud.
SPARSE = _surface("sparse")
DENSE = (*_surface("dense"), Column("normal_error_deg", "Normal error deg", 1, better=-1))

COLUMNS = (*ETH, *CAMERAS, *SPARSE, *DENSE)
