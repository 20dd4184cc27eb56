"""Whether an asset is current, as Dagster shows it: one check an asset, and the planner answers.

With them comes the check of tamis.toml, which belongs to no asset alone.

Runs evaluate the checks of what they make at their end, the arrivals sensor and the command line those whose
answer is another by then: Dagster's own mark knows of no file that has come and of no setting.
"""

import contextlib
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import dagster as dg

from tamis.corpus.stage import RAW_STAGE
from tamis.graph.out_of_date import by_stage, out_of_date
from tamis.graph.plan import Due, full_plan
from tamis.graph.snapshot import ProjectSnapshot
from tamis.platform.resources.check_log import log_evaluation
from tamis.platform.resources.last_good_project import broken_file
from tamis.platform.resources.ownership import ACTIVE
from tamis.platform.resources.store import StoreResource
from tamis.records.current_values import CurrentValues
from tamis.report.index import write_index

PROJECT_FILE = "project_file"
"""Check on tamis.toml, at `raw_shards`; the arrivals sensor logs it, too (`sensors/reloading.py`)."""
VALID = "tamis.toml is valid. While the file is not valid, Tamis uses its last valid version."
CURRENT = "current"
DESCRIPTION = (
    "The files, settings, code and inputs of the asset have not changed since its last materialization."
)

PLANNED_SECONDS = 300.0
_plans: dict[Path, tuple[float, ProjectSnapshot, CurrentValues, list[Due]]] = {}


def current_checks(assets: Collection[str]) -> dg.AssetChecksDefinition:
    """Return the checks of these assets, which one step evaluates at the end of a run."""
    specs = [dg.AssetCheckSpec(CURRENT, asset=name, description=DESCRIPTION) for name in assets]
    if RAW_STAGE.name in assets:
        specs.append(dg.AssetCheckSpec(PROJECT_FILE, asset=RAW_STAGE.name, description=VALID))

    @dg.multi_asset_check(name=CURRENT, specs=specs, can_subset=True)
    def check(context: dg.AssetCheckExecutionContext, store: StoreResource) -> Iterator[dg.AssetCheckResult]:
        found = out_of_date(*store.at_end_of(context.run))
        for key in context.selected_asset_check_keys:
            of_file = key.name == PROJECT_FILE
            reason = broken_file(Path(store.project_file)) if of_file else found.get(key.asset_key.path[-1])
            yield dg.AssetCheckResult(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=not reason,
                severity=dg.AssetCheckSeverity.ERROR if of_file else dg.AssetCheckSeverity.WARN,
                description=reason or None,
            )

    return check


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


def log_current_checks(
    instance: dg.DagsterInstance,
    snapshot: ProjectSnapshot,
    current: CurrentValues,
    assets: Collection[str],
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
