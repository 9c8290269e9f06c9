"""Print the jobs of the workflow that a configuration asks for, as JSON, in an order in which they may run.

python planned_jobs.py CONFIG -> [{rule, output, gpu, asked: [[mem_mb, runtime] of the first and of the second attempt]}]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from snakemake.api import SnakemakeApi
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    ExecutionSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
    WorkflowSettings,
)

_PROJECT = Path(__file__).resolve().parents[2]


def planned_jobs(config: Path) -> list[dict[str, Any]]:
    """Return the jobs of a dry run of everything, every job after those it needs."""
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=2),
            config_settings=ConfigSettings(configfiles=[_PROJECT / "config/config.yaml", config]),
            workflow_settings=WorkflowSettings(),
            snakefile=_PROJECT / "Snakefile",
        )
        plan = workflow.dag(DAGSettings(targets={"all"}))
        plan.execute_workflow(executor="dryrun", execution_settings=ExecutionSettings(lock=False))
        dag = workflow._workflow.dag
        return [_planned(job) for level in dag.toposorted() for job in level if dag.needrun(job)]


def _planned(job: Any) -> dict[str, Any]:
    asked = []
    for attempt in (1, 2):
        job.attempt = attempt
        asked.append([job.resources.get("mem_mb"), job.resources.get("runtime")])
    outputs = [str(path) for path in job.output]
    return {"rule": job.rule.name, "output": outputs, "gpu": job.resources.get("gpu", 0), "asked": asked}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(planned_jobs(Path(sys.argv[1]))))
