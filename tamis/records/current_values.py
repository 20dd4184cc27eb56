"""Current values: the latest manifest of each (asset, partition), one Lance table read in a few milliseconds.

The manifest files are the record; this table is the index that plans, sensors and reports read.
"""

from collections.abc import Hashable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from tamis.records import attempts
from tamis.store.schemas import schema_of
from tamis.store.table_errors import DamagedTableError
from tamis.store.tables import Store

TABLE = "heads"


@dataclass(frozen=True, kw_only=True)
class CurrentValue:
    """The latest materialization of one (asset, partition); partition is "" when the asset has none.

    `settled` is False where something fitted on an earlier pool was kept (design section 5): right within its
    certificate, and fitted again by the next `tamis materialize`. `finished` is False where a later attempt
    did not end: what is stored may be the half of something else, and has to be made again. `last_passed`:
    where a blocking check refused this value, the manifest of the last one that passed, or None.
    """

    asset: str
    partition: str
    manifest: str
    input_key: str
    data_version: str
    passed: bool = True
    settled: bool = True
    attempt: str = ""
    finished: bool = True
    last_passed: str | None = None

    @property
    def published(self) -> str | None:
        """The manifest of the last value that passed its blocking checks, None while none did."""
        return self.manifest if self.passed else self.last_passed

    @property
    def usable(self) -> bool:
        """Whether something else may be made of it."""
        return self.passed and self.finished


CurrentValues = dict[tuple[str, str], CurrentValue]
COLUMNS = (
    "asset",
    "partition",
    "manifest",
    "input_key",
    "data_version",
    "passed",
    "last_passed",
    "settled",
    "attempt",
)


def read_current_values(store: Store) -> CurrentValues:
    """Return all current values by (asset, partition); raises `DamagedTableError`.

    A run reads them some twenty times; in a folder, they are read again only once a table was written.
    """
    # Before the rows: what is written in between has other stamps, and is read the next time.
    stamps = store.stamp(TABLE), store.stamp(attempts.TABLE)
    if None in stamps or not isinstance(store.folder, Path):
        return _read(store)
    return dict(_read_at(store.folder.absolute(), stamps))


@lru_cache(maxsize=8)
def _read_at(folder: Path, stamps: tuple[Hashable, ...]) -> CurrentValues:
    """Read both tables in the state that the stamps are of."""
    return _read(Store(folder))


def _read(store: Store) -> CurrentValues:
    """Read both tables.

    A null is of an altered row: an audit finds it by its seal, and its value, of which there is no manifest,
    is made again.
    """
    present = store.schema(TABLE).names
    if lacking := set(COLUMNS[:5]).difference(present):
        raise DamagedTableError(TABLE, f"it lacks the columns {', '.join(sorted(lacking))}")
    rows = list(store.read(TABLE, [name for name in COLUMNS if name in present]).iter_rows(named=True))
    # Read after the current values: an attempt that ends in between must not look as if it had not.
    latest = attempts.read_attempts(store)
    current = {}
    for row in rows:
        entry = (row["asset"], row["partition"])
        made_by = row.pop("attempt", None) or ""
        if None in entry:
            continue
        for name in ("manifest", "input_key", "data_version"):
            row[name] = row[name] or ""
        finished = latest.get(entry, made_by) == made_by
        current[entry] = CurrentValue(**row, attempt=made_by, finished=finished)
    return current


def write_current_values(store: Store, current: Iterable[CurrentValue]) -> None:
    """Move current values forward, in one commit."""
    now = datetime.now(UTC).replace(tzinfo=None)
    rows = [{name: asdict(value)[name] for name in COLUMNS} | {"made_at": now} for value in current]
    if rows:
        store.merge(TABLE, pa.Table.from_pylist(rows, schema=schema_of(TABLE)))


def unfinished(current: CurrentValues, latest: attempts.Attempts) -> set[tuple[str, str]]:
    """(asset, partition) of attempts that did not end, whether there was a value before or not."""
    return {
        entry for entry, token in latest.items() if entry not in current or current[entry].attempt != token
    }


def forget_current_values(store: Store, entries: Iterable[tuple[str, str]]) -> None:
    """Drop current values of (asset, partition) that are gone or damaged; their attempts stay noted."""
    attempts.forget_entries(store, TABLE, entries)
