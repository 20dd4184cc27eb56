"""Notes of removals: what each deletes, written before it deletes, so that a killed one is repeated.

A removal that was killed keeps its entries open while they stay missing: they may be half deleted, so they
are not held back. What came back is taken off its note, or the next accident would find itself allowed.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime

from tamis.store.tables import Store

TABLE = "removals"


def begun_removals(store: Store) -> set[str]:
    """Return `asset[partition]` of all values of interrupted removals, which may be half deleted."""
    open_notes = store.read(TABLE, ["entries"], "ended_at IS NULL")["entries"]
    return {entry for note in open_notes for entry in json.loads(note)}


def end_removals(store: Store) -> None:
    """Note all removals as ended, those included that were interrupted and repeated."""
    begun = store.read(TABLE, where="ended_at IS NULL").to_dicts()
    store.merge_values(TABLE, [note | _ended() for note in begun])


def take_off_returned(store: Store, is_back: Callable[[str], bool]) -> None:
    """Take the entries that are back off the notes of interrupted removals; end a note with none left.

    The caller holds the writer's lock.
    """
    changed = []
    for note in store.read(TABLE, where="ended_at IS NULL").to_dicts():
        entries = json.loads(note["entries"])
        left = [entry for entry in entries if not is_back(entry)]
        if len(left) < len(entries):
            changed.append(note | ({"entries": json.dumps(left)} if left else _ended()))
    store.merge_values(TABLE, changed)


def removed_values(store: Store) -> dict[str, datetime]:
    """Return when the last removal of each value, `asset[partition]`, began, UTC."""
    notes = store.read(TABLE, ["entries", "begun_at"]).sort("begun_at")
    return {entry: begun_at for note, begun_at in notes.iter_rows() for entry in json.loads(note)}


def _ended() -> dict[str, datetime]:
    return {"ended_at": datetime.now(UTC).replace(tzinfo=None)}
