"""What the configuration asks of the benchmark: the descriptors, and how each network is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from porepatch_lib.config import suggestion
from porepatch_lib.descriptors.networks import network_names
from porepatch_lib.descriptors.registry import descriptor_names
from porepatch_lib.errors import PorePatchError


def benchmark_training(benchmark: Mapping[str, Any], networks: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the training settings of every network of the benchmark, in its order; hand-made descriptors have none.

    Args:
        benchmark: section of the configuration that its schema has checked: descriptors, training and overrides.
        networks: third-party networks, "package.module:Class" by name.

    Raises:
        PorePatchError: if a name is unknown, or given to two networks, or the budget names an architecture of its own.
    """
    known, learned = descriptor_names(networks), network_names(networks)
    for name in benchmark["descriptors"]:
        _require_known(name, known, "benchmark.descriptors", "descriptor")
    for name in benchmark["overrides"]:
        _require_known(name, learned, "benchmark.overrides", "network")
    for key, settings in {"training": benchmark["training"], **benchmark["overrides"]}.items():
        if "architecture" in settings:
            raise PorePatchError(f"The benchmark trains every network it lists; remove 'architecture' from its '{key}'.")
    return {
        name: {**benchmark["training"], **benchmark["overrides"].get(name, {}), "architecture": name}
        for name in benchmark["descriptors"]
        if name in learned
    }


def _require_known(name: str, known: list[str], key: str, noun: str) -> None:
    if name not in known:
        mend = suggestion(name, known) or f"; known are {', '.join(known)}."
        raise PorePatchError(f"There is no {noun} '{name}', which the config has in {key}{mend}")
