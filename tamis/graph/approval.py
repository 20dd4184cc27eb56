"""Approval of selections: with `approve_selections`, sensors make everything before a selection, then wait.

A person approves one state of a selection, identified by its input key: when anything that the selection
depends on changes before the run, the new state waits again. A pinned selection never waits, because the
person who pinned it has decided.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tamis.base.errors import TransientError, UnknownNameError
from tamis.graph.automation import automatic_work, ready_groups
from tamis.graph.plan import full_plan, input_key
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.records.current_values import CurrentValues
from tamis.selection.stage import SELECTION_STAGE
from tamis.store.tables import Store

TABLE, ASSET = "approvals", SELECTION_STAGE.name


class NotReadyError(TransientError):
    """A selection whose inputs are not up to date yet, so that the state to approve is not known."""

    def __init__(self, selection: str, waits_for: str) -> None:
        self.selection, self.waits_for = selection, waits_for
        super().__init__(
            f"selection {selection!r} cannot be approved yet, because {waits_for} is not up to date; wait "
            "until the sensors have updated it (while `tamis ui` runs), or run `tamis materialize`"
        )


@dataclass(frozen=True, kw_only=True)
class Approval:
    """A state of a selection that waits for a person, or that one has approved."""

    selection: str
    input_key: str
    approved: bool
    made_at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return the approval as JSON values."""
        return self.__dict__ | {"made_at": f"{self.made_at:%Y-%m-%d %H:%M:%S} UTC"}


def read_approvals(store: Store) -> dict[str, Approval]:
    """Return the last state of each selection that waited or was approved."""
    return {row["selection"]: Approval(**row) for row in store.read(TABLE).iter_rows(named=True)}


def unattended_work(
    snapshot: ProjectSnapshot, current: CurrentValues, approvals: dict[str, Approval]
) -> set[tuple[str, str]]:
    """Return (asset, partition) that sensors may make now: all automatic work but unapproved selections."""
    wanted = automatic_work(snapshot, current)
    if not snapshot.project.settings.automation.approve_selections:
        return wanted
    held = set()
    for name in snapshot.keys("selections"):
        approval, key = approvals.get(name), input_key(stages()[ASSET], name, snapshot, current)
        released = approval is not None and approval.approved and approval.input_key == key
        if not released and name not in snapshot.pinned:
            held.add((ASSET, name))
    return wanted - held


def waiting(
    snapshot: ProjectSnapshot, current: CurrentValues, approvals: dict[str, Approval]
) -> list[Approval]:
    """Return the states that wait for a person: their inputs are up to date, and they are not approved."""
    if not snapshot.project.settings.automation.approve_selections:
        return []
    wanted = automatic_work(snapshot, current)
    held = wanted - unattended_work(snapshot, current, approvals)
    ready = ready_groups(snapshot, current, wanted, refit=False)
    found = []
    for group in ready:
        for name, key in zip(group.partitions, group.keys, strict=True):
            if group.assets[0] == ASSET and (ASSET, name) in held:
                known = approvals.get(name)
                same = known is not None and known.input_key == key
                since = known.made_at if known and same else _now()
                found.append(Approval(selection=name, input_key=key, approved=False, made_at=since))
    return found


def note_waiting(store: Store, found: Sequence[Approval]) -> bool:
    """Note since when each state waits, and return whether any of them is new."""
    known = read_approvals(store)
    new = [one for one in found if (k := known.get(one.selection)) is None or k.input_key != one.input_key]
    store.merge_values(TABLE, [one.__dict__ for one in new])
    return bool(new)


def approve(
    store: Store, snapshot: ProjectSnapshot, current: CurrentValues, names: Sequence[str]
) -> list[Approval]:
    """Approve the present states of these selections, or of all that wait; return the approvals.

    A selection that does not wait is left as it is. Raises `UnknownNameError`, and `NotReadyError` for a
    selection whose inputs are not up to date yet.
    """
    known = snapshot.keys("selections")
    for name in names:
        if name not in known:
            raise UnknownNameError("selection", name, known)
    due = {one.partition: one for one in full_plan(snapshot, current, refit=False) if one.asset == ASSET}
    found = [
        one
        for one in waiting(snapshot, current, read_approvals(store))
        if not names or one.selection in names
    ]
    for name in set(names) - {one.selection for one in found}:
        if (ASSET, name) in current and name in due and (before := due[name].waits_for):
            raise NotReadyError(name, before)
    released = [
        Approval(selection=one.selection, input_key=one.input_key, approved=True, made_at=_now())
        for one in found
    ]
    store.merge_values(TABLE, [one.__dict__ for one in released])
    return released


def waiting_lines(found: Sequence[Approval]) -> list[str]:
    """Return a line for each waiting selection: since when, and the command that releases it."""
    return [
        f"waits for approval: selection {one.selection} (since {one.made_at:%Y-%m-%d %H:%M} UTC); "
        f"`tamis approve {one.selection}` approves this selection"
        for one in found
    ]


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
