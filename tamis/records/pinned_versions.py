"""Pins: selections that are kept at an earlier version until somebody releases them.

A pin is desired state, not an event: while it stands, the selection depends on that version and on which
texts are there, so whatever makes it, whenever, gives the same choice.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import pyarrow as pa

from tamis.store.schemas import schema_of
from tamis.store.tables import Store, quoted

TABLE = "pins"


@dataclass(frozen=True, kw_only=True)
class PinnedVersion:
    """The version a selection is kept at: its number, its manifests and the digest of its decisions."""

    selection: str
    version: int
    decisions: str
    subset: str
    rows: str
    made_at: datetime

    @property
    def sentence(self) -> str:
        """`pinned to version 2 since 2026-11-20 20:00 UTC`."""
        return f"pinned to version {self.version} since {self.made_at:%Y-%m-%d %H:%M} UTC"


def read_pinned_versions(store: Store) -> dict[str, PinnedVersion]:
    """Pins by selection."""
    return {row["selection"]: PinnedVersion(**row) for row in store.read(TABLE).iter_rows(named=True)}


def pin(store: Store, selection: str, version: int, decisions: str, subset: str, rows: str) -> PinnedVersion:
    """Keep a selection at a version."""
    made_at = datetime.now(UTC).replace(tzinfo=None)
    made = PinnedVersion(
        selection=selection,
        version=version,
        decisions=decisions,
        subset=subset,
        rows=rows,
        made_at=made_at,
    )
    store.merge(TABLE, pa.Table.from_pylist([asdict(made)], schema=schema_of(TABLE)))
    return made


def unpin(store: Store, selection: str) -> bool:
    """Release a selection; whether it was pinned."""
    return store.delete(TABLE, f"selection = {quoted(selection)}") > 0
