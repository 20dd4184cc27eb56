"""What an asset hands back of a partition: which rows and files it wrote, and what to say of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg

from tamis.corpus.setting_aside import rows_aside
from tamis.corpus.stage import QUARANTINE
from tamis.records.manifest import InputReference
from tamis.store.records import BY_DOC_IDS, records_of_ids
from tamis.store.tables import Store


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of one table that a partition holds: all that match `where`, or those of `doc_ids`.

    `records`: their digest and rows file where the one who wrote them has them at hand.
    """

    table: str
    where: str | None = None
    doc_ids: Sequence[str] | None = None
    records: tuple[str, bytes] | None = None


@dataclass(frozen=True, kw_only=True)
class Output:
    """What was made of one partition, as the asset hands it back."""

    partition: str = ""
    rows: Sequence[Rows] = ()
    files: Sequence[Path] = ()
    row_count: int | None = None
    data_version: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    checks: Sequence[dg.AssetCheckResult] = ()
    asset: str | None = None
    settled: bool = True
    origins: Sequence[InputReference] = ()
    announce: Callable[[str], object] | None = None
    """Called with the manifest's id before the event is logged, and again where a retry records it again."""

    @property
    def refused(self) -> bool:
        """Whether a blocking check of it failed."""
        error = dg.AssetCheckSeverity.ERROR
        return any(not check.passed and check.severity == error for check in self.checks)


def rows_set_aside(stage: str, shard: str, facts: dict[str, Any], aside: Mapping[str, int]) -> list[Rows]:
    """The rows of quarantine that name what a stage set aside of a shard; counted in `facts`.

    Nothing is listed where nothing is set aside, so manifests of ordinary shards hold no more than before.
    """
    if not aside.get(shard):
        return []
    facts["set_aside"] = aside[shard]
    return [Rows(table=QUARANTINE.name, where=rows_aside(stage, shard))]


def scope_of(entry: Rows) -> str:
    """How the rows are found again: by listed ids, by filter, or the whole table ("")."""
    return BY_DOC_IDS if entry.doc_ids is not None else entry.where or ""


def with_records(store: Store, mades: Sequence[Output]) -> list[Output]:
    """The same, with the rows of listed documents read by one reading of each table."""
    groups: dict[str, dict[str, Sequence[str]]] = {}
    for made in mades:
        for entry in made.rows:
            if entry.doc_ids is not None and entry.records is None:
                groups.setdefault(entry.table, {})[made.partition] = entry.doc_ids
    found = {table: records_of_ids(store, table, ids) for table, ids in groups.items()}
    return [
        replace(
            made,
            rows=[
                replace(entry, records=entry.records or found.get(entry.table, {}).get(made.partition))
                for entry in made.rows
            ],
        )
        for made in mades
    ]
