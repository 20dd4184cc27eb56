"""Pinned versions: selections that are kept at an earlier version until somebody releases them.

A pin is desired state, not an event: until its release the selection depends only on that version and on
which of its documents still exist, so every run makes the same choice.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from tamis.records.current_values import CurrentValues
from tamis.records.losses import found_again, lost_tables
from tamis.records.manifest import ManifestFolder
from tamis.selection.stage import DECISIONS_STAGE
from tamis.store.home import Home
from tamis.store.tables import Store, quoted

TABLE, VERSIONS = "pins", "selection_versions"


@dataclass(frozen=True, kw_only=True)
class PinnedVersion:
    """The version that a selection is pinned to.

    `decisions` and `subset` are the ids of its manifests, `rows` is the digest of the rows of its decisions.
    """

    selection: str
    version: int
    decisions: str
    subset: str
    rows: str
    made_at: datetime

    @property
    def sentence(self) -> str:
        """A clause for a person: `pinned to version 2 since 2026-11-20 20:00 UTC`."""
        return f"pinned to version {self.version} since {self.made_at:%Y-%m-%d %H:%M} UTC"


def read_pinned_versions(store: Store) -> dict[str, PinnedVersion]:
    """Return the pinned version of each pinned selection."""
    return {row["selection"]: PinnedVersion(**row) for row in store.read(TABLE).iter_rows(named=True)}


def pin(store: Store, selection: str, version: int, decisions: str, subset: str, rows: str) -> PinnedVersion:
    """Pin a selection to a version and return the pin."""
    made_at = datetime.now(UTC).replace(tzinfo=None)
    made = PinnedVersion(
        selection=selection,
        version=version,
        decisions=decisions,
        subset=subset,
        rows=rows,
        made_at=made_at,
    )
    store.merge_values(TABLE, [asdict(made)])
    return made


def restore_pins(home: Home, current: CurrentValues) -> list[str]:
    """Pin selections again, as the records of their decisions say, where the table of pins is gone.

    Return the names. The version has to be known: a selection whose versions are gone, too, is not pinned.
    """
    store, folder = home.store, ManifestFolder.of(home)
    if store.exists(TABLE) or TABLE not in lost_tables(home):
        return []
    decided = {
        key: value.manifest for (asset, key), value in current.items() if asset == DECISIONS_STAGE.name
    }
    made = folder.readable(decided.values())
    restored = []
    for selection, manifest in sorted(decided.items()):
        repeated = made[manifest].config.get("pinned") if manifest in made else None
        where = f"selection = {quoted(selection)} AND decisions = {quoted(str(repeated))}"
        columns = ["version", "decisions", "subset", "rows"]
        for version in store.read(VERSIONS, columns, where).sort("version").iter_rows() if repeated else ():
            pin(store, selection, *version)
            restored.append(selection)
            break
    if restored:
        found_again(home, TABLE)
    return restored


def unpin(store: Store, selection: str) -> bool:
    """Release a selection and return whether it was pinned."""
    return store.delete(TABLE, f"selection = {quoted(selection)}") > 0
