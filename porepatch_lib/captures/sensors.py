"""Widths of camera sensors, for photographs whose EXIF has a focal length in millimetres and nothing to relate it to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType


def sensor_width_mm(make: str, model: str, widths_mm: Mapping[str, float]) -> float | None:
    """Find a camera of EXIF's `make` and `model` in `widths_mm`, which is keyed by "Maker Model"; None if it is not there.

    Case, spaces and punctuation do not matter, nor whether the model repeats the maker's name ("NIKON CORPORATION",
    "NIKON D750" is "Nikon D750").
    """
    if not model.strip():
        return None
    brand = _plain(make.split()[0]) if make.split() else ""
    # The model alone: Ricoh's "PENTAX K-1" bears another maker's name.
    names = {_plain(make + model), _plain(model), brand + _plain(model)}
    return next((width for name, width in widths_mm.items() if _plain(name) in names), None)


@cache
def known_widths_mm() -> Mapping[str, float]:
    """The table of common cameras, `sensors.tsv`: "Maker Model" to width in mm."""
    lines = files(__package__).joinpath("sensors.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines[1:] if line]
    return MappingProxyType({f"{maker} {model}": float(width) for maker, model, width in rows})


def _plain(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())
