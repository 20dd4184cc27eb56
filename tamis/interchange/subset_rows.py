"""Rows of an exported subset: what Tamis knows of each document, and the columns of the user's own rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.interchange.own_columns import (
    MOST_FIELDS,
    MOST_LEVELS,
    OwnRows,
    OwnTable,
    own_table,
    read_own_rows,
)
from tamis.project import Project

COLUMNS = ("doc_id", "rank", "margin", "shard", "row", "source", "licence", "text")
COUNT = "training_count"
"""A column more where documents are in the training set several times."""
OTHERS = "other_origins"
PLACE = ("shard", "row", "source", "licence")
MOST_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class SubsetRows:
    """Rows as an Arrow table, and as JSON values by column where these differ (`printed`)."""

    table: pa.Table
    printed: dict[str, list[Any]]
    notes: Sequence[str]

    @property
    def schema(self) -> pa.Schema:
        """The columns and their types."""
        return self.table.schema

    def select(self, columns: list[str]) -> "SubsetRows":
        """The same with these columns alone."""
        return SubsetRows(table=self.table.select(columns), printed=self.printed, notes=self.notes)

    def objects(self) -> Iterator[dict[str, Any]]:
        """The rows as objects, of values that JSON holds or prints."""
        names = self.table.column_names
        values = [self.printed.get(name) or self.table[name].to_pylist() for name in names]
        return (dict(zip(names, row, strict=True)) for row in zip(*values, strict=True))


def subset_rows(project: Project, chosen: pl.DataFrame, places: pl.DataFrame) -> SubsetRows:
    """Return the rows of chosen documents, in their order.

    `chosen`: columns as in `COLUMNS`, and maybe `COUNT`. `places`: all places of these, by shard and
    row; a document has the columns of the first at the top, those of the others in `other_origins`.
    """
    own = read_own_rows(project, places)
    texts = dict(chosen.select("doc_id", "text").iter_rows())
    first = [((shard, row), text) for shard, row, text in chosen.select("shard", "row", "text").iter_rows()]
    mine = own_table(first, own)
    known = (*COLUMNS, COUNT) if COUNT in chosen.columns else COLUMNS
    top = {name: pa.chunked_array(column) for name, column in _known(chosen, known).items()}
    printed: dict[str, list[Any]] = {}
    for name, values in mine.columns.items():
        called = name
        if name in (*COLUMNS, COUNT, OTHERS):  # the count also where this selection repeats nothing
            if name in top and _repeats(mine.printed[name], top[name]):
                continue
            called = f"original_{name}"
        while called in top:
            called = f"original_{called}"
        top[called], printed[called] = values, mine.printed[name]
    top[OTHERS], printed[OTHERS], as_text = _others(chosen, places, own, texts)
    return SubsetRows(
        table=pa.table(top),
        printed=printed,
        notes=_notes(own, list(dict.fromkeys([*mine.as_text, *as_text]))),
    )


def _known(frame: pl.DataFrame, columns: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    table = frame.select(columns).to_arrow(compat_level=pl.CompatLevel.oldest())
    return {name: table[name] for name in columns}


def _repeats(own: Sequence[Any], known: pa.ChunkedArray) -> bool:
    """Whether a column of the user says what Tamis says under its name, wherever it says anything."""
    return all(one is None or one == other for one, other in zip(own, known.to_pylist(), strict=True))


def _others(
    chosen: pl.DataFrame, places: pl.DataFrame, own: OwnRows, texts: dict[str, str]
) -> tuple[pa.Array, list[list[dict[str, Any]]], list[str]]:
    """Return the places of each document but its first, as Arrow and as JSON, and columns of JSON text."""
    order = chosen.select("doc_id", pl.int_range(pl.len()).alias("place"))
    later = places.filter(~places["doc_id"].is_first_distinct())
    later = later.join(order, on="doc_id").sort("place", "shard", "row")
    named = later.select("doc_id", "shard", "row").iter_rows()
    rows = [((shard, row), texts[doc_id]) for doc_id, shard, row in named]
    mine: OwnTable = own_table(rows, own)
    fields = _known(later, PLACE)
    if mine.columns:
        inner = [column.combine_chunks() for column in mine.columns.values()]
        fields["columns"] = pa.chunked_array([pa.StructArray.from_arrays(inner, list(mine.columns))])
    structs = pa.StructArray.from_arrays([one.combine_chunks() for one in fields.values()], list(fields))
    counts = np.bincount(later["place"].to_numpy(), minlength=len(chosen))
    ends = np.concatenate(([0], np.cumsum(counts)))
    shown = [dict(zip(PLACE, row, strict=True)) for row in later.select(PLACE).iter_rows()]
    for number, one in enumerate(shown):
        if mine.printed:
            one["columns"] = {name: values[number] for name, values in mine.printed.items()}
    lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), structs)
    return lists, [shown[start:end] for start, end in pairwise(ends)], mine.as_text


def _notes(own: OwnRows, as_text: Sequence[str]) -> list[str]:
    notes = []
    if own.unread:
        names = ", ".join(sorted(own.unread)[:MOST_NAMED])
        more = f" and {len(own.unread) - MOST_NAMED} more" if len(own.unread) > MOST_NAMED else ""
        notes.append(
            f"rows exported without your own columns: {own.unread.total():,}. Tamis does not store these "
            f"columns, and the files that contained them were changed or removed or cannot be read "
            f"({names}{more}); run `tamis materialize`, then export again"
        )
    if as_text:
        notes.append(
            f"values in these columns are of several types, nested over {MOST_LEVELS} levels or of over "
            f"{MOST_FIELDS:,} fields, so parquet and hf store them as JSON text: {', '.join(as_text)}"
        )
    return notes
