"""Fixtures every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with reference vectors and real photographs beside the project; tests skip without it."""
    if not (_SHARED / "reference").is_dir():
        pytest.skip("the reference folder ../shared is not here")
    return _SHARED
