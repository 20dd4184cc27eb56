"""Published selections, the decisions and documents that readers see; versions that are pinned."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.base.errors import NotMadeError, PermanentError, UnknownNameError
from tamis.corpus.stage import EXAMPLES_STAGE
from tamis.records.current_values import CurrentValues, read_current_values
from tamis.records.listed_rows import only_withdrawn_missing
from tamis.records.losses import found_again, lost_tables
from tamis.records.manifest import ManifestFolder
from tamis.selection.stage import DECISIONS_STAGE, SELECTION_STAGE
from tamis.store.digests import row_records, rows_digest
from tamis.store.home import Home
from tamis.store.schemas import LATER_COLUMNS, as_declared, declaration, schema_of
from tamis.store.tables import Store, quoted
from tamis.store.withdrawn import withdrawn_ids
from tamis.training.stage import TRIALS_STAGE

TABLE, VERSIONS = "pins", "selection_versions"
DECISIONS, SUBSET = DECISIONS_STAGE.name, SELECTION_STAGE.name
ROWS_A_GROUP = 65_536
"""Size of a row group in a kept file, which is sorted by doc_id: finding one document decodes one group."""
Source = Callable[[Sequence[str] | None], pa.Table]


def measured_on(current: CurrentValues, folder: ManifestFolder) -> dict[str, str]:
    """Return the target of each trial that has a value, also of one that nobody asks for now.

    One whose manifest cannot be read has none; the audit names the manifest.
    """
    trials = {one.manifest: trial for (asset, trial), one in current.items() if asset == TRIALS_STAGE.name}
    inputs = {
        trials[key]: [one.partition for one in manifest.inputs if one.asset == EXAMPLES_STAGE.name]
        for key, manifest in folder.readable(trials).items()
    }
    return {trial: targets[0] for trial, targets in inputs.items() if targets}


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
    made = PinnedVersion(
        selection=selection,
        version=version,
        decisions=decisions,
        subset=subset,
        rows=rows,
        made_at=datetime.now(UTC).replace(tzinfo=None),
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
    decided = {key: value.manifest for (asset, key), value in current.items() if asset == DECISIONS}
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


class SelectionRefusedError(PermanentError):
    """A blocking check refused the decisions of a selection, and no earlier ones passed."""

    def __init__(self, selection: str) -> None:
        self.selection = selection
        super().__init__(
            f"the blocking check of {DECISIONS}[{selection}] failed, and no earlier value of {selection!r} "
            "passed that check, so there are no decisions to read; see on the run's page in Dagster what "
            "failed, change the selection's inputs or settings, then run `tamis materialize`"
        )


class DecisionsLostError(PermanentError):
    """The published decisions of a selection can be read neither from their kept file nor from the table."""

    def __init__(self, selection: str) -> None:
        self.selection = selection
        super().__init__(
            f"the decisions of {selection!r} are lost: neither their file nor the table {DECISIONS} contains "
            "the rows that the manifest lists; run `tamis audit` to see what was altered"
        )


@dataclass(frozen=True, kw_only=True)
class Published:
    """The last value of a selection that passed its checks.

    `decisions` and `subset` are the ids of its manifests, `rows` is the digest of the rows of its decisions.
    """

    selection: str
    decisions: str
    subset: str
    rows: str


def published(current: CurrentValues, folder: ManifestFolder, selection: str) -> Published | None:
    """Return the published value of a selection, None where none has passed yet."""
    entries = [current.get((asset, selection)) for asset in (DECISIONS, SUBSET)]
    decisions, subset = (value.published if value else None for value in entries)
    if decisions is None or subset is None:
        return None
    return Published(
        selection=selection,
        decisions=decisions,
        subset=subset,
        rows=folder.read(decisions).rows.get(DECISIONS, ""),
    )


def all_published(current: CurrentValues, folder: ManifestFolder) -> list[Published]:
    """Return the published value of every selection that has one, sorted by name."""
    names = sorted(partition for asset, partition in current if asset == DECISIONS)
    return [found for name in names if (found := published(current, folder, name))]


def find_published(
    current: CurrentValues, folder: ManifestFolder, selection: str, known: Iterable[str] = ()
) -> Published:
    """Return the published value of a selection. `known`: the selections of tamis.toml.

    Raises `SelectionRefusedError`, `NotMadeError` or, for a name that is not known, `UnknownNameError`.
    """
    if found := published(current, folder, selection):
        return found
    entries = [current.get((asset, selection)) for asset in (DECISIONS, SUBSET)]
    if any(value is not None and not value.passed for value in entries):
        raise SelectionRefusedError(selection)
    if selection in known or any(entries):
        raise NotMadeError(selection)
    made = {partition for asset, partition in current if asset == SUBSET}
    raise UnknownNameError("selection", selection, {*known, *made})


def read_decisions(
    store: Store,
    folder: ManifestFolder,
    found: Published,
    columns: Sequence[str] | None = None,
    doc_id: str | None = None,
) -> pa.Table:
    """Return the published decisions of a selection, all or those about one document.

    They are read from their kept file. Between the record and the writing of that file, and where the file is
    lost, they are read from the table and verified. Raises `DecisionsLostError`.
    """
    schema = schema_of(DECISIONS)
    names = list(columns or schema.names)
    where = None if doc_id is None else [("doc_id", "==", doc_id)]
    try:
        path = folder.kept_path(found.rows)
        kept = set(pq.read_schema(path).names)
        rows = pq.read_table(path, columns=[name for name in names if name in kept], filters=where)
        rows = rows.append_column("selection", pa.repeat(found.selection, rows.num_rows))
        for name in (name for name in names if name in LATER_COLUMNS and name not in kept):
            rows = rows.append_column(name, pa.nulls(rows.num_rows))
    except (OSError, pa.ArrowException):
        rows = verified_rows(store, folder, found.selection, found.rows)
        if rows is None:
            raise DecisionsLostError(found.selection) from None
        if doc_id is not None:
            rows = rows.filter(pc.equal(rows["doc_id"], doc_id))
    return rows.select(names).cast(pa.schema([schema.field(name) for name in names]))


def chosen_of(store: Store, folder: ManifestFolder, found: Published) -> pl.DataFrame:
    """Return the published choice of a selection, ordered by rank: doc_id, rank, training_count."""
    columns = ["doc_id", "rank", "verdict", "training_count"]
    rows = pl.DataFrame(pl.from_arrow(read_decisions(store, folder, found, columns)))
    return rows.filter(verdict="selected").sort("rank").select("doc_id", "rank", "training_count")


def verified_rows(store: Store, folder: ManifestFolder, selection: str, digest: str) -> pa.Table | None:
    """Return the rows of a selection in the table `decisions`, or None where they do not have this digest.

    Documents that were withdrawn since may be missing.
    """
    rows = rows_of_table(store, selection)
    return rows if have_digest(store, folder, selection, digest, rows) else None


def rows_of_table(store: Store, selection: str) -> pa.Table:
    """Return the rows of a selection in the table `decisions`, whatever they are."""
    return store.read_arrow(DECISIONS, where=f"selection = {quoted(selection)}")


def have_digest(store: Store, folder: ManifestFolder, selection: str, digest: str, rows: pa.Table) -> bool:
    """Return whether rows of `decisions` have this digest, or lack only documents withdrawn since."""
    found, stored = rows_digest([row_records(rows, declaration(DECISIONS).key)] if rows.num_rows else [])
    return found == digest or only_withdrawn_missing(
        folder, DECISIONS, selection, digest, stored, withdrawn_ids(store).to_list()
    )


def published_sources(store: Store, folder: ManifestFolder, current: CurrentValues) -> Mapping[str, Source]:
    """Return, by table name, functions that read the published decisions and the published choices.

    Each takes the columns to read (None: all) and returns the rows of every published selection.
    """
    found = all_published(current, folder)
    return {
        DECISIONS: partial(_decisions_of_all, store, folder, found),
        SUBSET: partial(_chosen_of_all, store, folder, found),
    }


def _decisions_of_all(
    store: Store, folder: ManifestFolder, found: Sequence[Published], columns: Sequence[str] | None = None
) -> pa.Table:
    schema = schema_of(DECISIONS)
    empty = pa.schema([schema.field(name) for name in columns or schema.names]).empty_table()
    return pa.concat_tables([empty, *(read_decisions(store, folder, one, columns) for one in found)])


def _chosen_of_all(
    store: Store, folder: ManifestFolder, found: Sequence[Published], columns: Sequence[str] | None = None
) -> pa.Table:
    frames = [
        chosen_of(store, folder, one).select(pl.lit(one.selection).alias("selection"), pl.all())
        for one in found
    ]
    rows = pa.concat_tables([schema_of(SUBSET).empty_table(), *(as_declared(SUBSET, one) for one in frames)])
    return rows.select(list(columns or rows.schema.names))


def chosen_now(store: Store, folder: ManifestFolder) -> pl.DataFrame:
    """Return the chosen documents of all selections as published now: selection, doc_id, rank."""
    found = all_published(read_current_values(store), folder)
    return pl.DataFrame(pl.from_arrow(_chosen_of_all(store, folder, found)))
