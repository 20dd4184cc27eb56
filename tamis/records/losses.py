"""Losses of the home itself: tables that nothing can make again, and records of earlier results.

What is gone cannot say that it was there. So a file next to the manifests names the tables that hold
decisions of people, the history of choices or answers that cost money, once they exist. It also lists the
records that are known to be lost: those that a run found missing and made again, and those whose loss a
person has allowed. An audit counts these and no longer looks for them.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from pydantic import BaseModel, ValidationError

from tamis.base.errors import PermanentError
from tamis.base.files import write_atomically
from tamis.store.columns import BY_SERVER, LEFT_AT
from tamis.store.home import Home
from tamis.store.places import costs_a_request, names_of_folders
from tamis.store.schemas import RETAINED, declared, tables
from tamis.store.tables import ASIDE, DamagedTableError, Store
from tamis.store.withdrawn import TABLE as WITHDRAWALS

PATH = "manifests/losses.json"
MISSING, ALLOWED, RESTORED = "made again", "allowed", "restored"
_SAYS = {
    "selection_versions": "the versions of selections, for `tamis diff` and `tamis restore`",
    "pins": "which selections are pinned",
    "approvals": "which selections were approved",
    "registered_checkpoints": "which checkpoints were registered, and where their files are",
    WITHDRAWALS: "what is withdrawn, as far as no receipt says it",
}


class LostRecord(BaseModel):
    """A record of an earlier result that is lost: what it was of, and why it is no longer looked for."""

    asset: str
    partition: str
    why: str
    noted_at: datetime


class Losses(BaseModel):
    """What a home knows of its losses.

    `tables`: those that exist, or did, and cannot be made again; `lost`: when each of them was first found
    to be gone, UTC; `records`: lost records by their id.
    """

    tables: list[str] = []
    lost: dict[str, datetime] = {}
    records: dict[str, LostRecord] = {}


def read_losses(home: Home) -> Losses:
    """Return the losses that are known; none where the file is missing or cannot be read."""
    try:
        return Losses.model_validate_json((home.root / PATH).read_bytes())
    except (OSError, ValidationError):
        return Losses()


def _write(home: Home, losses: Losses) -> None:
    path = home.root / PATH
    write_atomically(path, losses.model_dump_json(indent=1).encode())
    home.publish([path])


def note_tables(home: Home, recount: bool = False) -> None:
    """Note which tables have rows that cannot be made again, and which of those are gone.

    `recount`: look at tables that are noted, too, and forget those that were emptied. The caller holds the
    writer's lock. Nothing is noted of homes in an object store.
    """
    if costs_a_request(home.store.folder):
        return
    before = read_losses(home)
    noted = {*before.tables, *_irreplaceable(home.store, before.tables)}
    noted -= _salvaged(home.store, before.tables)
    if recount:
        noted -= {one for one in before.tables if home.store.exists(one) and not _has_rows(home.store, one)}
    gone = _gone(home.store, before.model_copy(update={"tables": sorted(noted)}))
    now = datetime.now(UTC).replace(tzinfo=None)
    lost = {table: before.lost.get(table, now) for table in gone}
    if (after := Losses(tables=sorted(noted), lost=lost, records=before.records)) != before:
        _write(home, after)


def lost_tables(home: Home) -> list[str]:
    """Return the tables that are gone, or cannot be read, and cannot be made again.

    Once a person has allowed the loss of a table, it is none of them.
    """
    if costs_a_request(home.store.folder):
        return []
    losses = read_losses(home)
    decided = {name for name, table in tables().items() if table.decided}
    unreadable = (one for one in decided.union(losses.tables) if is_unreadable(home.store, one))
    return sorted({*_gone(home.store, losses), *unreadable})


class AnswersLostError(PermanentError):
    """A stage would ask a server again for answers that were paid for and are gone."""

    def __init__(self, table: str) -> None:
        self.table = table
        super().__init__(
            f"table {table!r} is gone, and with it {what_it_said(table)}; nothing is asked again: "
            f"restore lance/{table}.lance from a backup, or allow new questions: `tamis materialize "
            f"--allow-removal table:{table}`"
        )


def require_answers(home: Home, written: Iterable[str]) -> None:
    """Raise `AnswersLostError` where one of the tables that a stage writes held answers, and is gone."""
    written = [table for table in written if (known := declared(table)) and known.paid]
    for table in lost_tables(home) if written else ():
        if table in written:
            raise AnswersLostError(table)


def found_again(home: Home, table: str) -> None:
    """Forget that a table was lost: what it said is known again."""
    before = read_losses(home)
    lost = {name: found for name, found in before.lost.items() if name != table}
    _write(home, before.model_copy(update={"lost": lost}))


def go_on_without(home: Home, names: Iterable[str]) -> None:
    """Forget that these tables were there: a person allows that they are lost.

    The files of those that cannot be read are moved aside.
    """
    before, allowed = read_losses(home), set(names)
    for table in sorted(allowed):
        if home.store.exists(table) and is_unreadable(home.store, table):
            home.store.move_aside(table)
    _write(
        home,
        Losses(
            tables=[table for table in before.tables if table not in allowed],
            lost={table: found for table, found in before.lost.items() if table not in allowed},
            records=before.records,
        ),
    )


def note_records(home: Home, found: Mapping[str, tuple[str, str]], why: str) -> int:
    """Note records, by id with (asset, partition), as lost; return how many were not noted before."""
    before, now = read_losses(home), datetime.now(UTC).replace(tzinfo=None)
    new = {
        key: LostRecord(asset=asset, partition=partition, why=why, noted_at=now)
        for key, (asset, partition) in found.items()
        if key not in before.records
    }
    if new:
        _write(home, before.model_copy(update={"records": before.records | new}))
    return len(new)


def what_it_said(table: str) -> str:
    """Return, as a noun, what a table said."""
    return _SAYS.get(table, "answers of a judge's server, which may have cost money")


def _irreplaceable(store: Store, known: Iterable[str]) -> set[str]:
    """Return the tables that exist and cannot be made again; of `known` ones it is not asked again."""
    candidates = {name for name, table in tables().items() if table.decided or table.paid}
    candidates |= {f"{RETAINED}{name}" for name in candidates if declared(f"{RETAINED}{name}")}
    others = candidates.difference(known, [WITHDRAWALS])
    return {name for name in others if store.exists(name) and _has_rows(store, name)}


def _has_rows(store: Store, table: str) -> bool:
    """Return whether a table has rows; of answers, some of a server."""
    known = declared(table)
    answers = known is not None and BY_SERVER.name in known.column_names
    try:
        return store.count(table, BY_SERVER.name if answers else None) > 0
    except DamagedTableError:
        return not answers  # repairing salvages what can be read of answers


def is_unreadable(store: Store, table: str) -> bool:
    """Return whether a table of decisions exists and cannot be read; answers are salvaged by repairing."""
    known = declared(table)
    if known is None or not known.decided or not store.exists(table):
        return False
    try:
        store.read(table, list(known.key))
    except DamagedTableError:
        return True
    return False


def _salvaged(store: Store, names: Iterable[str]) -> set[str]:
    """Return the tables of answers that were moved aside: what could be read of them was retained."""
    aside = [name.rpartition("-")[0] for name in names_of_folders(store.folder, ASIDE)]
    gone = (name for name in names if name in aside and not store.exists(name))
    return {name for name in gone if (known := declared(name)) and known.paid}


def _gone(store: Store, losses: Losses) -> list[str]:
    gone = [table for table in losses.tables if not _is_there(store, table, losses.lost.get(table))]
    salvaged = _salvaged(store, gone)
    return [table for table in gone if table not in salvaged]


def _is_there(store: Store, table: str, lost_at: datetime | None) -> bool:
    """Return whether a table exists, and has a row from before it was lost: else a run has begun another."""
    known = declared(table)
    column = next((name for name in ("made_at", LEFT_AT.name) if known and name in known.column_names), None)
    if lost_at is None or column is None or not store.exists(table):
        return store.exists(table)
    try:
        first = store.read(table, [column])[column].min()
    except DamagedTableError:
        return True  # damage is said elsewhere
    return isinstance(first, datetime) and first < lost_at
