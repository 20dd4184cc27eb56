"""Purging: the home is made to hold nothing of what is withdrawn, in an order that can be cut short anywhere.

The texts go last, so a purge that was killed finds them and does all of it again. What lists a row that goes
is noted as begun before: it is made again by the next materialization, and until then no audit takes it for
altered.
"""

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tamis.base.files import write_atomically
from tamis.corpus.refusing import content_ids, heading_without, rows_showing, without_names
from tamis.corpus.small_files import group_of_files
from tamis.corpus.stage import DOCUMENTS_STAGE, EXAMPLES_STAGE, KEPT_ROWS, OCCURRENCES, TARGET_EXAMPLES
from tamis.corpus.targets import PREFIX, target_of_place
from tamis.graph.stages import names_where
from tamis.passages.places import NUMBER, PARENT
from tamis.readers.rows import WHOLE_SHARD
from tamis.readers.text import loose_id, normalised_id
from tamis.records import attempts
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import ManifestFolder
from tamis.records.published import ROWS_A_GROUP
from tamis.stage import Learning
from tamis.store.erasing import (
    VersionsLeftError,
    count_rows_of,
    erase_rows,
    files_of_no_version,
    forget_versions,
    is_bare,
    require_tried_version,
    unwritten_files,
)
from tamis.store.home import Home
from tamis.store.schemas import as_declared, declaration, declared, schema_of
from tamis.store.tables import Store, one_of, quoted
from tamis.store.withdrawn import add_places, note_cut_out
from tamis.withdrawal.departed import passages_ever, texts_of
from tamis.withdrawal.places import (
    Named,
    Touched,
    UnreadableRowsError,
    files_named,
    pages_naming,
    purge_exports,
    purge_folders,
    purge_pages,
    purge_resume_state,
    purge_temporary,
    purge_trainer_runs,
    tables_of_documents,
    tables_of_excerpts,
)
from tamis.withdrawal.quotations import MOST_TEXTS, excerpts_showing, withhold
from tamis.withdrawal.tainting import Tainted, checkpoints, find_tainted

NO_DOCUMENT = ""
"""Stands for the document of a row that describes a file: its heading."""
KEPT = "manifests/rows"


@dataclass(kw_only=True)
class Purged:
    """What a purge did: rows that left each table, files touched, tables of which one version is left."""

    rows: dict[str, int] = field(default_factory=dict)
    files: list[Touched] = field(default_factory=list)
    bare: list[str] = field(default_factory=list)

    def __add__(self, other: "Purged") -> "Purged":
        """Both together."""
        rows = {table: self.rows.get(table, 0) + other.rows.get(table, 0) for table in self.rows | other.rows}
        return Purged(
            rows=rows, files=[*self.files, *other.files], bare=list(dict.fromkeys([*self.bare, *other.bare]))
        )

    @property
    def anything(self) -> bool:
        """Whether there was anything to purge."""
        return bool(self.rows or self.files or self.bare)


def count_rows(store: Store, doc_ids: Sequence[str]) -> dict[str, int]:
    """How many rows of the documents each table has, those that have any."""
    return {
        table: count
        for table in tables_of_documents(store)
        if (count := count_rows_of(store, table, "doc_id", doc_ids))
    }


def places_of(store: Store, doc_ids: Sequence[str]) -> dict[str, pl.DataFrame]:
    """Return the places of documents (partition, shard, row, doc_id), by the asset that read them there.

    Of an example that is the whole target: which of its files has it is in no table.
    """
    wanted = pl.Series(sorted(doc_ids), dtype=pl.String).implode()
    stand = store.read(OCCURRENCES.name, ["doc_id", "shard", "row", PARENT])
    stand = pl.concat([stand, stand.drop_nulls(PARENT).with_columns(doc_id=PARENT)]).drop(PARENT)
    stand = stand.filter(pl.col("doc_id").is_in(wanted)).unique(maintain_order=True)
    examples = store.read(TARGET_EXAMPLES.name, ["doc_id", "target"])
    examples = examples.filter(pl.col("doc_id").is_in(wanted)).select(
        "doc_id", row=WHOLE_SHARD, shard=pl.format(f"{PREFIX}{{}}", "target"), partition="target"
    )
    return {DOCUMENTS_STAGE.name: stand.with_columns(partition="shard"), EXAMPLES_STAGE.name: examples}


