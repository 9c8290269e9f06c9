"""`make test-kill`: the tiny workflow killed twenty times, and at its tender places, ends as if nothing had been (minutes)."""

from __future__ import annotations

import collections
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from disturb import Attempt, differences, leftovers, moments_over, run_killed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

_KILLS = 20
_SEED = 8


@pytest.fixture(scope="module")
def arguments(tiny_folder: Path) -> Callable[..., list[str]]:
    """Snakemake's arguments for results in a folder of their own."""

    def of(name: str, *others: str) -> list[str]:
        config = yaml.safe_load((tiny_folder / "config.yaml").read_text())
        config["pathvars"] = {"results": str(tiny_folder / name)}
        (tiny_folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
        return [*others, "--configfile", str(tiny_folder / f"{name}.yaml"), "--cores", "2", "--resources", "gpu=2"]

    return of


@pytest.fixture(scope="module")
def undisturbed(arguments: Callable[..., list[str]]) -> Attempt:
    attempt = Attempt(arguments("undisturbed"))
    assert attempt.wait() == 0, "".join(attempt.output)[-8000:]
    return attempt


def test_killed_twenty_times(
    undisturbed: Attempt, arguments: Callable[..., list[str]], tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moments = moments_over([seconds for seconds, _ in undisturbed.finished], _KILLS, _SEED)
    killed = run_killed(arguments("killed"), moments)
    hit = collections.Counter(rule for _, running in killed.kills for rule in running)
    with capsys.disabled():
        print(f"\n{len(killed.kills)} kills after {[jobs for jobs, _ in killed.kills]} finished jobs, in {dict(hit)}")
        print(f"{killed.seconds:.0f} s, undisturbed {undisturbed.finished[-1][0]:.0f} s")
    assert len(killed.kills) == _KILLS
    assert differences(tiny_folder / "undisturbed", tiny_folder / "killed") == []
    assert leftovers(tiny_folder / "killed") == []


# What lies in the results while the tender work is under way: a checkpoint being written (not the first), COLMAP's database,
# patches being merged.
_TENDER = {
    "round0/sfm/tiny01": ["round0/sfm/.tiny01.part-*/database.db"],
    "round0/dataset/train/patches.npy": ["round0/dataset/train/.patches.part-*"],
    "round0/model/hynet.safetensors": ["round0/model/*.checkpoint/checkpoint.safetensors", "round0/model/*.checkpoint/.*.part-*"],
}


def test_killed_at_tender_places(undisturbed: Attempt, arguments: Callable[..., list[str]], tiny_folder: Path) -> None:
    results = tiny_folder / "tender"
    for target, traces in _TENDER.items():
        attempt = Attempt(arguments("tender", str(results / target)))
        assert attempt.kill_at(lambda _, traces=traces: all(any(results.glob(trace)) for trace in traces)), target
        assert not attempt.survivors()
        assert leftovers(results)
        assert not (results / target).exists()
    last = Attempt(arguments("tender", str(results / "round0/model/hynet.safetensors")))
    assert last.wait() == 0, "".join(last.output)[-8000:]
    assert differences(tiny_folder / "undisturbed", results, part=True) == []
    assert leftovers(results) == []


def test_other_threads_make_the_same_dataset(
    undisturbed: Attempt, arguments: Callable[..., list[str]], tiny_folder: Path
) -> None:
    """Up to training, whose sums on a CPU go with the number of its threads."""
    results = tiny_folder / "threads"
    targets = [str(results / f"round0/dataset/{split}/pairs.parquet") for split in ("train", "validation")]
    targets += [str(results / f"reconstruction/tiny04/psift/{variant}/evaluation") for variant in ("eth", "densified")]
    attempt = Attempt([*arguments("threads", *targets), "--config", "threads=2"])
    assert attempt.wait() == 0, "".join(attempt.output)[-8000:]
    assert differences(tiny_folder / "undisturbed", results, part=True) == []
