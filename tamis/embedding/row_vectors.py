"""Vectors of the user's own, in a column of the rows of corpora and targets: no model runs.

A document has the vector of its row, at length 1 and in 16 bits as those of an encoder; it is read once. Of
several rows with different vectors, the first one that was stored stays as long as a row has it; among new
ones the least by its bytes counts. Where no row has the stored vector of a document any more, or most rows
have vectors of another width, the whole column counts as another encoder, so that nothing that was computed
from a stale vector stays.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from tamis.base.errors import PermanentError, did_you_mean
from tamis.base.numbers import counted, named
from tamis.base.progress import Advance, ignore
from tamis.base.unfit import Refusal, Unfit
from tamis.columns.rows import Files, Wanted, kept_column_names, rows_with_columns
from tamis.columns.values import values_in
from tamis.corpus.quarantine import TABLE as SET_ASIDE
from tamis.corpus.quarantine import forget_refused, note_refused, read_refused
from tamis.corpus.stage import DOCUMENTS, OCCURRENCES
from tamis.embedding.stage import EMBEDDINGS_STAGE, ROW_VECTORS
from tamis.embedding.storing import ExampleVectors, RowVectors, read_row_vectors
from tamis.store.schemas import schema_of
from tamis.store.tables import ALL, Store, matrix_of, one_of, quoted, vector_column

SAMPLE = 1_000
"""Documents with a list of numbers, those with the smallest ids, whose most common width is the column's."""
AT_ONCE = 4_096
"""Documents whose rows are in memory together: a list of 1,000 numbers takes 20 kB as text."""
IDS_A_FILTER = 1_000
COLUMNS_SHOWN = 20
UNIT = 1e-6
"""Largest difference of a length from 1 that float32 leaves; such a vector stays as it is."""
_HALF = np.dtype(">f2")
_FOUND = {"doc_id": pl.String, "vector": pl.Binary, "why": pl.String}
GONE = "its row could not be read again, since its file has left or changed"


class NoVectorsError(PermanentError):
    """No row has a usable vector in the column of [encoder]; names the columns that there are."""

    def __init__(
        self, where: str, column: str, problem: str, columns: Sequence[str], unread: int = 0
    ) -> None:
        self.column, self.columns, self.unread = column, list(columns), unread
        there = f"; columns of the first rows: {named(columns, COLUMNS_SHOWN)}" if columns else ""
        lost = f"; {counted(unread, 'row')} could not be read again" if unread else ""
        super().__init__(
            f"[encoder] column = {column!r}: {problem} {where}{there}{lost}{did_you_mean(column, columns)}; "
            "name the column in which each row has a list of numbers, all of one length"
        )


@dataclass(kw_only=True)
class Taken:
    """Vectors that were read from rows: by document, and the documents without one.

    `added`: documents whose vector is new; `several`: those of them whose rows have different vectors.
    """

    added: set[str] = field(default_factory=set)
    several: int = 0
    unread: Counter[str] = field(default_factory=Counter)


def read_lists(content: pl.Series, column: str) -> pl.DataFrame:
    """Return `numbers` of each row of JSON in a column or nested field, and `why` they are no vector.

    A text that is such a list counts as one. Numbers are null where `why` is not, whatever the width.
    """
    text = pl.col("text")
    parts = text.str.strip_prefix("[").str.strip_suffix("]").str.split(",")
    number = pl.element().str.strip_chars().cast(pl.Float64, strict=False)
    finite = pl.element().is_finite().fill_null(value=False)
    where = f"column {column}"
    return (
        values_in(content, column)
        .str.strip_chars()
        .to_frame("text")
        .with_columns(is_list=text.str.starts_with("[") & text.str.ends_with("]"))
        .with_columns(numbers=pl.when("is_list").then(parts).list.eval(number))
        .with_columns(
            why=pl.when(text.is_null())
            .then(pl.lit(f"its row has no value in {where}"))
            .when(~pl.col("is_list"))
            .then(pl.lit(f"its value in {where} is no list of numbers"))
            .when(text == "[]")
            .then(pl.lit(f"its list in {where} is empty"))
            .when(~pl.col("numbers").list.eval(finite).list.all())
            .then(pl.lit(f"its list in {where} has a value that is no finite number"))
            .when(~pl.col("numbers").list.eval(pl.element() != 0).list.any())
            .then(pl.lit(f"its list in {where} has nothing but zeros"))
        )
        .select(pl.when(pl.col("why").is_null()).then("numbers").alias("numbers"), "why")
    )


