"""Taint as Dagster shows it: one check an asset, failed while anything current saw what was withdrawn."""

from dataclasses import dataclass
from typing import Any

import dagster as dg

from tamis.records.current_values import CurrentValues
from tamis.records.manifest import ManifestFolder
from tamis.records.receipts import listed_in
from tamis.store.home import Home
from tamis.withdrawal.tainting import Taint, Tainted, tainted_values, watched

UNTAINTED = "untainted"
SHOWN = 200


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Outcome of the check on one asset."""

    passed: bool
    severity: dg.AssetCheckSeverity
    metadata: dict[str, Any]


def taint_evaluation(home: Home, current: CurrentValues, asset: str) -> Evaluation:
    """Whether nothing current of an asset saw a withdrawn document."""
    found = tainted_values(ManifestFolder.of(home), current, listed_in(home))
    return _evaluation([one for one in found if one.asset == asset])


def _evaluation(own: list[Tainted]) -> Evaluation:
    """An error where weights were trained on it, a warning where it was learnt from otherwise."""
    trained = any(one.taint != Taint.INFLUENCED for one in own)
    named = {one.name: str(one.taint) for one in own[:SHOWN]}
    return Evaluation(
        passed=not own,
        severity=dg.AssetCheckSeverity.ERROR if trained else dg.AssetCheckSeverity.WARN,
        metadata={"tainted": len(own), "which": dg.MetadataValue.json(named)},
    )


def log_taints(instance: dg.DagsterInstance, home: Home, current: CurrentValues) -> list[str]:
    """Log checks that are not in the log as they are now, outside of any run; return the assets that fail.

    While nothing was ever withdrawn nothing is logged; the same outcome is logged once.
    """
    known = listed_in(home)
    if not known:
        return []
    found = tainted_values(ManifestFolder.of(home), current, known)
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
