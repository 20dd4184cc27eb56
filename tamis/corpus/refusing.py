"""Refusing what is withdrawn when it is read: documents are left out, quarantined rows show nothing."""

import base64
import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.base.nesting import on_own_stack, with_leaves
from tamis.passages.places import DOCUMENT, PARENT
from tamis.readers.text import ORIGINAL, document_id, loose_id
from tamis.store.schemas import tables_of_texts
from tamis.store.tables import Store
from tamis.store.withdrawn import read_cut_out, read_withdrawals

_BYTES, _AT_ONCE = 16, 65_536
_KEY = f"S{_BYTES}"  # all of one length, so that padding cannot make two equal
NEAR_REPEATS = "near_repeats_of_withdrawn"
"""Name of what the event and the manifest of a shard say of such documents."""
WITHHELD = "withheld: the row repeats something that was withdrawn"
NAME_CHARACTERS = 24
"""Shorter values of a column count as names, as labels and sources do, whatever document is withdrawn."""
TYPES = "types"
"""Part of a heading: the schema of the file in base 64 (`tamis.readers.kept_columns`)."""


class KnownIds:
    """A set of document ids that grows."""

    def __init__(self, doc_ids: pl.Series) -> None:
        self._runs = [np.sort(_keys(doc_ids))]

    def among(self, doc_ids: pl.Series) -> pl.Series:
        """Mask of the ids that are in the set."""
        keys = _keys(doc_ids)
        found = np.zeros(len(keys), dtype=bool)
        for run in self._runs:
            place = np.searchsorted(run, keys)
            inside = place < len(run)
            found[inside] |= run[place[inside]] == keys[inside]
        return pl.Series(found)

    def add(self, doc_ids: pl.Series) -> None:
        """Take ids that are not in the set."""
        run = np.sort(_keys(doc_ids))
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")  # which merges sorted parts
        self._runs.append(run)


def _keys(doc_ids: pl.Series) -> np.ndarray:
    blocks = (doc_ids[start : start + _AT_ONCE] for start in range(0, len(doc_ids), _AT_ONCE))
    parts = [np.frombuffer(bytes.fromhex("".join(block)), dtype=_KEY) for block in blocks]
    return np.concatenate([np.empty(0, dtype=_KEY), *parts])


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) >= NAME_CHARACTERS


def _within(value: str) -> dict[str, Any] | list[Any] | str | None:
    """Return what a string that is JSON text holds, None for any other.

    Columns of chats are often stored so, and an export writes so values that have no type in common.
    """
    if value.lstrip()[:1] not in ("{", "[", '"'):
        return None
    try:
        held = on_own_stack(json.loads, value)
    except (ValueError, RecursionError):
        return None
    return held if isinstance(held, dict | list | str) else None


def texts_among(value: Any, doc_ids: Container[str]) -> Iterator[str]:
    """Yield the ids of these texts that are strings or keys of a JSON value, in JSON text too.

    Names are left out: shorter strings.
    """
    left = [value]
    while left:  # JSON text may be nested deeper than Python calls itself
        one = left.pop()
        if _is_text(one):
            if (doc_id := document_id(one)) in doc_ids:
                yield doc_id
            else:
                left.append(_within(one))
        elif isinstance(one, dict):
            left += reversed([part for entry in one.items() for part in entry])
        elif isinstance(one, list):
            left += reversed(one)


def without_texts(value: Any, doc_ids: Container[str]) -> Any:
    """Return a JSON value in which null replaces each of these texts; a key that holds one leaves."""

    def cleared(one: Any) -> Any:
        if not _is_text(one):
            return one
        if document_id(one) in doc_ids:
            return None
        if not any(texts_among(held := _within(one), doc_ids)):
            return one
        return on_own_stack(json.dumps, without_texts(held, doc_ids), ensure_ascii=False)

    return with_leaves(value, cleared, lambda key: any(texts_among(key, doc_ids)))


def rows_showing(rows: pl.DataFrame, column: str, doc_ids: Container[str]) -> pl.DataFrame:
    """Return the rows of which a value or key in a column of JSON objects is one of these texts, without it.

    With them: `shown`, the ids of the texts, and `names`, the names of the values.
    """
    cleared: list[tuple[str | None, list[str], list[str]]] = []
    for content in rows[column]:
        values = on_own_stack(json.loads, content) if content else {}
        held = {
            name: found for name, one in values.items() if (found := [*texts_among({name: one}, doc_ids)])
        }
        if held:
            content = on_own_stack(json.dumps, without_texts(values, doc_ids), ensure_ascii=False)
        cleared.append((content, [doc_id for found in held.values() for doc_id in found], [*held]))
    return rows.with_columns(
        pl.Series(column, [left for left, _shown, _names in cleared], pl.String),
        shown=pl.Series([shown for _left, shown, _names in cleared], dtype=pl.List(pl.String)),
        names=pl.Series([names for _left, _shown, names in cleared], dtype=pl.List(pl.String)),
    ).filter(pl.col("shown").list.len() > 0)