def vectors_of_rows(rows: pl.DataFrame, column: str, width: int) -> pl.DataFrame:
    """Return doc_id, `vector` (bytes, null for none) and `why` there is none, of rows (doc_id, content)."""
    lists = read_lists(rows["content"], column).with_columns(rows["doc_id"])
    has = pl.col("numbers").list.len()
    other = pl.format("its list in column {} has {} numbers, not {}", pl.lit(column), has, pl.lit(width))
    lists = lists.with_columns(why=pl.when(has != width).then(other).otherwise("why"))
    usable = lists.filter(pl.col("why").is_null())
    vector_nd = usable["numbers"].list.to_array(width).to_numpy() if len(usable) else np.zeros((0, width))
    good = usable.select("doc_id", vector=as_bytes(unit_halves(vector_nd)), why=pl.lit(None, pl.String))
    bad = lists.filter(pl.col("why").is_not_null()).select(
        "doc_id", vector=pl.lit(None, pl.Binary), why="why"
    )
    return pl.concat([good, bad])


def unit_halves(vectors_nd: npt.NDArray[np.floating]) -> npt.NDArray[np.float16]:
    """Return vectors [n, d] at length 1 in 16 bits; those of that length but for rounding stay as they are.

    So vectors that an encoder of Tamis gave are stored as it would have stored them.
    """
    exact_nd = vectors_nd.astype(np.float64)
    largest_n = np.abs(exact_nd).max(axis=1, initial=0)
    scale_n = np.where(np.abs(np.log2(np.where(largest_n > 0, largest_n, 1))) > 100, largest_n, 1)
    exact_nd = exact_nd / scale_n[:, None]  # else squares of very large and small numbers are none
    norm_n = np.linalg.norm(exact_nd, axis=1)
    unit_nd = np.where((np.abs(norm_n - 1) <= UNIT)[:, None], exact_nd, exact_nd / norm_n[:, None])
    return unit_nd.astype(np.float32).astype(np.float16)


def as_bytes(halves_nd: npt.NDArray[np.float16]) -> pl.Series:
    """Return vectors [n, d] as bytes that are equal where the numbers are."""
    count, width = halves_nd.shape
    written_nd = np.ascontiguousarray(halves_nd + np.float16(0), dtype=_HALF)  # -0 is 0
    column = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(2 * width), count, [None, pa.py_buffer(written_nd)]
    )
    return pl.Series("vector", pl.from_arrow(column.cast(pa.large_binary())), dtype=pl.Binary)


def as_halves(vectors: pl.Series, width: int) -> npt.NDArray[np.float16]:
    """Return vectors [n, d] of what `as_bytes` has returned."""
    joined = np.frombuffer(b"".join(vectors), dtype=_HALF)
    return joined.reshape(len(vectors), width).astype(np.float16)


