"""The columns of the user's own rows, as an export gives them back: with their types, as far as they agree.

Rows come from the table `kept_rows`. Those that were too long to be kept, and those of homes that were made
before rows were kept, are read again from their file, unless it has changed since.
"""

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.base.errors import TamisError
from tamis.base.nesting import on_own_stack, with_leaves
from tamis.corpus.documents import Reading, read_as
from tamis.corpus.refusing import without_texts
from tamis.corpus.shards import Shard
from tamis.corpus.small_files import group_of_files
from tamis.corpus.stage import KEPT_ROWS, RAW_STAGE
from tamis.interchange.json_lines import FLOAT, INTEGER, NUMBER, as_json_text, json_texts, kinds_of
from tamis.passages.places import documents_of
from tamis.project import Project
from tamis.readers.arrow_values import FAR, is_json, is_known_zone, native, shown_values
from tamis.readers.kept_columns import TOO_LONG, Heading, read_heading
from tamis.readers.rows import WHOLE_SHARD
from tamis.records.current_values import read_current_values
from tamis.scan.sources import scan_files
from tamis.settings.references import named
from tamis.store.tables import one_of
from tamis.store.withdrawn import withdrawn_ids
from tamis.tokens.splitting import cutter_of

Place = tuple[str, int]
"""(shard, row)."""
SHARDS_A_FILTER = 500
MOST_LEVELS = 20
"""`datasets` fails at 60, and DuckDB takes twice as long for each level of lists."""
MOST_FIELDS = 1_000
"""Objects with keys of their own would take memory for every key in every row."""
MOST_DIGITS = 38
SHOWN_CHARACTERS = 40
"""Of a value that a note shows."""
_NO_TYPE = (pa.ArrowException, ValueError, TypeError, OverflowError, ArithmeticError, LookupError)


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
    doc_ids = documents_of(store, places["doc_id"]).to_list()
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
    cutter = cutter_of(project, section, project.home.cache / "tokenizers")
    for batch in read_as(shard, section, Reading(kept_bytes=float("inf"), cutter=cutter)):
        if batch.heading is not None:
            found.headings[shard.key] = read_heading(batch.heading)
        kept = batch.documents.select("row", "content").drop_nulls("content")
        for row, content in kept.filter(pl.col("row").is_in(list(wanted))).iter_rows():
            found.values[shard.key, row] = without_texts(on_own_stack(json.loads, content), gone)


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """Why values of a column have no type in common; `all_texts`: all are texts, as times are with texts."""

    why: str
    all_texts: bool


@dataclass(frozen=True, kw_only=True)
class OwnTable:
    """Columns of rows in an order; `printed`: their values as JSON holds them, times in ISO 8601.

    `as_text`: columns that are text since their values have no type in common, with the values that differ.
    `nulled`: how many values are null in `columns` alone, since few tools hold them, by column. `features`:
    what `datasets` states of columns, where all files that have them agree.
    """

    columns: dict[str, pa.ChunkedArray] = field(default_factory=dict)
    printed: dict[str, list[Any]] = field(default_factory=dict)
    as_text: dict[str, Mixed] = field(default_factory=dict)
    nulled: dict[str, int] = field(default_factory=dict)
    features: dict[str, Any] = field(default_factory=dict)


