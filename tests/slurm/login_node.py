"""What a user does on a login node: start the workflow with the Slurm profile, look at the jobs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

SOURCES = Path(__file__).resolve().parents[2]
_CLONED = ("Snakefile", "config", "envs", "porepatch_lib", "profiles", "rules", "workflow", "tests/workflow")
# The cluster's defaults wait for minutes of queueing and for slow file systems; here jobs take seconds and there are two cores.
_IMPATIENT = ("--jobs", "4", "--latency-wait", "5", "--slurm-init-seconds-before-status-checks", "2")
_IMPATIENT += ("--seconds-between-status-checks", "2", "--slurm-keep-successful-logs")


@dataclass(frozen=True)
class SlurmJob:
    """One submission; `comment` is rule_<rule>_wildcards_<values>, or rule_<group>_<rules> for jobs that ride together."""

    id: int
    comment: str
    state: str
    partition: str
    resources: str  # as Slurm writes it, cpu=1,mem=2000M,gres/gpu=1
    cpus: int

    @property
    def gpus(self) -> int:
        """GPUs that the job held."""
        found = re.search(r"gres[/:]gpu[=:](\d+)", self.resources)
        return int(found[1]) if found else 0

    @property
    def memory_mb(self) -> int:
        """Memory that the job was given."""
        amount, unit = re.search(r"\bmem=([\d.]+)([MG])", self.resources).groups()  # type: ignore[union-attr]
        return round(float(amount) * {"M": 1, "G": 1024}[unit])


class LoginNode:
    """A clone of the project in a folder, with the tiny configuration and results of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in _CLONED:
            source, target = SOURCES / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)
        config = yaml.safe_load((folder / "tests/workflow/tiny.yaml").read_text())
        config |= {"subjects": "tests/workflow/tiny.tsv", "pathvars": {"results": "results"}}
        (folder / "tiny.yaml").write_text(yaml.safe_dump(config))

    @property
    def results(self) -> Path:
        """Where the workflow writes."""
        return self.folder / "results"

    def start(self, *arguments: str, log: str = "head.log") -> subprocess.Popen[bytes]:
        """Start Snakemake with the Slurm profile in a session of its own; what it prints goes to the file `log`."""
        command = [sys.executable, "-m", "snakemake", *arguments, "--workflow-profile", "workflow/profiles/slurm"]
        command += ["--configfile", "tiny.yaml", *_IMPATIENT]
        environment = os.environ | {"PYTHONPATH": str(self.folder)}
        with (self.folder / log).open("ab") as stream:
            return subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=stream, stderr=stream, start_new_session=True
            )

    def run(self, *arguments: str) -> str:
        """Run Snakemake with the Slurm profile to its end; returns what it printed, and fails where it failed."""
        (self.folder / "head.log").unlink(missing_ok=True)
        code = self.start(*arguments).wait()
        printed = (self.folder / "head.log").read_text()
        assert code == 0, printed[-8000:]
        return printed


def accounted_jobs(since: int = 0) -> list[SlurmJob]:
    """Submissions with a larger number than `since`, by `sacct`."""
    columns = "JobIDRaw,Comment,State,Partition,AllocTRES,AllocCPUS"
    rows = _ask("sacct", "--allocations", "--parsable2", "--noheader", "--duplicates", f"--format={columns}")
    return _parsed(rows, since)


def queued_jobs(since: int = 0) -> list[SlurmJob]:
    """Submissions with a larger number than `since` that Slurm still remembers, by `squeue`."""
    columns = "JobID:|,Comment:|,State:|,Partition:|,tres-alloc:;,tres-per-job:|,NumCPUs:"
    return _parsed(_ask("squeue", "--states=all", "--noheader", f"--Format={columns}"), since)


def _ask(*command: str) -> list[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def _parsed(rows: list[str], since: int) -> list[SlurmJob]:
    jobs = []
    for row in rows:
        number, *texts, cpus = row.split("|")
        jobs.append(SlurmJob(int(number), *texts, int(cpus)))
    return sorted((job for job in jobs if job.id > since), key=lambda job: job.id)