def purge(home: Home, current: CurrentValues, doc_ids: Sequence[str], listed_in: Mapping[str, int]) -> Purged:
    """Make the home hold nothing of these documents; doing it again is doing it once.

    `listed_in`: manifests that list them. Raises `UnreadableRowsError` or `VersionsLeftError` once all else
    is removed.
    """
    require_tried_version()
    store, purged = home.store, Purged()
    unreadable: list[UnreadableRowsError] = []
    home.files.fetch(home.exports)
    for asset, places in places_of(store, doc_ids).items():
        add_places(store, asset, places)
    # Documents that share a withdrawn passage stay, as long as they are cut as they were.
    passages = passages_ever(store, doc_ids)
    gone = pl.col("doc_id").is_in(doc_ids)
    note_cut_out(store, passages.filter(gone & ~pl.col(PARENT).is_in(doc_ids)))
    # Rows of other documents go on without that value, from here and whenever their files are read again.
    copies = copies_in_columns(store, doc_ids)
    for rows in copies.values():
        add_places(
            store,
            DOCUMENTS_STAGE.name,
            rows.explode("shown").select("shard", "row", doc_id="shown", partition="shard"),
        )
    copied = {(DOCUMENTS_STAGE.name, shard) for rows in copies.values() for shard in rows["shard"]}
    tainted = find_tainted(home, current, listed_in)
    again = _refitted()
    refitted = {(one.asset, one.partition) for one in tainted if one.current and one.asset in again}
    pages = pages_naming(home, doc_ids)
    shown = _made_with(home, current, pages)
    # Of tables of SQL models no manifest lists the rows by document.
    of_models = [table for table in tables_of_documents(store) if declared(table) is None]
    models = {(table, "") for table in of_models if count_rows_of(store, table, "doc_id", doc_ids)}
    begun = _losing(current, listed_in) | refitted | shown | ((models | copied) & current.keys())
    attempts.begin(store, sorted(begun))
    purged.files += purge_exports(home, doc_ids, unreadable)
    purged.files += purge_pages(home, pages)
    purged.files += purge_resume_state(home)
    purged.files += purge_trainer_runs(home, doc_ids)
    purged.files += purge_folders(home, _fits(home, tainted))
    purged.files += purge_kept(home, doc_ids, unreadable)
    home.publish_all()
    for table, rows in copies.items():
        _put_places(store, table, rows)
    purged.files += purge_temporary(home)
    left = _purge_tables(store, doc_ids, purged)
    for error in (*unreadable, *left):
        raise error
    return purged


def copies_in_columns(store: Store, doc_ids: Sequence[str]) -> dict[str, pl.DataFrame]:
    """Return the rows of other documents that hold one of the texts in another column, without it, by table.

    Headings of files, too, of which a column is called so. With them: `shown`, the ids of these texts.
    """
    gone = frozenset(doc_ids)
    kept = _showing(store, KEPT_ROWS.name, "content", gone)
    places = _without_beginnings(store, kept, _showing(store, OCCURRENCES.name, "metadata", gone))
    copies = {KEPT_ROWS.name: pl.concat([kept, _headings(store, gone)]), OCCURRENCES.name: places}
    return {table: rows.drop("names") for table, rows in copies.items() if len(rows)}


