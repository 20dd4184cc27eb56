"""Current values: the latest manifest of each (asset, partition), in one table read in a few milliseconds.

The manifest files are the record; this table is the index that plans, sensors and reports read.
"""

from collections.abc import Hashable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from tamis.records import attempts
from tamis.store.table_errors import DamagedTableError
from tamis.store.tables import Store

TABLE = "heads"
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


@dataclass(frozen=True, kw_only=True)
class CurrentValue:
    """The latest materialization of one (asset, partition); partition is "" when the asset has none.

    `settled` is False where something fitted on an earlier pool was kept (design section 5): right within its
    certificate, and fitted again by the next `tamis materialize`. `finished` is False where a later attempt
    did not end: the stored rows may be half of another value, so this one has to be made again.
    `last_passed`: where a blocking check refused this value, the manifest of the last one that passed, or
    None.
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
        """Manifest of the last value that passed its blocking checks, None while none has."""
        return self.manifest if self.passed else self.last_passed

    @property
    def usable(self) -> bool:
        """Whether other values may be made from it."""
        return self.passed and self.finished


CurrentValues = dict[tuple[str, str], CurrentValue]


def read_current_values(store: Store) -> CurrentValues:
    """Return all current values by (asset, partition). Raises `DamagedTableError`.

    A run asks for them some twenty times. In a local folder they are cached until one of the two tables is
    written.
    """
    # Stamps before rows: a write in between leaves another stamp, so the next call reads again.
    stamps = store.stamp(TABLE), store.stamp(attempts.TABLE)
    if None in stamps or not isinstance(store.folder, Path):
        return _read(store)
    return dict(_read_at(store.folder.absolute(), stamps))


@lru_cache(maxsize=8)
def _read_at(folder: Path, stamps: tuple[Hashable, ...]) -> CurrentValues:
    """Read both tables; the stamps are the key under which the result is cached."""
    return _read(Store(folder))


def _read(store: Store) -> CurrentValues:
    """Read current values and attempts.

    Only an altered row holds a null: the audit finds it by its seal, and the value is made again, since no
    manifest has the id "".
    """
    present = store.schema(TABLE).names
    if lacking := set(COLUMNS[:5]).difference(present):
        raise DamagedTableError(TABLE, f"missing columns: {', '.join(sorted(lacking))}")
    rows = list(store.read(TABLE, [name for name in COLUMNS if name in present]).iter_rows(named=True))
    # Read after the current values: an attempt that ends in between must not pass for an unfinished one.
    latest = attempts.read_attempts(store)
    current = {}
    for row in rows:
        entry = (row["asset"], row["partition"])
        made_by = row.pop("attempt", None) or ""
        if None in entry:
            continue
        for name in ("manifest", "input_key", "data_version"):
            row[name] = row[name] or ""
        current[entry] = CurrentValue(**row, attempt=made_by, finished=latest.get(entry, made_by) == made_by)
    return current


def write_current_values(store: Store, current: Iterable[CurrentValue]) -> None:
    """Write current values over the earlier ones of the same (asset, partition), in one commit."""
    now = datetime.now(UTC).replace(tzinfo=None)
    rows = [{name: asdict(value)[name] for name in COLUMNS} | {"made_at": now} for value in current]
    store.merge_values(TABLE, rows)


def unfinished(current: CurrentValues, latest: attempts.Attempts) -> set[tuple[str, str]]:
    """Return (asset, partition) of the attempts that did not end, with or without an earlier value."""
    return {
        entry for entry, token in latest.items() if entry not in current or current[entry].attempt != token
    }


def forget_current_values(store: Store, entries: Iterable[tuple[str, str]]) -> None:
    """Delete the current values of these (asset, partition), gone or damaged; their attempts stay noted."""
    attempts.forget_entries(store, TABLE, entries)
