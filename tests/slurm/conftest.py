"""Tests on a real Slurm of one node: `make test-slurm`. Outside of one_node.sh nothing here is collected."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from login_node import LoginNode

_CLUSTER = os.environ.get("PORE_SLURM", "")  # set by one_node.sh: what keeps the accounts, none, or nothing outside of it
collect_ignore = {
    "": ["test_slurm.py", "test_slurm_without_accounting.py"],
    "none": ["test_slurm.py"],
}.get(_CLUSTER, ["test_slurm_without_accounting.py"])


@pytest.fixture(scope="module")
def login_node(tmp_path_factory: pytest.TempPathFactory) -> LoginNode:
    """A fresh clone of the project for the whole run."""
    return LoginNode(tmp_path_factory.mktemp("login"))


@pytest.fixture
def another_login_node(tmp_path: Path) -> LoginNode:
    """A fresh clone of the project for one test."""
    return LoginNode(tmp_path)
