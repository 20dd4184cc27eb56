"""Messages of webhooks: changes of the store since a mark, in counts and names, never in texts.

Level-triggered, as everything unattended: the mark says what was sent, so nothing that happened while the
sensors were off is missed, and nothing is sent twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import polars as pl

from tamis.corpus.quarantine import lost_rows
from tamis.corpus.stage import QUARANTINE
from tamis.history.differences import difference
from tamis.history.versions import TABLE, VersionLostError
from tamis.project import Project

SELECTION_CHANGED, FAILED, QUARANTINE_GREW = "selection_changed", "failed", "quarantine_grew"
SHARDS_NAMED = 20


@dataclass(frozen=True, kw_only=True)
class Mark:
    """The state that was sent last: the version of each selection, and rows in quarantine."""

    versions: dict[str, int] = field(default_factory=dict)
    quarantine: int = 0


def mark_now(project: Project) -> Mark:
    """Return the mark of the present state, since which there is nothing to send."""
    store = project.home.store
    latest = store.read(TABLE, ["selection", "version"]).group_by("selection").agg(pl.col("version").max())
    # An unreadable file counts as its rows.
    lost = int(store.read(QUARANTINE.name, ["rows_lost"]).select(lost_rows()).item())
    return Mark(versions=dict(sorted(latest.iter_rows())), quarantine=lost)


def notices(project: Project, since: Mark, now: Mark) -> list[dict[str, Any]]:
    """Return messages about the changes between two marks."""
    changed = [
        _selection_changed(project, name, since.versions.get(name), version)
        for name, version in now.versions.items()
        if version > since.versions.get(name, 0)
    ]
    if now.quarantine <= since.quarantine:
        return changed
    rows = project.home.store.read(QUARANTINE.name, ["shard", "reason", "rows_lost"])
    facts = {
        "rows_before": since.quarantine,
        "rows": now.quarantine,
        "reasons": dict(rows.group_by("reason").agg(lost_rows()).sort("reason").iter_rows()),
        "shards": rows["shard"].unique().sort().to_list()[:SHARDS_NAMED],
    }
    return [*changed, notice(project, QUARANTINE_GREW, facts)]


def notice(project: Project, event: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Return a message: the event, the project, the time when it was seen, and the facts."""
    at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return {"event": event, "project": project.settings.project.name, "at": at, **facts}


def _selection_changed(project: Project, name: str, before: int | None, after: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"selection": name, "from_version": before, "to_version": after}
    if before is not None:
        try:
            found = difference(project, name, before, after)
            facts |= {"counts": found.to_json()["counts"], "causes": found.counts()}
        except VersionLostError as error:
            facts["counts_unknown"] = str(error)
    return notice(project, SELECTION_CHANGED, facts)


def wanted(messages: Sequence[dict[str, Any]], events: Sequence[str]) -> list[dict[str, Any]]:
    """Return the messages about these events."""
    return [message for message in messages if message["event"] in events]