def _without_beginnings(store: Store, kept: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    """Return the places to write again: those given, and of all `kept` rows without values that they lose.

    Of a long value the metadata of a place has the beginning, which is its text no more.
    """
    if kept.is_empty():
        return places
    at = ["shard", "row"]
    rows = kept.select("shard", pl.col("row").cast(pl.UInt32), cut="names", within="shown")
    of_files = one_of("shard", sorted(set(kept["shard"])))
    stored = store.read(OCCURRENCES.name, schema_of(OCCURRENCES.name).names, of_files)
    cleared = places.select(*at, NUMBER, "shown", cleared="metadata")
    found = stored.join(rows, on=at).join(cleared, on=[*at, NUMBER], how="left", nulls_equal=True)
    found = found.with_columns(
        metadata=pl.coalesce("cleared", "metadata"),
        shown=pl.concat_list("within", pl.col("shown").fill_null([])).list.unique(),
    )
    left = [without_names(one, names) for one, names in found.select("metadata", "cut").iter_rows()]
    found = found.with_columns(pl.Series("metadata", left, pl.String), names="cut")
    return pl.concat([places.join(found, on=at, how="anti"), found.select(places.columns)])


def _put_places(store: Store, table: str, rows: pl.DataFrame) -> None:
    """Write rows of files again; no table finds a row by a key that is null, as the place of a passage is."""
    if NUMBER not in rows.columns:
        store.put(table, rows)
        return
    whole, parts = rows.filter(pl.col(NUMBER).is_null()), rows.drop_nulls(NUMBER)
    if len(whole):
        store.merge(table, as_declared(table, whole), key=("shard", "row"))
    if len(parts):
        store.put(table, parts)


def _showing(store: Store, table: str, column: str, gone: frozenset[str]) -> pl.DataFrame:
    others, schema = ~pl.col("doc_id").is_in([*gone, NO_DOCUMENT]), schema_of(table)
    # By name, so that a home of an earlier version has the columns that came later.
    blocks = (pl.DataFrame(batch).filter(others) for batch in store.batches(table, schema.names))
    empty = pl.DataFrame(pl.from_arrow(schema.empty_table()))
    return pl.concat([rows_showing(block, column, gone) for block in (empty, *blocks)])


def _headings(store: Store, gone: frozenset[str]) -> pl.DataFrame:
    """Return the headings of files that hold one of the texts as a name, without it."""
    headings = store.read(KEPT_ROWS.name, where=f"doc_id = {quoted(NO_DOCUMENT)}")
    cleared = [heading_without(content, gone) for content in headings["content"]]
    return headings.with_columns(
        pl.Series("content", [content for content, _shown in cleared], pl.String),
        shown=pl.Series([shown for _content, shown in cleared], dtype=pl.List(pl.String)),
        names=pl.lit([], pl.List(pl.String)),
    ).filter(pl.col("shown").list.len() > 0)


def _refitted() -> tuple[str, ...]:
    """Return the stages that fit files on rows of documents; the next materialization makes them again."""
    return names_where(lambda stage: stage.learning == Learning.FITTED and stage.files == "fitted")


def _purge_tables(store: Store, doc_ids: Sequence[str], purged: Purged) -> list[VersionsLeftError]:
    """Erase in every table; return what was left of some, since the others must not wait for these."""
    left: list[VersionsLeftError] = []
    for table in tables_of_documents(store):
        if removed := erase_rows(store, table, "doc_id", doc_ids):
            purged.rows[table] = removed
        _leave_one_version(store, table, purged, left)
    for table in tables_of_excerpts(store):
        _leave_one_version(store, table, purged, left)
    return left


def _leave_one_version(store: Store, table: str, purged: Purged, left: list[VersionsLeftError]) -> None:
    try:
        if forget_versions(store, table):
            purged.bare.append(table)
    except VersionsLeftError as error:
        left.append(error)


def has_old_versions(store: Store) -> bool:
    """Return whether a table that names documents, or shows excerpts, may hold more than its rows."""
    return not all(
        is_bare(store, table) for table in (*tables_of_documents(store), *tables_of_excerpts(store))
    )


def rows_in_versions(store: Store, doc_ids: Collection[str]) -> Iterator[tuple[str, int, int]]:
    """Yield every version of every table that names documents, and how many rows of these it has.

    An excerpt counts as the document that it is withdrawn as.
    """
    gone = pl.Series(sorted(doc_ids), dtype=pl.String).implode()
    for table in tables_of_documents(store):
        for entry in store.open(table).list_versions():
            version = int(entry["version"])
            ids = (pl.Series(batch["doc_id"]) for batch in store.batches(table, ["doc_id"], version=version))
            yield table, version, sum(int(some.is_in(gone).sum()) for some in ids)
    for table in tables_of_excerpts(store):
        for entry in store.open(table).list_versions():
            version = int(entry["version"])
            shown = store.read(table, list(declaration(table).text), version=version)
            yield table, version, int(content_ids(shown).is_in(gone).sum())


def unwritten(store: Store) -> dict[str, int]:
    """Return how many files killed writes have left of each table that names documents.

    The caller knows that nobody writes.
    """
    tables = (*tables_of_documents(store), *tables_of_excerpts(store))
    found = {table: len(unwritten_files(store, table)) for table in tables}
    for name in files_of_no_version(store):
        found.setdefault(name.partition(".lance/")[0], 1)
    return {table: count for table, count in found.items() if count}


@dataclass(frozen=True, kw_only=True)
class Known:
    """What follows from the texts while they are known, of which old versions are read once.

    `excerpts`: quarantined rows, with `doc_id`, that show a piece of one, or are in shards that were named;
    `loose`: the loose ids of the texts, `texts`: those themselves, both by content id; of more than
    `MOST_TEXTS` documents no text is held.
    """

    excerpts: pl.DataFrame
    loose: dict[str, str]
    texts: dict[str, str]


def known_of(
    store: Store, doc_ids: Sequence[str], texts: Sequence[str] = (), shards: Sequence[str] = ()
) -> Known:
    """Return what the texts of these documents, and further texts, say of other rows."""
    found = [excerpts_showing(store, texts, shards)]
    given = {normalised_id(text): text for text in texts}
    loose = {doc_id: loose_id(text) for doc_id, text in given.items()}
    for some in texts_of(store, doc_ids):
        found.append(excerpts_showing(store, [*some.values()]))
        loose |= {doc_id: loose_id(text) for doc_id, text in some.items()}
        if len(doc_ids) <= MOST_TEXTS:
            given |= some
    return Known(
        excerpts=pl.concat(found).unique(["shard", "row", "reason"]),
        loose=loose,
        texts=given if len(doc_ids) <= MOST_TEXTS else {},
    )


def withhold_excerpts(store: Store, current: CurrentValues, rows: pl.DataFrame) -> None:
    """Blank quarantined rows that are withdrawn, and note their places."""
    target = pl.Series([target_of_place(shard) for shard in rows["shard"]], dtype=pl.String)
    placed = {
        DOCUMENTS_STAGE.name: rows.filter(target.is_null()).with_columns(partition="shard"),
        EXAMPLES_STAGE.name: rows.with_columns(partition=target).filter(target.is_not_null()),
    }
    groups: dict[str, str] = dict(group_of_files(store).iter_rows())
    entries = {
        (asset, groups.get(partition, partition))
        for asset, some in placed.items()
        for partition in some["partition"]
    }
    attempts.begin(store, sorted(entries & current.keys()))
    for asset, some in placed.items():
        add_places(store, asset, some.select("shard", "row", "doc_id", "partition"))
    withhold(store, rows)


def _losing(current: CurrentValues, listed_in: Mapping[str, int]) -> set[tuple[str, str]]:
    """What is current and lists a row that goes; checkpoints list what stays as evidence."""
    trained = checkpoints()
    return {
        entry
        for entry, value in current.items()
        if value.manifest in listed_in and value.asset not in trained
    }


def _made_with(home: Home, current: CurrentValues, pages: Sequence[Path]) -> set[tuple[str, str]]:
    """What is current and has one of the pages: a view, say, lists no rows but shows its first."""
    names = {home.relative(path) for path in pages}
    latest = [value.manifest for value in current.values()] if names else []
    made = ManifestFolder.of(home).readable(latest).items()
    with_page = {key for key, manifest in made if not names.isdisjoint(manifest.files)}
    return {entry for entry, value in current.items() if value.manifest in with_page}


def _fits(home: Home, tainted: Sequence[Tainted]) -> list[Path]:
    """Folders of fitted things that saw one of the documents, superseded ones too."""
    folder, again = ManifestFolder.of(home), _refitted()
    files = (name for one in tainted if one.asset in again for name in folder.read(one.manifest).files)
    return sorted({(home.root / name).parent for name in files if name.startswith("fitted/")})


def purge_kept(
    home: Home, doc_ids: Sequence[str], unreadable: list[UnreadableRowsError]
) -> Iterator[Touched]:
    """Take the rows of documents out of all kept versions; what cannot be read is added to `unreadable`."""
    gone = pa.array(sorted(doc_ids), pa.string())
    for path in files_named(home, Named.BY_ROWS, KEPT):
        try:
            rows = pq.read_table(path)
            left = rows.filter(pc.invert(pc.is_in(rows["doc_id"], gone)))
        except (pa.ArrowException, KeyError, OSError) as error:
            unreadable.append(UnreadableRowsError(path, str(error).partition("\n")[0]))
            continue
        if left.num_rows < rows.num_rows:
            stream = io.BytesIO()
            pq.write_table(left, stream, compression="zstd", row_group_size=ROWS_A_GROUP)
            write_atomically(path, stream.getvalue())
            yield Touched(path=home.relative(path), done="rewritten")