def own_table(rows: Sequence[tuple[Place, str]], own: OwnRows) -> OwnTable:
    """Return the user's columns of rows, each given by its place and its text.

    Where values of a column have no type in common (7 and "seven"), or one beyond `MOST_LEVELS` or
    `MOST_FIELDS`, it holds each as JSON text; times and texts are text together.
    """
    nothing = Heading()
    headings = [own.headings.get(shard, nothing) for (shard, _row), _text in rows]
    values = [
        heading.whole(own.values.get(place, {}), text)
        for (place, text), heading in zip(rows, headings, strict=True)
    ]
    made = OwnTable(features=_features(values, headings))
    shards = [shard for (shard, _row), _text in rows]
    for name in dict.fromkeys(name for row in values for name in row):
        parts = _parts([row.get(name) for row in values], [heading.types.get(name) for heading in headings])
        printed: list[Any] = [None] * len(rows)
        for part in parts:
            for number, value in zip(part.places, part.shown, strict=True):
                printed[number] = value
        try:
            column = _joined(parts)
            if nulled := sum(part.nulled for part in parts):
                made.nulled[name] = nulled
            printed = column.to_pylist() if pa.types.is_floating(column.type) else printed
        except _NO_TYPE as error:
            types = {place: part.kind for part in parts for place in part.places}
            why = (
                _difference(printed, types, shards)
                or _too_large(printed, shards)
                or str(error).partition("\n")[0]
            )
            all_texts = all(value is None or isinstance(value, str) for value in printed)
            made.as_text[name] = Mixed(why=why, all_texts=all_texts)
            column = _chunked(pa.array(printed if all_texts else json_texts(printed), pa.string()))
        made.columns[name], made.printed[name] = column, printed
    return made


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The values of a column in files that state the same type: their places, and how they are printed."""

    kind: pa.DataType | None
    places: list[int]
    values: pa.ChunkedArray | None
    shown: list[Any]
    nulled: int = 0


def _parts(values: Sequence[Any], types: Sequence[pa.DataType | None]) -> list[_Part]:
    groups: dict[pa.DataType | None, list[int]] = {}
    for place, kind in enumerate(types):
        groups.setdefault(kind, []).append(place)
    return [_part(kind, places, [values[place] for place in places]) for kind, places in groups.items()]


def _part(kind: pa.DataType | None, places: list[int], own: list[Any]) -> _Part:
    if kind is None:
        return _Part(kind=None, places=places, values=None, shown=own)
    odd = Counter[str]()
    try:
        made = _chunked(pa.array([native(value, kind) for value in own], type=kind))
        shown = own if is_json(kind) else [one for chunk in made.chunks for one in shown_values(chunk, odd)]
        if odd[FAR]:
            made = _chunked(pa.array([native(value, kind, held=True) for value in own], type=kind))
    except _NO_TYPE:  # the file said otherwise when its rows were kept
        return _Part(kind=kind, places=places, values=None, shown=own)
    return _Part(kind=kind, places=places, values=made, shown=shown, nulled=odd[FAR])


def _joined(parts: Sequence[_Part]) -> pa.ChunkedArray:
    """Return one column of all parts, in their order; raises what Arrow does where they have no type."""
    columns = []
    for part in parts:
        if part.kind is not None and part.values is None:
            raise pa.ArrowInvalid(f"values that are no {part.kind}")
        made = part.values
        if made is None or pa.types.is_interval(made.type):  # few tools know intervals
            made = _chunked(pa.array(part.shown, pa.infer_type(part.shown)))
        _require_storable(made.type)
        columns.append(made.cast(_exported(made.type)))
    schemas = [pa.schema([("column", column.type)]) for column in columns]
    kind = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    _require_storable(kind)
    joined = pa.chunked_array([chunk for one in columns for chunk in one.cast(kind).chunks], type=kind)
    order = [place for part in parts for place in part.places]
    return joined.take(pa.array(np.argsort(order)))


def _difference(
    values: Sequence[Any], types: Mapping[int, pa.DataType | None], shards: Sequence[str]
) -> str | None:
    """Say which two values of a column differ in kind, and where they are; None where no two do."""

    def shown(place: int, value: Any) -> str:
        kind = types[place]
        stated = "" if kind is None or is_json(kind) or pa.types.is_nested(kind) else f" ({kind})"
        return f"{_cut(value)}{stated} in {shards[place]}"

    first: dict[str, tuple[str, int, Any]] = {}
    for place, value in enumerate(values):
        kind = types[place]
        for path, form, leaf in kinds_of(value):
            stated = str(kind) if not path and kind is not None and not is_json(kind) else ""
            coarse = f"{NUMBER if form in (INTEGER, FLOAT) else form}{stated}"
            known = first.setdefault(path, (coarse, place, leaf))
            if known[0] != coarse:
                where = f"{path}: " if path else ""
                return f"{where}{shown(*known[1:])} and {shown(place, leaf)}"
    return None


def _too_large(values: Sequence[Any], shards: Sequence[str]) -> str | None:
    """Say which integer of a column is beyond int64, and where; None where none is."""
    for place, value in enumerate(values):
        found: list[int] = []
        with_leaves(value, partial(_keep_large, found))
        if found:
            return f"{_cut(found[0])} in {shards[place]} is too large for int64"
    return None


def _keep_large(found: list[int], leaf: Any) -> None:
    if type(leaf) is int and not -(1 << 63) <= leaf < 1 << 63:
        found.append(leaf)


def _cut(value: Any) -> str:
    printed = as_json_text(value)
    return printed if len(printed) <= SHOWN_CHARACTERS else f"{printed[: SHOWN_CHARACTERS - 1]}…"


def _features(values: Sequence[Mapping[str, Any]], headings: Sequence[Heading]) -> dict[str, Any]:
    """Return what `datasets` states of columns that all files say the same of, if it is more than a type."""
    having: dict[str, dict[int, Heading]] = {}
    for row, heading in zip(values, headings, strict=True):
        for name in row:
            having.setdefault(name, {})[id(heading)] = heading
    agreed = {}
    for name, found in having.items():
        stated = [heading.features.get(name) for heading in found.values()]
        if stated[0] is not None and all(one == stated[0] for one in stated):
            agreed[name] = stated[0]
    return agreed if any(_is_more_than_a_type(one) for one in agreed.values()) else {}


def _is_more_than_a_type(feature: Any) -> bool:
    if isinstance(feature, list):
        return any(map(_is_more_than_a_type, feature))
    if not isinstance(feature, dict):
        return False
    named = feature.get("_type") not in (None, "Value", "List", "LargeList", "Sequence")
    return named or any(map(_is_more_than_a_type, feature.values()))


def _chunked(column: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])


def _require_storable(kind: pa.DataType) -> None:
    """Raise `pa.ArrowInvalid` for a type that Parquet cannot store, or that its readers cannot work with."""
    left, fields = [(kind, 0)], 0
    while left:
        one, level = left.pop()
        fields += one.num_fields
        if level > MOST_LEVELS or fields > MOST_FIELDS:
            raise pa.ArrowInvalid(f"nested over {MOST_LEVELS} levels, or with over {MOST_FIELDS:,} fields")
        if pa.types.is_struct(one) and not one.num_fields:
            raise pa.ArrowInvalid("Parquet cannot store a struct without fields")
        left += [(one.field(number).type, level + 1) for number in range(one.num_fields)]
    pq.write_table(pa.schema([("column", _exported(kind))]).empty_table(), io.BytesIO())


def _exported(kind: pa.DataType) -> pa.DataType:
    """Return the type in which a column is exported.

    PyArrow cannot read lists of a fixed size where one is null, nor `datasets` a map, nor polars a time zone
    that it does not know or decimals of over 38 digits. Every value may be null, since files may lack the
    column.
    """
    if pa.types.is_timestamp(kind):
        unit = "ms" if kind.unit == "s" else kind.unit  # Parquet has no seconds
        return pa.timestamp(unit, kind.tz if is_known_zone(kind.tz) else "UTC")
    if pa.types.is_decimal(kind):
        return pa.decimal128(min(kind.precision, MOST_DIGITS), kind.scale)
    if pa.types.is_map(kind):
        return pa.list_(pa.struct([("key", _exported(kind.key_type)), ("value", _exported(kind.item_type))]))
    fields = map(kind.field, range(kind.num_fields))
    inner = [one.with_type(_exported(one.type)).with_nullable(True) for one in fields]
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(*inner)
    if pa.types.is_large_list(kind):
        return pa.large_list(*inner)
    return pa.struct(inner) if pa.types.is_struct(kind) else kind