def one_of_each(found: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Return doc_id, vector and why of each document once, and how many have different vectors.

    A vector comes before none; of several the least by its bytes counts.
    """
    ordered = found.sort("doc_id", "vector", "why", nulls_last=True)
    several = ordered.drop_nulls("vector").group_by("doc_id").agg(pl.col("vector").n_unique())
    one = ordered.unique("doc_id", keep="first", maintain_order=True)
    return one, int((several["vector"] > 1).sum())


def update_row_vectors(
    store: Store,
    column: str,
    files: Files,
    state: str,
    shards: Sequence[str] | None = None,
    advance: Advance = ignore,
) -> RowVectors:
    """Bring the width of the column's vectors, and the edition of the column, up to date; return both.

    state: digest of the files as they are. shards: those that changed since the last update, None for all.
    Raises `NoVectorsError` where the pool has documents, and none of them a usable list.
    """
    unread: Counter[str] = Counter()
    ids = store.read(DOCUMENTS.name, ["doc_id"])["doc_id"].sort()
    width = _common_width(store, ids, column, files, unread)
    if width is None and len(ids):
        problem = "no row has a usable list of numbers"
        raise NoVectorsError("in the corpora", column, problem, kept_column_names(store), unread.total())
    before = read_row_vectors(store)
    edition = before.edition if before is not None and before.column == column else ""
    now = RowVectors(column=column, width=width or 1, edition=edition)
    if before is not None and before.column == column and before.width != now.width:
        now = now.renewed(state)
    while _has_changed(store, now, files, shards, advance):
        now = now.renewed(state)
        shards = None  # an earlier table of this name may have vectors of other files
    store.put(ROW_VECTORS.name, pl.DataFrame([now.row]), ALL)
    return now


def _common_width(
    store: Store, ids: pl.Series, column: str, files: Files, unread: Counter[str]
) -> int | None:
    """Return the most common width of the first documents by id that have a list; of equals the largest."""
    start, size, widths = 0, SAMPLE, Counter[int]()
    while start < len(ids) and widths.total() < SAMPLE:
        wanted = Wanted(doc_ids=ids[start : start + size].to_list(), at_once=AT_ONCE)
        found = [pl.DataFrame(schema={"doc_id": pl.String, "width": pl.UInt32})]
        for rows, _paths in rows_with_columns(store, [column], files, unread, wanted):
            lists = read_lists(rows["content"], column).with_columns(rows["doc_id"])
            found.append(lists.drop_nulls("numbers").select("doc_id", width=pl.col("numbers").list.len()))
        each = pl.concat(found).group_by("doc_id").agg(pl.col("width").max()).sort("doc_id")
        widths.update(each["width"].head(SAMPLE - widths.total()).to_list())
        start, size = start + size, 4 * size
    return max(widths, key=lambda width: (widths[width], width)) if widths else None


def _has_changed(
    store: Store, vectors: RowVectors, files: Files, shards: Sequence[str] | None, advance: Advance
) -> bool:
    """Return whether no row of some document has its stored vector any more."""
    table = vectors.table
    if not store.exists(table) or not store.count(table):
        return False
    where = None if shards is None else one_of("shard", [*shards])
    places = store.read(OCCURRENCES.name, ["doc_id"], where)["doc_id"].unique()
    known = store.read(table, ["doc_id"]).join(places.to_frame(), on="doc_id", how="semi")["doc_id"].sort()
    unread: Counter[str] = Counter()
    seen = [pl.DataFrame(schema={"doc_id": pl.String, "same": pl.Boolean})]
    wanted = Wanted(doc_ids=known.to_list(), at_once=AT_ONCE)
    for rows, _paths in rows_with_columns(store, [vectors.column], files, unread, wanted):
        found = vectors_of_rows(rows, vectors.column, vectors.width)
        stored = _stored(store, vectors, found["doc_id"].unique().to_list())
        same = found.join(stored, on="doc_id").select(
            "doc_id", same=pl.col("vector").eq_missing(pl.col("stored"))
        )
        seen.append(same.group_by("doc_id").agg(pl.col("same").any()))
        advance(len(rows))
    same = pl.concat(seen).group_by("doc_id").agg(pl.col("same").any())
    changed = (
        known.to_frame().join(same, on="doc_id", how="left").filter(~pl.col("same").fill_null(value=False))
    )
    if changed.is_empty() or not unread:
        return not changed.is_empty()
    left = store.read(OCCURRENCES.name, ["doc_id"], one_of("shard", sorted(unread)))
    return not changed.join(left, on="doc_id", how="anti").is_empty()


def _stored(store: Store, vectors: RowVectors, doc_ids: Sequence[str]) -> pl.DataFrame:
    """Return doc_id and `stored`, its vector as bytes, of the documents that have one."""
    parts = [pl.DataFrame(schema={"doc_id": pl.String, "stored": pl.Binary})]
    for block in store.by_ids(vectors.table, doc_ids, ["doc_id", "vector"]):
        stored = as_bytes(matrix_of(block["vector"], np.float16))
        parts.append(pl.DataFrame([pl.Series("doc_id", block["doc_id"]), stored.alias("stored")]))
    return pl.concat(parts)


def take_vectors(
    store: Store, vectors: RowVectors, doc_ids: Sequence[str], files: Files, advance: Advance = ignore
) -> Taken:
    """Read the vectors of the documents that have none yet; those without a usable one are set aside."""
    taken, schema = Taken(), schema_of(vectors.table, vectors.width)
    if not store.exists(vectors.table):
        store.insert_new(vectors.table, schema.empty_table())
    known = {
        doc_id
        for block in store.by_ids(vectors.table, doc_ids, ["doc_id"])
        for doc_id in block["doc_id"].to_pylist()
    }
    missing = sorted({*doc_ids} - known)
    counts = [
        pl.DataFrame(pl.from_arrow(block)) for block in store.by_ids(OCCURRENCES.name, missing, ["doc_id"])
    ]
    repeated = (
        pl.concat(counts).filter(pl.col("doc_id").is_duplicated())["doc_id"].unique() if counts else None
    )
    held = [pl.DataFrame(schema=_FOUND)]
    refused: dict[str, str] = {}

    def add(found: pl.DataFrame) -> None:
        good = found.drop_nulls("vector")
        refused.update(found.filter(pl.col("vector").is_null()).select("doc_id", "why").iter_rows())
        if len(good):
            ids = good["doc_id"].to_list()
            halves_nd = as_halves(good["vector"], vectors.width)
            columns = [ids, vector_column(halves_nd), [vectors.fingerprint] * len(ids)]
            store.append(vectors.table, pa.table(columns, schema=schema))
            taken.added.update(ids)
        advance(len(found))

    wanted = Wanted(doc_ids=missing, at_once=AT_ONCE)
    for rows, _paths in rows_with_columns(store, [vectors.column], files, taken.unread, wanted):
        found = vectors_of_rows(rows, vectors.column, vectors.width)
        again = found["doc_id"].is_in(repeated.implode())  # type: ignore[union-attr]
        held.append(found.filter(again))
        add(found.filter(~again))
    one, taken.several = one_of_each(pl.concat(held))
    add(one)
    _set_aside(store, vectors, missing, taken, refused)
    return taken


def _set_aside(
    store: Store, vectors: RowVectors, missing: Sequence[str], taken: Taken, refused: Mapping[str, str]
) -> None:
    """Note why documents have no vector, in place of what was noted of them before."""
    without = sorted({*missing} - taken.added)
    lost = {*_in_shards(store, without, taken.unread)} if taken.unread else set()
    absent = f"its row has no value in column {vectors.column}"
    whys = {doc_id: refused.get(doc_id, GONE if doc_id in lost else absent) for doc_id in without}
    forget_refused(store, EMBEDDINGS_STAGE.name, [vectors.fingerprint])
    before = read_refused(store, [EMBEDDINGS_STAGE.name])["doc_id"]
    mended = sorted(taken.added.intersection(before))
    for start in range(0, len(mended), IDS_A_FILTER):
        own = one_of("doc_id", mended[start : start + IDS_A_FILTER])
        store.delete(SET_ASIDE, f"stage = {quoted(EMBEDDINGS_STAGE.name)} AND {own}")
    notes = {doc_id: Refusal(reason=Unfit.NO_VECTOR, detail=why) for doc_id, why in whys.items()}
    note_refused(store, EMBEDDINGS_STAGE.name, vectors.fingerprint, notes)


def _in_shards(store: Store, doc_ids: Sequence[str], shards: Mapping[str, int]) -> Iterator[str]:
    for block in store.by_ids(OCCURRENCES.name, doc_ids, ["doc_id", "shard"]):
        rows = pl.DataFrame(pl.from_arrow(block))
        yield from rows.filter(pl.col("shard").is_in([*shards]))["doc_id"]


def vectors_of_examples(
    target: str, examples: pl.Series, rows: pl.DataFrame, vectors: RowVectors
) -> ExampleVectors:
    """Return the vectors of a target's examples, by id, from rows (doc_id, content) of the target's files.

    Raises `NoVectorsError` where no example has one.
    """
    found, _several = one_of_each(
        pl.concat([pl.DataFrame(schema=_FOUND), vectors_of_rows(rows, vectors.column, vectors.width)])
    )
    absent = pl.lit(f"its row has no value in column {vectors.column}")
    own = examples.to_frame("doc_id").join(found, on="doc_id", how="left", maintain_order="left")
    own = own.with_columns(why=pl.coalesce("why", absent))
    good, bad = own.drop_nulls("vector"), own.filter(pl.col("vector").is_null())
    if good.is_empty() and len(bad):
        problem = f"no example has a list of {vectors.width:,} numbers, as the corpora have"
        raise NoVectorsError(
            f"in target {target} (of the first, {bad['why'][0]})", vectors.column, problem, ()
        )
    return ExampleVectors(
        doc_ids=good["doc_id"].to_list(),
        vectors_md=as_halves(good["vector"], vectors.width),
        refused={
            doc_id: Refusal(reason=Unfit.NO_VECTOR, detail=why)
            for doc_id, why in bad.select("doc_id", "why").iter_rows()
        },
        fingerprint=vectors.fingerprint,
    )
