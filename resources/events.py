"""What Dagster's event log says: every materialization, with the manifest it names and its tags."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from tamis.lineage.audit_events import LoggedEvent, event_tags
from tamis.lineage.heads import Heads
from tamis.lineage.manifest import ManifestFolder

PAGE = 500


def logged_events(instance: dg.DagsterInstance, copies: bool = True) -> list[LoggedEvent]:
    """All materializations, of each asset the latest first.

    `copies`: compare them with what the log of each run holds, which SQLite keeps in a file of its own.
    """
    runs = _Runs(instance) if copies else None
    return [
        _event(record, runs)
        for asset in sorted(instance.all_asset_keys())
        for record in _records(instance, asset)
    ]


def _records(instance: dg.DagsterInstance, asset: dg.AssetKey) -> Iterator[dg.EventLogRecord]:
    cursor = None
    while True:
        page = instance.fetch_materializations(asset, limit=PAGE, cursor=cursor)
        yield from page.records
        if not page.has_more:
            return
        cursor = page.cursor


def _event(record: dg.EventLogRecord, runs: "_Runs | None") -> LoggedEvent:
    event = record.asset_materialization
    assert event is not None
    metadata = {
        name: value.value for name, value in event.metadata.items() if name in ("manifest", "logged_again")
    }
    entry = (event.asset_key.path[-1], record.partition_key or "")
    tags = dict(event.tags or {})
    agree = runs is None or not record.run_id or runs.holds(record.run_id, entry, tags)
    return LoggedEvent(
        asset=entry[0],
        partition=entry[1],
        manifest=str(metadata.get("manifest", "")),
        tags=tags,
        again=bool(metadata.get("logged_again")),
        copies_agree=agree,
    )


class _Runs:
    """Tags of the materializations in the log of each run, read once a run."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self._known: dict[str, set[tuple[tuple[str, str], frozenset[tuple[str, str]]]]] = {}

    def holds(self, run_id: str, entry: tuple[str, str], tags: dict[str, str]) -> bool:
        """Whether the run's own log has this event; a run whose log is gone says nothing."""
        if run_id not in self._known:
            logs = self.instance.all_logs(run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
            events = [log.asset_materialization for log in logs]
            self._known[run_id] = {
                ((event.asset_key.path[-1], event.partition or ""), frozenset((event.tags or {}).items()))
                for event in events
                if event is not None
            }
        of_run = self._known[run_id]
        return not of_run or (entry, frozenset(tags.items())) in of_run


def log_again(instance: dg.DagsterInstance, heads: Heads, folder: ManifestFolder) -> int:
    """Log the materializations that an empty event log lacks, as the index knows them; returns how many.

    A log that holds anything is left alone: what is missing from it is for the audit to report.
    """
    if not heads or instance.get_runs_count() or instance.all_asset_keys():
        return 0
    for head in heads.values():
        tags = {"dagster/data_version": head.data_version, "dagster/data_version_is_user_provided": "true"}
        tags |= event_tags(folder.read(head.manifest))
        metadata: dict[str, Any] = {
            "manifest": head.manifest,
            "input_key": head.input_key,
            "logged_again": True,
        }
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                head.asset, partition=head.partition or None, metadata=metadata, tags=tags
            )
        )
    return len(heads)
