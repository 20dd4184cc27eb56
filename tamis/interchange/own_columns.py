"""The columns of the user's own rows, as an export gives them back: with their types, as far as they agree.

Rows come from the table `kept_rows`. Those that were too long to be kept, and those of homes that were made
before rows were kept, are read again from their file, unless it has changed since.
"""

import base64
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.base.errors import TamisError
from tamis.base.nesting import on_own_stack, with_leaves
from tamis.corpus.documents import Reading, read_as
from tamis.corpus.kept_columns import TOO_LONG, Heading, is_json, native, read_heading
from tamis.corpus.records import WHOLE_SHARD
from tamis.corpus.refusing import without_texts
from tamis.corpus.shards import Shard
from tamis.corpus.small_files import group_of_files
from tamis.corpus.stage import KEPT_ROWS, RAW_STAGE
from tamis.graph.scan import scan_files
from tamis.project import Project
from tamis.records.current_values import read_current_values
from tamis.settings.references import named
from tamis.store.tables import one_of
from tamis.store.withdrawn import withdrawn_ids

Place = tuple[str, int]
"""(shard, row)."""
SHARDS_A_FILTER = 500
MOST_LEVELS = 20
"""`datasets` fails at 60, and DuckDB takes twice as long for each level of lists."""
MOST_FIELDS = 1_000
"""Objects with keys of their own would take memory for every key in every row."""


@dataclass(frozen=True, kw_only=True)
class OwnRows:
    """Columns of rows by place, headings by shard; `unread`: rows that could not be read again, by shard."""

    values: dict[Place, dict[str, Any]] = field(default_factory=dict)
    headings: dict[str, Heading] = field(default_factory=dict)
    unread: Counter[str] = field(default_factory=Counter)


def read_own_rows(project: Project, places: pl.DataFrame) -> OwnRows:
    """Return the user's columns of these places: doc_id, shard, row."""
    store, found = project.home.store, OwnRows()
    shards = places["shard"].unique().sort().to_list()
    for start in range(0, len(shards), SHARDS_A_FILTER):
        scope = f"row = {WHOLE_SHARD} AND {one_of('shard', shards[start : start + SHARDS_A_FILTER])}"
        rows = store.read(KEPT_ROWS.name, ["shard", "content"], scope).iter_rows()
        found.headings.update((shard, read_heading(content)) for shard, content in rows)
    wanted = set(places.select("shard", "row").iter_rows())
    small = {*group_of_files(store)["shard"]}  # files of one text, which have no other columns
    missing = {place for place in wanted if place[0] not in found.headings and place[0] not in small}
    doc_ids = places["doc_id"].unique().to_list()
    for block in store.by_ids(KEPT_ROWS.name, doc_ids, ["shard", "row", "content"]):
        for *place, content in zip(*(column.to_pylist() for column in block.columns), strict=True):
            if content == TOO_LONG:
                missing.add(tuple(place))
            else:
                found.values[tuple(place)] = on_own_stack(json.loads, content)
    _read_again(project, missing & wanted, found)
    return found


def _read_again(project: Project, missing: set[Place], found: OwnRows) -> None:
    """Read rows from their files; those of files that changed or left are counted."""
    rows_of: dict[str, set[int]] = {}
    for shard, row in missing:
        rows_of.setdefault(shard, set()).add(row)
    if not rows_of:
        return
    current = read_current_values(project.home.store)
    try:
        snapshot = scan_files(project)
    except (TamisError, OSError):  # of a corpus that cannot be listed no file can be read
        found.unread.update({shard: len(rows) for shard, rows in rows_of.items()})
        return
    for key, own in sorted(rows_of.items()):
        made = current.get((RAW_STAGE.name, key))
        if made is None or snapshot.fingerprints.get(key) != made.data_version:
            found.unread[key] = len(own)
            continue
        try:
            _read_file(snapshot.shards[key], project, own, found)
        except (TamisError, OSError):
            found.unread[key] = len(own)


def _read_file(shard: Shard, project: Project, wanted: set[int], found: OwnRows) -> None:
    section = named(project.settings.corpus, shard.corpus)
    gone = frozenset(withdrawn_ids(project.home.store))
    for batch in read_as(shard, section, Reading(kept_bytes=float("inf"))):
        if batch.heading is not None:
            found.headings[shard.key] = read_heading(batch.heading)
        kept = batch.documents.select("row", "content").drop_nulls("content")
        for row, content in kept.filter(pl.col("row").is_in(list(wanted))).iter_rows():
            found.values[shard.key, row] = without_texts(on_own_stack(json.loads, content), gone)


