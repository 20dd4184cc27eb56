"""Check results of a run over many partitions: Dagster takes one of each, so they wait for the last one."""

from collections.abc import Collection, Iterator, Sequence

import dagster as dg


class Checks:
    """What was found of the partitions that a step makes, by asset."""

    def __init__(self, partitions: Collection[str]) -> None:
        self._partitions = partitions
        self._found: dict[str, list[dg.AssetCheckResult]] = {}
        self._done: dict[str, set[str]] = {}

    def add(
        self, asset: str, partition: str, found: Sequence[dg.AssetCheckResult]
    ) -> Iterator[dg.AssetCheckResult]:
        """Keep the checks of a partition of an asset; with the last one, those of the whole run."""
        kept = self._found.setdefault(asset, [])
        kept += found
        done = self._done.setdefault(asset, set())
        done.add(partition)
        if done.issuperset(self._partitions):
            yield from _merged(kept)


def _merged(checks: Sequence[dg.AssetCheckResult]) -> Iterator[dg.AssetCheckResult]:
    """One result a check: passed when all passed, else the first that did not."""
    for name in dict.fromkeys((check.asset_key, check.check_name) for check in checks):
        same = [check for check in checks if (check.asset_key, check.check_name) == name]
        failed = [check for check in same if not check.passed]
        yield (failed or same)[0]


def evaluation_of(asset: str, check: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """Return a result as an event to log by hand."""
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(asset),
        check_name=str(check.check_name),
        passed=check.passed,
        severity=check.severity,
        metadata=check.metadata,
    )