def without_names(metadata: str, names: Container[str]) -> str:
    """Return metadata in which these values are null: there, a long one is cut and is its text no more."""
    return json.dumps(
        {name: None if name in names else one for name, one in json.loads(metadata).items()},
        ensure_ascii=False,
    )


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The withdrawn ids, as a filter on what a reader hands on.

    `loose_ids`: the withdrawn document of each loose id. `parts`: the withdrawn passages of documents that
    are not withdrawn as a whole.
    """

    doc_ids: pl.Series
    loose_ids: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def documents(self, found: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Documents that may be taken, and the places (row, doc_id, shard if they have it) of the others.

        A text that was mended or extracted on reading is refused if the one in its file is withdrawn, and a
        passage if its document is, or if the document was cut elsewhere when a passage of it was withdrawn.
        """
        withdrawn = self.doc_ids.implode()
        found, shown = self._in_parts(found)
        refused = pl.col("doc_id").is_in(withdrawn)
        of_whole = pl.col(PARENT).is_in(withdrawn).fill_null(False)
        left = found.filter(~(refused | of_whole))
        documents = found.filter(of_whole).with_columns(doc_id=PARENT)
        places = pl.concat([shown, _places(found.filter(refused)), _places(documents)])
        if not len(self.doc_ids) or not left["metadata"].str.contains(f'"{ORIGINAL}": ', literal=True).any():
            return left, places
        ids = pl.col("metadata").str.json_path_match(f"$.{ORIGINAL}").str.split(" ")
        known = (pl.when(one.is_in(withdrawn)).then(one) for one in (ids.list.first(), ids.list.last()))
        left = left.with_columns(pl.coalesce(*known).alias(ORIGINAL))
        others = _places(left.drop_nulls(ORIGINAL).with_columns(doc_id=pl.col(ORIGINAL)))
        return left.filter(pl.col(ORIGINAL).is_null()).drop(ORIGINAL), pl.concat([places, others])

    def cut_out(self, found: pl.DataFrame) -> pl.DataFrame:
        """Return the withdrawn passages (doc_id) of documents (passage_of) that are not, as read."""
        withdrawn = self.doc_ids.implode()
        parts = found.select("doc_id", PARENT).drop_nulls()
        return parts.filter(pl.col("doc_id").is_in(withdrawn) & ~pl.col(PARENT).is_in(withdrawn)).unique()

    def _in_parts(self, found: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return documents without those that have a withdrawn passage in another place, and their places.

        Such a document would bring the text of the passage back under other ids.
        """
        touched = found.filter(DOCUMENT.is_in([*self.parts])) if self.parts else found.clear()
        missing: dict[str, str] = {}
        for document, ids in touched.group_by(DOCUMENT.alias("document")).agg("doc_id").iter_rows():
            if others := self.parts[document].difference(ids):
                missing[document] = min(others)
        if not missing:
            return found, _places(found.clear())
        named = DOCUMENT.replace_strict(missing, default=None, return_dtype=pl.String)
        return found.filter(named.is_null()), _places(found.with_columns(doc_id=named).drop_nulls("doc_id"))

    def columns(self, documents: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Documents of which no other column holds what is withdrawn, and the places of those that did."""
        known, places = frozenset(self.doc_ids), [_places(documents.clear())]
        if not known:
            return documents, places[0]
        for column in ("content", "metadata"):
            # Passages of a row have the same columns.
            distinct = documents.select("row", column).drop_nulls().unique(maintain_order=True)
            shown = rows_showing(distinct, column, known)
            places.append(_places(shown.explode("shown").select("row", doc_id="shown")))
            documents = documents.update(shown.select("row", column), on="row")
            if column == "content":
                metadata_of = documents.select("row", "metadata").unique(maintain_order=True)
                cut = shown.select("row", "names").join(metadata_of, on="row")
                cleared = [without_names(one, names) for _row, names, one in cut.iter_rows()]
                metadata = pl.Series("metadata", cleared, pl.String)
                documents = documents.update(cut.select("row", metadata), on="row")
        return documents, pl.concat(places)

    def near_repeats(self, documents: pl.DataFrame) -> dict[str, str]:
        """Those (doc_id, text) that differ from a withdrawn one in case or white space alone, with that."""
        if not self.loose_ids:
            return {}
        documents = documents.filter(~pl.col("doc_id").is_in(self.doc_ids.implode()))
        named = ((doc_id, loose_id(text)) for doc_id, text in documents.select("doc_id", "text").iter_rows())
        return {doc_id: self.loose_ids[loose] for doc_id, loose in named if loose in self.loose_ids}

    def quarantine(self, found: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Quarantined rows with nothing of what is withdrawn, and the places of those that held it."""
        if not len(self.doc_ids) or not len(found):
            return found, _places(found.clear().with_columns(doc_id=pl.lit("")))
        named = found.with_columns(content_ids(found))
        held = pl.col("doc_id").is_in(self.doc_ids.implode())
        return withheld(named, held).select(found.columns), _places(named.filter(held))


def _places(found: pl.DataFrame) -> pl.DataFrame:
    return found.select(
        pl.col("row").cast(pl.Int64), "doc_id", *(name for name in found.columns if name == "shard")
    )


def refusal(store: Store) -> Refusal:
    """Return the withdrawn ids as they are now."""
    rows = read_withdrawals(store)
    loose = rows.drop_nulls("loose_id").select("loose_id", "doc_id")
    withdrawn = rows["doc_id"].implode()
    parts = read_cut_out(store).filter(pl.col("doc_id").is_in(withdrawn) & ~pl.col(PARENT).is_in(withdrawn))
    return Refusal(
        doc_ids=rows["doc_id"],
        loose_ids=dict(loose.iter_rows()),
        parts={
            document: frozenset(ids) for document, ids in parts.group_by(PARENT).agg("doc_id").iter_rows()
        },
    )


def stored_near_repeats(store: Store, barred: Refusal) -> dict[str, str]:
    """Return the near repeats among all stored documents and examples, by id, with what each repeats."""
    found: dict[str, str] = {}
    for table in tables_of_texts() if barred.loose_ids else ():
        for batch in store.batches(table, ["doc_id", "text"]):
            found |= barred.near_repeats(pl.DataFrame(batch))
    return found


def content_ids(quarantined: pl.DataFrame) -> pl.Series:
    """Content ids of quarantined rows: of what they show of the raw input."""
    shown = zip(quarantined["detail"], quarantined["excerpt"], strict=True)
    return pl.Series("doc_id", [document_id(f"{detail}\n{excerpt}") for detail, excerpt in shown], pl.String)


def withheld(quarantined: pl.DataFrame, rows: pl.Expr) -> pl.DataFrame:
    """The quarantined rows, of which some no longer show anything of the raw input."""
    return quarantined.with_columns(
        detail=pl.when(rows).then(pl.lit(WITHHELD)).otherwise("detail"),
        excerpt=pl.when(rows).then(pl.lit("")).otherwise("excerpt"),
    )


def near_repeat_lines(found: Mapping[str, str]) -> list[str]:
    """Near repeats of what is withdrawn, by id, for a person."""
    return [
        f"document {doc_id} differs from withdrawn document {withdrawn} only in case or white space; "
        f"to withdraw it too, run `tamis withdraw {doc_id}`"
        for doc_id, withdrawn in sorted(found.items())
    ]


def heading_without(heading: str, doc_ids: Container[str]) -> tuple[str, list[str]]:
    """Return a heading without the names that are one of these texts, and the ids of the texts."""
    stated: dict[str, Any] = json.loads(heading)
    types = stated.pop(TYPES, None)
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(types))) if types else pa.schema([])
    shown = [*texts_among(stated, doc_ids), *texts_of_schema(schema, doc_ids)]
    if not shown:
        return heading, []
    if types:
        types = base64.b64encode(schema_without(schema, doc_ids).serialize().to_pybytes()).decode()
    return json.dumps(without_texts(stated, doc_ids) | {TYPES: types}), shown


def texts_of_schema(schema: pa.Schema, doc_ids: Container[str]) -> Iterator[str]:
    """Yield the ids of these texts that are names of columns or fields, or in what is stated of them."""
    stated = [value.decode("utf-8", "replace") for value in (schema.metadata or {}).values()]
    yield from texts_among([[*_names(field)] for field in schema] + stated, doc_ids)


def schema_without(schema: pa.Schema, doc_ids: Container[str]) -> pa.Schema:
    """Return a schema without the columns that hold such a name, and without it in what is stated of them."""
    left = [field for field in schema if not any(texts_among([*_names(field)], doc_ids))]
    stated = {
        key: str(without_texts(value.decode("utf-8", "replace"), doc_ids))
        for key, value in (schema.metadata or {}).items()
    }
    return pa.schema(left, metadata=stated or None)


def _names(field: pa.Field) -> Iterator[str]:
    """Yield the name of a column and those of all fields in it."""
    yield field.name
    kind = field.type.storage_type if isinstance(field.type, pa.BaseExtensionType) else field.type
    for place in range(kind.num_fields):
        yield from _names(kind.field(place))