@dataclass(frozen=True, kw_only=True)
class OwnTable:
    """Columns of rows in an order; `printed`: their values as JSON, `as_text`: columns that are JSON text."""

    columns: dict[str, pa.ChunkedArray]
    printed: dict[str, list[Any]]
    as_text: list[str]


def own_table(rows: Sequence[tuple[Place, str]], own: OwnRows) -> OwnTable:
    """Return the user's columns of rows, each given by its place and its text.

    Where values of a column have no type in common (7 and "seven"), or one beyond `MOST_LEVELS` or
    `MOST_FIELDS`, it holds each as JSON text.
    """
    nothing = Heading()
    headings = [own.headings.get(shard, nothing) for (shard, _row), _text in rows]
    values = [
        heading.whole(own.values.get(place, {}), text)
        for (place, text), heading in zip(rows, headings, strict=True)
    ]
    names = list(dict.fromkeys(name for row in values for name in row))
    made = OwnTable(columns={}, printed={}, as_text=[])
    for name in names:
        column = [row.get(name) for row in values]
        types = [heading.types.get(name) for heading in headings]
        try:
            made.columns[name], made.printed[name] = _typed(column, types)
        except (pa.ArrowException, ValueError, TypeError, OverflowError, ArithmeticError):
            shown = [
                None if value is None else on_own_stack(json.dumps, value, ensure_ascii=False)
                for value in column
            ]
            made.columns[name], made.printed[name] = pa.chunked_array([pa.array(shown, pa.string())]), column
            made.as_text.append(name)
    return made


def _typed(values: Sequence[Any], types: Sequence[pa.DataType | None]) -> tuple[pa.ChunkedArray, list[Any]]:
    """Return values of one column as Arrow, and as JSON; raises what Arrow does where they do not fit."""
    groups: dict[pa.DataType | None, list[int]] = {}
    for place, kind in enumerate(types):
        groups.setdefault(kind, []).append(place)
    parts, printed = [], list(values)
    for stated, places in groups.items():
        own = [values[place] for place in places]
        kind = pa.infer_type(own) if stated is None else stated
        _require_storable(kind)
        if stated is not None:
            own = [native(value, kind) for value in own]
        part = _chunked(pa.array(own, type=kind))
        if stated is not None and not is_json(kind):
            for place, value in zip(places, part.to_pylist(), strict=True):
                printed[place] = value
        parts.append(part.cast(_exported(kind)))
    schemas = [pa.schema([("column", part.type)]) for part in parts]
    kind = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    _require_storable(kind)
    joined = pa.chunked_array([chunk for part in parts for chunk in part.cast(kind).chunks], type=kind)
    order = [place for places in groups.values() for place in places]
    return joined.take(pa.array(np.argsort(order))), printed


def _chunked(column: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])


def _require_storable(kind: pa.DataType) -> None:
    """Raise `pa.ArrowInvalid` for a type that Parquet cannot store, or that its readers cannot work with."""
    left, fields = [(kind, 0)], 0
    while left:
        one, level = left.pop()
        fields += one.num_fields
        if level > MOST_LEVELS or fields > MOST_FIELDS:
            raise pa.ArrowInvalid(f"nested over {MOST_LEVELS} levels, or with over {MOST_FIELDS} fields")
        if pa.types.is_struct(one) and not one.num_fields:
            raise pa.ArrowInvalid("Parquet cannot store a struct without fields")
        left += [(one.field(number).type, level + 1) for number in range(one.num_fields)]


def _exported(kind: pa.DataType) -> pa.DataType:
    """Return the type in which a column is exported.

    PyArrow cannot read lists of a fixed size where one is null, nor `datasets` a map. Every value may be
    null, since files may lack the column.
    """
    if pa.types.is_map(kind):
        pair = [("key", _exported(kind.key_type)), ("value", _exported(kind.item_type))]
        return pa.list_(pa.struct(pair))
    fields = map(kind.field, range(kind.num_fields))
    inner = [one.with_type(_exported(one.type)).with_nullable(True) for one in fields]
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(*inner)
    if pa.types.is_large_list(kind):
        return pa.large_list(*inner)
    return pa.struct(inner) if pa.types.is_struct(kind) else kind


def json_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield rows as JSON: times in ISO 8601, bytes in base 64, infinities and no numbers as null."""
    for row in rows:
        try:
            yield on_own_stack(json.dumps, row, ensure_ascii=False, allow_nan=False, default=_shown)
        except ValueError:
            plain = on_own_stack(json.loads, on_own_stack(json.dumps, row, default=_shown))
            yield on_own_stack(json.dumps, with_leaves(plain, _finite), ensure_ascii=False)


def _shown(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not abs(value) < float("inf") else value
