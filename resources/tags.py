"""Tags of runs: who asked for one, and what for. Steps read them, the driver and the sensors write them.

The UI shows those that a person understands; names that begin with `.dagster/` it hides.
"""

import json

import dagster as dg
from dagster._core.storage.tags import HIDDEN_TAG_PREFIX

DRIVER_TAG = "tamis/driver"
HOME_TAG = "tamis/home"
"""Tag of runs and of materializations: the id of the home that they are of."""
PROCESS_TAG = f"{HIDDEN_TAG_PREFIX}tamis_process"
WORK_TAG = f"{HIDDEN_TAG_PREFIX}tamis_work"
ON_REQUEST_TAG = "tamis/on_request"
CERTIFIED_TAG = "tamis/certified"
ALLOW_REMOVAL_TAG = "tamis/allow_removal"
PARTITIONS_TAG = f"{HIDDEN_TAG_PREFIX}tamis_partitions"
COMMAND_LINE, SENSOR = "command line", "sensor"


def refits(run: dg.DagsterRun) -> bool:
    """Whether a run fits again what is fitted on the pool: all but those that sensors ask for."""
    return CERTIFIED_TAG not in run.tags


def asked_for(run: dg.DagsterRun) -> bool:
    """Whether a person chose the partitions of this run; our own driver says so where one did."""
    return DRIVER_TAG not in run.tags or ON_REQUEST_TAG in run.tags


def named_partitions(run: dg.DagsterRun) -> frozenset[str] | None:
    """Return the partitions that a run is to make; None for all of its range that are due."""
    named = run.tags.get(PARTITIONS_TAG)
    return frozenset(json.loads(named)) if named else None


def allowed_removals(run: dg.DagsterRun) -> frozenset[str]:
    """Return the names that a run may remove although they are held back: its tag, separated by commas."""
    return frozenset(filter(None, map(str.strip, run.tags.get(ALLOW_REMOVAL_TAG, "").split(","))))
