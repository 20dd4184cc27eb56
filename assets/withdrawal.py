"""Checks on checkpoints and fitted things: none of what is current saw a document that was withdrawn since.

They run with whatever makes the asset, and are logged at once when somebody withdraws a document.
"""

import dagster as dg

from tamis.platform.resources.store import StoreResource
from tamis.runtime.checks import UNTAINTED, taint_evaluation
from tamis.withdrawal.tainting import watched

DESCRIPTION = "No withdrawn document was used to train or fit this asset."


def untainted(asset: str) -> dg.AssetChecksDefinition:
    """The check of one asset."""

    @dg.asset_check(asset=asset, name=UNTAINTED, description=DESCRIPTION)
    def check(store: StoreResource) -> dg.AssetCheckResult:
        found = taint_evaluation(store.home, store.current(), asset)
        return dg.AssetCheckResult(passed=found.passed, severity=found.severity, metadata=found.metadata)

    return check


CHECKS = [untainted(asset) for asset in watched()]
