"""Rows of an exported subset: what Tamis knows of each document, and the columns of the user's own rows."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.base.numbers import counted
from tamis.interchange.json_lines import LOOKED_AT, arranged, clash, json_texts
from tamis.interchange.own_columns import Mixed, OwnRows, own_table, read_own_rows
from tamis.project import Project
from tamis.readers.arrow_values import FAR
from tamis.readers.kept_columns import FEATURES

COLUMNS = ("doc_id", "rank", "margin", "shard", "row", "source", "licence", "text")
COUNT = "training_count"
"""A column more where documents are in the training set several times."""
OTHERS = "other_origins"
PLACE = ("shard", "row", "source", "licence")
MOST_NAMED = 3
JSONL = "jsonl"
_What = TypeVar("_What")


@dataclass(frozen=True, kw_only=True)
class SubsetRows:
    """Rows as an Arrow table, and as JSON values by column where these differ (`printed`).

    `as_text`: columns of the table that are text since their values have no type in common, and
    `json_as_text` those that are JSON text in JSON, too, each with the values that differ. `nulled`: how many
    values are null in the table alone, by column. `unread`: rows without their own columns, by shard.
    `known`: columns that are not of the user's rows.
    """

    table: pa.Table
    printed: dict[str, list[Any]]
    as_text: Mapping[str, Mixed] = field(default_factory=dict)
    json_as_text: Mapping[str, Mixed] = field(default_factory=dict)
    nulled: Mapping[str, int] = field(default_factory=dict)
    unread: Counter[str] = field(default_factory=Counter)
    known: frozenset[str] = frozenset()

    @property
    def schema(self) -> pa.Schema:
        """The columns and their types."""
        return self.table.schema

    def select(self, columns: list[str]) -> "SubsetRows":
        """The same with these columns alone."""
        return replace(
            self,
            table=self.table.select(columns),
            as_text=_noted(self.as_text, columns),
            json_as_text=_noted(self.json_as_text, columns),
            nulled=_noted(self.nulled, columns),
        )

    def with_nulls(self, name: str) -> "SubsetRows":
        """The same with one more column, null in each row."""
        return replace(self, table=self.table.append_column(name, pa.nulls(len(self.table), pa.string())))

    @cached_property
    def columns(self) -> dict[str, list[Any]]:
        """The columns as JSON holds them."""
        names = self.table.column_names
        return {name: self.printed.get(name) or self.table[name].to_pylist() for name in names}

    @cached_property
    def _arranged(self) -> tuple[list[int], int]:
        return arranged(self.columns)

    def objects(self) -> Iterator[dict[str, Any]]:
        """The rows as objects, of values that JSON holds, in the order in which `arranged` puts them."""
        order, moved = self._arranged
        rows = zip(*self.columns.values(), strict=True)
        found = [*rows] if moved else rows
        placed = (found[place] for place in order) if isinstance(found, list) else found
        return (dict(zip(self.columns, row, strict=True)) for row in placed)

    def notes(self, form: str) -> list[str]:
        """What to know of the rows in a file of this form, a line each."""
        notes: list[str] = []
        if self.unread:
            names = ", ".join(sorted(self.unread)[:MOST_NAMED])
            more = f" and {len(self.unread) - MOST_NAMED} more" if len(self.unread) > MOST_NAMED else ""
            notes.append(
                f"rows exported without your own columns: {self.unread.total():,}. Tamis does not store "
                "these columns, and the files that contained them were changed or removed or cannot be read "
                f"({names}{more}); run `tamis materialize`, then export again"
            )
        if form == JSONL:
            notes += [
                f"column {name}: {mixed.why}, so jsonl stores its values as JSON text"
                for name, mixed in self.json_as_text.items()
            ]
            return notes + self._moved_notes()
        notes += [
            f"column {name}: {mixed.why}, so parquet and hf store its values as "
            f"{'text' if mixed.all_texts else 'JSON text'}"
            for name, mixed in self.as_text.items()
        ]
        return notes + [
            f"column {name}: {counted(count, 'value')} {FAR}, so null in parquet and hf, but text in jsonl"
            for name, count in self.nulled.items()
        ]

    def _moved_notes(self) -> list[str]:
        if not (moved := self._arranged[1]):
            return []
        order = "the column rank has" if "rank" in self.columns else "--columns rank adds"
        return [
            f"{counted(moved, 'row')} from further down stand among the first {LOOKED_AT}, so that tools "
            f"which infer types from these see every kind of value; {order} the order"
        ]


def _noted(notes: Mapping[str, _What], columns: Sequence[str]) -> dict[str, _What]:
    """Return the notes on these columns, and on columns within them."""
    return {
        name: what
        for name, what in notes.items()
        if name in columns or (name.startswith(f"{OTHERS}.") and OTHERS in columns)
    }


def subset_rows(project: Project, chosen: pl.DataFrame, places: pl.DataFrame) -> SubsetRows:
    """Return the rows of chosen documents, in their order.

    `chosen`: columns as in `COLUMNS`, and maybe more that Tamis has. `places`: all places of these, by shard
    and row; a document has the columns of the first at the top, those of the others in `other_origins`.
    """
    own = read_own_rows(project, places)
    texts = dict(chosen.select("doc_id", "text").iter_rows())
    first = [((shard, row), text) for shard, row, text in chosen.select("shard", "row", "text").iter_rows()]
    mine = own_table(first, own)
    known = [*COLUMNS, *(name for name in chosen.columns if name not in COLUMNS)]
    top = {name: pa.chunked_array(column) for name, column in _known(chosen, known).items()}
    printed: dict[str, list[Any]] = {}
    called: dict[str, str] = {}
    for name, values in mine.columns.items():
        new = name
        if name in (*known, COUNT, OTHERS):  # the count also where this selection repeats nothing
            if name in top and _repeats(mine.printed[name], top[name]):
                continue
            new = f"original_{name}"
        while new in top:
            new = f"original_{new}"
        called[name] = new
        top[new], printed[new] = values, mine.printed[name]
    others = _others(chosen, places, own, texts)
    top[OTHERS], printed[OTHERS] = others.lists, others.printed
    table = pa.table(top)
    if features := {called[name]: stated for name, stated in mine.features.items() if name in called}:
        table = table.replace_schema_metadata({FEATURES: json.dumps({"info": {"features": features}})})
    clashing = {called[name]: why for name, why in mine.as_text.items() if clash(mine.printed.get(name, ()))}
    printed |= {name: json_texts(printed[name]) for name in clashing}
    return SubsetRows(
        table=table,
        printed=printed,
        as_text={called.get(name, name): why for name, why in mine.as_text.items()} | others.as_text,
        json_as_text=clashing | others.json_as_text,
        nulled={called.get(name, name): count for name, count in mine.nulled.items()} | others.nulled,
        unread=own.unread,
        known=frozenset([*known, OTHERS]),
    )


def _known(frame: pl.DataFrame, columns: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    table = frame.select(columns).to_arrow(compat_level=pl.CompatLevel.oldest())
    return {name: table[name] for name in columns}


def _repeats(own: Sequence[Any], known: pa.ChunkedArray) -> bool:
    """Whether a column of the user says what Tamis says under its name, wherever it says anything."""
    return all(one is None or one == other for one, other in zip(own, known.to_pylist(), strict=True))


@dataclass(frozen=True, kw_only=True)
class _Others:
    """The places of each document but its first, as Arrow and as JSON; columns that are text, as above."""

    lists: pa.Array
    printed: list[list[dict[str, Any]]]
    as_text: dict[str, Mixed]
    json_as_text: dict[str, Mixed]
    nulled: dict[str, int]


def _others(chosen: pl.DataFrame, places: pl.DataFrame, own: OwnRows, texts: dict[str, str]) -> _Others:
    order = chosen.select("doc_id", pl.int_range(pl.len()).alias("place"))
    later = places.filter(~places["doc_id"].is_first_distinct())
    later = later.join(order, on="doc_id").sort("place", "shard", "row")
    named = later.select("doc_id", "shard", "row").iter_rows()
    mine = own_table([((shard, row), texts[doc_id]) for doc_id, shard, row in named], own)
    fields = _known(later, PLACE)
    if mine.columns:
        inner = [column.combine_chunks() for column in mine.columns.values()]
        fields["columns"] = pa.chunked_array([pa.StructArray.from_arrays(inner, list(mine.columns))])
    structs = pa.StructArray.from_arrays([one.combine_chunks() for one in fields.values()], list(fields))
    counts = np.bincount(later["place"].to_numpy(), minlength=len(chosen))
    ends = np.concatenate(([0], np.cumsum(counts)))
    shown = [dict(zip(PLACE, row, strict=True)) for row in later.select(PLACE).iter_rows()]
    clashing = {name for name in mine.as_text if clash(mine.printed[name])}
    printed = {
        name: json_texts(values) if name in clashing else values for name, values in mine.printed.items()
    }
    for number, one in enumerate(shown if printed else ()):
        one["columns"] = {name: values[number] for name, values in printed.items()}
    return _Others(
        lists=pa.ListArray.from_arrays(pa.array(ends, pa.int32()), structs),
        printed=[shown[start:end] for start, end in pairwise(ends)],
        as_text={f"{OTHERS}.{name}": why for name, why in mine.as_text.items()},
        json_as_text={f"{OTHERS}.{name}": mine.as_text[name] for name in sorted(clashing)},
        nulled={f"{OTHERS}.{name}": count for name, count in mine.nulled.items()},
    )
