"""Checks that are logged outside of any run: whether assets are current, and what saw a withdrawn document.

Dagster knows a check by its asset and name, so homes that share an instance overwrite each other's results.
Each logs its own again when its answer changes, and not because another home has logged another one.

Runs evaluate the checks of what they make at their end, the arrivals sensor and the command line those whose
answer is another by then: Dagster's own mark knows of no file that has come and of no setting.
"""

import contextlib
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from tamis.graph.plan import Due, by_stage, full_plan
from tamis.graph.snapshot import ProjectSnapshot
from tamis.records.current_values import CurrentValues
from tamis.records.receipts import listed_in
from tamis.report.index import write_index
from tamis.runtime.dagster_internals import AssetCheckExecutionRecord
from tamis.runtime.runs import ACTIVE, HOME_TAG, Owner, tags_of
from tamis.store.home import Home, home_id
from tamis.withdrawal.tainting import Taint, Tainted, tainted_values, watched

Answer = tuple[bool, str | None]
_logged: dict[tuple[Path, dg.AssetCheckKey], Answer] = {}
"""What this process has logged last for a home."""
PROJECT_FILE = "project_file"
"""Check on tamis.toml, at `raw_shards`; the arrivals sensor logs it, too (`sensors/reloading.py`)."""
CURRENT = "current"
PLANNED_SECONDS = 300.0
_plans: dict[Path, tuple[float, ProjectSnapshot, CurrentValues, list[Due]]] = {}
UNTAINTED = "untainted"
SHOWN = 200


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Outcome of the check on one asset."""

    passed: bool
    severity: dg.AssetCheckSeverity
    metadata: dict[str, Any]


def log_evaluation(
    instance: dg.DagsterInstance,
    home: Home,
    evaluation: dg.AssetCheckEvaluation,
    latest: AssetCheckExecutionRecord | None,
) -> bool:
    """Log a result unless it is the latest one of its home; return whether it was logged.

    `latest`: the latest result in the log, of whatever home.
    """
    place = home.root, evaluation.asset_check_key
    answer = evaluation.passed, evaluation.description
    said = latest.event.asset_check_evaluation if latest and latest.event else None
    if said is not None and (said.passed, said.description) == answer:
        _logged[place] = answer
        return False
    if said is not None and _logged.get(place) == answer and not _is_own(instance, home, latest):
        return False
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=evaluation.asset_key,
            check_name=evaluation.check_name,
            passed=evaluation.passed,
            severity=evaluation.severity,
            description=evaluation.description,
            metadata=tags_of(home),
        )
    )
    _logged[place] = answer
    return True


def log_current_checks(
    instance: dg.DagsterInstance, snapshot: ProjectSnapshot, current: CurrentValues, assets: Collection[str]
) -> None:
    """Log the checks of these assets whose answer changed, outside of any run.

    What a run in flight is going to answer is left to it. The page that leads to all others says the same.
    """
    plan = _plan(snapshot, current)
    found = by_stage(snapshot, plan)
    with contextlib.suppress(OSError):  # what cannot be written is said by what has to be
        write_index(snapshot, current, plan)
    keys = {name: dg.AssetCheckKey(dg.AssetKey(name), CURRENT) for name in assets}
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys.values()))
    at_work = {run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=ACTIVE))}
    for name, key in keys.items():
        record, reason = records.get(key), found.get(name)
        said = record.event.asset_check_evaluation if record and record.event else None
        if said is None and record is not None and record.run_id in at_work:
            continue
        evaluation = dg.AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=CURRENT,
            passed=reason is None,
            severity=dg.AssetCheckSeverity.WARN,
            description=reason,
        )
        log_evaluation(instance, snapshot.project.home, evaluation, record)


def taint_evaluation(home: Home, current: CurrentValues, asset: str) -> Evaluation:
    """Whether nothing current of an asset saw a withdrawn document."""
    found = tainted_values(home, current, listed_in(home))
    return _evaluation([one for one in found if one.asset == asset])


def log_taints(instance: dg.DagsterInstance, home: Home, current: CurrentValues) -> list[str]:
    """Log checks that are not in the log as they are now, outside of any run; return the assets that fail.

    While nothing was ever withdrawn nothing is logged; the same outcome is logged once.
    """
    known = listed_in(home)
    if not known:
        return []
    found = tainted_values(home, current, known)
    failed = _failed(instance)
    for asset in watched():
        made = _evaluation([one for one in found if one.asset == asset])
        if made.passed == (asset in failed):
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=dg.AssetKey(asset),
                    check_name=UNTAINTED,
                    passed=made.passed,
                    severity=made.severity,
                    metadata=made.metadata,
                )
            )
    return [asset for asset in watched() if any(one.asset == asset for one in found)]


def _is_own(instance: dg.DagsterInstance, home: Home, record: AssetCheckExecutionRecord | None) -> bool:
    """Return whether a result was logged for this home, by itself or in a run."""
    said = record.event.asset_check_evaluation if record and record.event else None
    if record is None or said is None:
        return False
    if (stated := said.metadata.get(HOME_TAG)) is not None:
        return str(stated.value) == home_id(home)
    run = instance.get_run_by_id(record.run_id) if record.run_id else None
    return run is None or Owner.of(instance, home).owns(run)


def _plan(snapshot: ProjectSnapshot, current: CurrentValues) -> list[Due]:
    """Return what is out of date, by a plan that is made again where files, settings or values changed.

    An idle tick over 10,000 files would plan for a second. After five minutes it is made again in any case,
    since the snapshot does not hold the files of models.
    """
    root, now = snapshot.project.home.root, time.monotonic()
    planned = _plans.get(root)
    if planned is None or now - planned[0] > PLANNED_SECONDS or planned[1:3] != (snapshot, current):
        planned = _plans[root] = (now, snapshot, current, full_plan(snapshot, current, refit=False))
    return planned[3]


def _evaluation(own: list[Tainted]) -> Evaluation:
    """An error where weights were trained on it, a warning where it was learnt from otherwise."""
    trained = any(one.taint != Taint.INFLUENCED for one in own)
    named = {one.name: str(one.taint) for one in own[:SHOWN]}
    return Evaluation(
        passed=not own,
        severity=dg.AssetCheckSeverity.ERROR if trained else dg.AssetCheckSeverity.WARN,
        metadata={"tainted": len(own), "which": dg.MetadataValue.json(named)},
    )


def _failed(instance: dg.DagsterInstance) -> set[str]:
    """Assets whose check failed when it was last evaluated."""
    keys = [dg.AssetCheckKey(dg.AssetKey(asset), UNTAINTED) for asset in watched()]
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    found = {key: record.event for key, record in records.items() if record.event is not None}
    return {
        key.asset_key.to_user_string()
        for key, event in found.items()
        if (evaluation := event.asset_check_evaluation) and not evaluation.passed
    }
