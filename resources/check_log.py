"""Results of checks that are logged outside of any run: once, until the answer changes.

Dagster knows a check by its asset and name, so homes that share an instance overwrite each other's results.
Each logs its own again when its answer changes, and not because another home has logged another one.
"""

from pathlib import Path

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

from tamis.platform.resources.ownership import Owner, tags_of
from tamis.platform.resources.tags import HOME_TAG
from tamis.store.home import Home, home_id

Answer = tuple[bool, str | None]
_logged: dict[tuple[Path, dg.AssetCheckKey], Answer] = {}
"""What this process has logged last for a home."""


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


def _is_own(instance: dg.DagsterInstance, home: Home, record: AssetCheckExecutionRecord | None) -> bool:
    """Return whether a result was logged for this home, by itself or in a run."""
    said = record.event.asset_check_evaluation if record and record.event else None
    if record is None or said is None:
        return False
    if (stated := said.metadata.get(HOME_TAG)) is not None:
        return str(stated.value) == home_id(home)
    run = instance.get_run_by_id(record.run_id) if record.run_id else None
    return run is None or Owner.of(instance, home).owns(run)
