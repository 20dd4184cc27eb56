"""Which process a run lives in, so that one that was killed does not look alive for ever.

Dagster's default launcher does not watch its processes (measured on 1.13.27: run monitoring leaves a killed
run in STARTED), and the reselection sensor waits while any run is active.
"""

import time

import dagster as dg

from resources.tags import PROCESS_TAG
from tamis.base.processes import lives as lives
from tamis.base.processes import this_process as this_process

ALIVE = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
ACTIVE = [*ALIVE, dg.DagsterRunStatus.QUEUED]
"""A run in one of these has not ended."""
SILENT_SECONDS = 300.0
"""A run that has started but reached no step for so long died in between: steps name their process."""


def note_process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Tag a run with the process that executes it, unless it is."""
    if run.tags.get(PROCESS_TAG) != this_process():
        instance.add_run_tags(run.run_id, {PROCESS_TAG: this_process()})


def end_killed_runs(instance: dg.DagsterInstance) -> int:
    """Mark runs whose process is gone as failed; returns how many."""
    records = instance.get_run_records(dg.RunsFilter(statuses=ALIVE))
    killed = [record.dagster_run for record in records if _is_dead(record)]
    for run in killed:
        instance.report_run_failed(run, "the process that ran it has died; materialize again to continue")
    return len(killed)


def _is_dead(record: dg.RunRecord) -> bool:
    process = record.dagster_run.tags.get(PROCESS_TAG)
    if process is None:
        started = record.start_time if record.dagster_run.status == dg.DagsterRunStatus.STARTED else None
        return started is not None and time.time() - started > SILENT_SECONDS
    return lives(process) is False
