"""Text columns: where a row holds its text, and which columns of a file would hold one.

`text_column` of tamis.toml names a column, a field of a nested one by a dotted path, or several of these: a
row takes the first that holds a text. With "auto" each file decides by a sample of its rows, so the same
bytes give the same column. A column whose name is the path itself comes before the nested field.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tamis.readers.arrow_values import is_list, is_text, json_values, unencoded_type, unique_names
from tamis.settings.config import CorpusSection
from tamis.settings.sections import ANSWERS_TO_PROBLEMS, AUTO_COLUMN, COLUMN_OF_FORMAT, RowFormat

USUAL_NAMES = (
    "text",
    "content",
    "body",
    "document",
    "article",
    "passage",
    "abstract",
    "full_text",
    "raw_content",
    "page_content",
    "markdown",
)
"""Usual names of text columns, in order of preference; case does not matter."""
SAMPLE_ROWS, SAMPLE_CHARACTERS = 100, 4_000_000
LONG_TEXT = 40
"""Mean length of strings, in characters, from which a column of any name counts as one of texts."""
LEVELS, PATHS, CUT = 3, 1_000, 2_000
TURNS: Mapping[RowFormat, frozenset[str]] = {
    "messages": frozenset({"role", "content"}),
    "sharegpt": frozenset({"from", "value"}),
}
BESIDE: Mapping[RowFormat, frozenset[str]] = {"preference": frozenset({"prompt", "rejected"})}
"""Columns that a row is read with, though they may be lists of turns."""
PROBLEMS = ("problem", "question")
"""Columns of the problem in rows of problems, in order of preference."""
_OBJECTS, _KEYS = re.compile(r"\s*\[\s*\{"), re.compile(r'"(\w+)"\s*:')
Sample = dict[str, list[Any]]
"""Some values of each column of a file, without nulls; nested columns by path. A list may be empty."""
Fields = Mapping[str, pa.DataType]


@dataclass(frozen=True, kw_only=True, slots=True)
class TextPlace:
    """Place of a row's text: `name` as in tamis.toml, `keys` from the column inwards."""

    name: str
    keys: tuple[str, ...]

    @property
    def is_nested(self) -> bool:
        """Return whether the text is a field of a column."""
        return len(self.keys) > 1


def names_of(text_column: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the names and paths that a section states, in order; () for "auto"."""
    if isinstance(text_column, tuple):
        return text_column
    return () if text_column == AUTO_COLUMN else (text_column,)


def is_plain_name(text_column: str | tuple[str, ...]) -> bool:
    """Return whether each row has its text in the same column, by this name or path."""
    return isinstance(text_column, str) and text_column != AUTO_COLUMN and "." not in text_column


def usual_place(corpus: CorpusSection) -> TextPlace:
    """Return where the text is put of rows that are a text and nothing else."""
    name = next(iter(names_of(corpus.text_column)), COLUMN_OF_FORMAT.get(corpus.format, USUAL_NAMES[0]))
    return TextPlace(name=name, keys=(name,))


def find(values: Mapping[str, Any], path: str) -> tuple[tuple[str, ...], Any] | None:
    """Return keys and value of a column or nested field, None where a row has none; of a null column null."""
    if path in values:
        return (path,), values[path]
    null, dot = None, path.find(".")
    while dot >= 0:
        head, rest = path[:dot], path[dot + 1 :]
        inner = values.get(head)
        if isinstance(inner, Mapping) and (found := find(inner, rest)):
            return (head, *found[0]), found[1]
        if inner is None and head in values:
            null = (head, rest), None
        dot = path.find(".", dot + 1)
    return null


def columns_of_path(path: str) -> list[str]:
    """Return the names of the columns that a path may lead from, the shortest first."""
    parts = path.split(".")
    return [".".join(parts[:number]) for number in range(1, len(parts) + 1)]


def place_in(values: Mapping[str, Any], names: Sequence[str], form: RowFormat) -> TextPlace | None:
    """Return the first of the named places of a row that holds a text, else the first that the row has."""
    first = None
    for name in names:
        if (found := find(values, name)) is not None:
            place = TextPlace(name=name, keys=found[0])
            if holds(found[1], form):
                return place
            first = first or place
    return first


def holds(value: Any, form: RowFormat) -> bool:
    """Return whether a value is what a row's text, or its conversation, can be made of."""
    if form == "text":
        return isinstance(value, str) and bool(value) and not value.isspace()
    return value is not None and value != "" and value != []


def lifted(values: Mapping[str, Any], place: TextPlace) -> dict[str, Any]:
    """Return the values of a row with its nested text as a column by its path, and no longer in its place."""
    row = dict(values)
    inner = row
    for key in place.keys[:-1]:
        if inner[key] is None:
            return row | {place.name: None}
        inner[key] = dict(inner[key])
        inner = inner[key]
    return row | {place.name: inner.pop(place.keys[-1])}


def lowered(values: dict[str, Any], keys: Sequence[str], text: str) -> None:
    """Put a text back into the nested place that `lifted` took it from."""
    for key in keys[:-1]:
        if not isinstance(values.get(key), dict):
            values[key] = {}
        values = values[key]
    values[keys[-1]] = text


def sample_of(rows: Iterable[Mapping[str, Any]], most: int = SAMPLE_ROWS) -> Sample:
    """Return the values of the first rows by column, of nested objects by path, down to `LEVELS`."""
    sample: Sample = {}
    for _number, row in zip(range(most), rows, strict=False):
        left = [("", row)]
        while left:
            prefix, inner = left.pop(0)
            for key, value in inner.items():
                path = f"{prefix}{key}"
                if value is None or (path not in sample and len(sample) >= PATHS):
                    continue
                if isinstance(value, Mapping) and path.count(".") < LEVELS - 1:
                    left.append((f"{path}.", value))
                else:
                    sample.setdefault(path, []).append(value[:CUT] if isinstance(value, str) else value)
    return sample


def fitting(sample: Sample) -> list[str]:
    """Return the columns that hold texts, the best first, nested ones by path.

    Columns with a usual name and some words a row come first; then nested fields with such a name and columns
    of long strings: usual names, then the longest; at last columns with a usual name and single words.
    """
    found = []
    for path, values in sample.items():
        texts = [one for one in values if isinstance(one, str) and one.strip()]
        if not texts or 2 * len(texts) < len(values):
            continue
        spaced = 2 * sum(len(one.split(None, 1)) > 1 or not one.isascii() for one in texts) >= len(texts)
        length = sum(map(len, texts)) / len(texts)
        name = path.rsplit(".", 1)[-1].casefold()
        usual = USUAL_NAMES.index(name) if name in USUAL_NAMES else len(USUAL_NAMES)
        named, nested = usual < len(USUAL_NAMES), "." in path
        if named and spaced and not nested:
            found.append(((0, usual, 0.0, path), path))
        elif spaced and (length >= LONG_TEXT or named):
            found.append(((1, usual, -length, path), path))
        elif named and not nested:
            found.append(((2, usual, 0.0, path), path))
    return [path for _order, path in sorted(found)]


def conversations_in(sample: Sample) -> tuple[RowFormat, str] | None:
    """Return the format and the column of the conversations or instructions of a file; None without any."""
    if all(isinstance(_first(sample, name), str | list) for name in ("chosen", "rejected")):
        return "preference", COLUMN_OF_FORMAT["preference"]
    for path, values in sample.items():
        found = next(filter(None, map(_keys_of_turns, values)), frozenset())
        for form, keys in TURNS.items():
            if keys <= found:
                return form, path
    for form in TURNS:
        if isinstance(_first(sample, COLUMN_OF_FORMAT[form]), list):
            return form, COLUMN_OF_FORMAT[form]
    asked, answer = (_first(sample, name) for name in ("instruction", COLUMN_OF_FORMAT["alpaca"]))
    if isinstance(asked, str) and isinstance(answer, str):
        return "alpaca", COLUMN_OF_FORMAT["alpaca"]
    problems, answers = (
        [name for name in names if isinstance(_first(sample, name), str)]
        for names in (PROBLEMS, ANSWERS_TO_PROBLEMS)
    )
    return ("problem", answers[0]) if problems and answers else None


def _first(sample: Sample, column: str) -> Any:
    return next(iter(sample.get(column, ())), None)


def _keys_of_turns(value: Any) -> Set[str]:
    """Return the keys of the objects of a list, also of one that is JSON text, if only its beginning.

    A call of a tool, which may come first, has no text.
    """
    if isinstance(value, str) and _OBJECTS.match(value):
        return frozenset(_KEYS.findall(value))
    turns = value if isinstance(value, list) else []
    return frozenset(key for turn in turns if isinstance(turn, Mapping) for key in turn)


def chosen_by(sample: Sample, form: RowFormat) -> tuple[str, ...]:
    """Return the column that "auto" takes of a file, () where none holds texts, or conversations."""
    if form == "text":
        return tuple(fitting(sample)[:1])
    found = conversations_in(sample)
    return (found[1],) if found is not None and found[0] == form else ()


def advice(names: Sequence[str], sample: Sample, form: RowFormat = "text") -> str:
    """Return what to write into tamis.toml to read a file without the named columns, "" where none fits."""
    talk, fits = conversations_in(sample), fitting(sample) if form == "text" else []
    if talk is not None and talk[0] != form:
        column = "" if talk[1] == COLUMN_OF_FORMAT[talk[0]] else f" and text_column = {json.dumps(talk[1])}"
        return (
            f"{talk[1]!r} holds conversations: set format = {json.dumps(talk[0])}{column} in its section of "
            "tamis.toml, in a section of its own if other files differ"
        )
    if talk is not None:
        fits = [talk[1]]
    if not fits:
        return ""
    others = f" (others that would do: {', '.join(map(repr, fits[1:4]))})" if len(fits) > 1 else ""
    return (
        f"{fits[0]!r} holds {'texts' if form == 'text' else 'conversations'}: set {setting(names, fits[:1])} "
        f"in its section of tamis.toml{others}"
    )


def setting(names: Sequence[str], fits: Sequence[str]) -> str:
    """Return the line of tamis.toml that reads these columns, too."""
    columns = list(dict.fromkeys([*names, *fits]))
    return f"text_column = {json.dumps(columns if len(columns) > 1 else columns[0], ensure_ascii=False)}"


def places_in(schema: pa.Schema, corpus: CorpusSection, sample: Sample) -> list[TextPlace]:
    """Return the places of texts that a file has, in the order of tamis.toml; `sample`: where it decides."""
    names, fields = names_of(corpus.text_column) or chosen_by(sample, corpus.format), _tree(schema)
    found = ((name, find(fields, name)) for name in names)
    return [TextPlace(name=name, keys=place[0]) for name, place in found if place is not None]


def _tree(schema: pa.Schema | pa.DataType) -> dict[str, Any]:
    """Return the types of columns by name, of nested ones the same of their fields."""
    return {name: _tree(kind) if pa.types.is_struct(kind) else kind for name, kind in _fields(schema).items()}


def _fields(schema: pa.Schema | pa.DataType) -> Fields:
    return dict(zip(unique_names(schema), (field.type for field in schema), strict=True))


def type_of(schema: pa.Schema, keys: Iterable[str]) -> pa.DataType:
    """Return the type of a column, or of a nested field of it."""
    fields, kind = _fields(schema), pa.null()
    for key in keys:
        kind = fields[key]
        fields = _fields(kind) if pa.types.is_struct(kind) else {}
    return unencoded_type(kind)


def may_hold(kind: pa.DataType, form: RowFormat) -> bool:
    """Return whether values of a type may be texts, or conversations."""
    return pa.types.is_null(kind) or is_text(kind) or (form in {*TURNS, *BESIDE} and pa.types.is_nested(kind))


def nested(batch: pa.RecordBatch, keys: Iterable[str]) -> pa.Array:
    """Return a column of a batch, or a nested field of it: null where what it is a field of is null."""
    first, *others = keys
    column = batch.column(batch.schema.get_field_index(first))
    for key in others:
        column = pc.struct_field(column, unique_names(column.type).index(key))
    return column


def stored_path(schema: pa.Schema, keys: Iterable[str]) -> str:
    """Return the path of a column or nested field with the names of the file, which may repeat."""
    fields, names = schema, []
    for key in keys:
        field = fields.field(unique_names(fields).index(key))
        names.append(field.name)
        fields = field.type
    return ".".join(names)


def told_columns(schema: pa.Schema) -> list[tuple[str, ...]]:
    """Return the columns, and nested fields, that may hold texts or turns: from the column inwards."""
    return list(_told(_fields(schema), ()))


def _told(fields: Fields, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, kind in fields.items():
        kind = unencoded_type(kind)
        if pa.types.is_struct(kind) and len(above) + 1 < LEVELS:
            yield from _told(_fields(kind), (*above, name))
        elif is_text(kind) or _is_of_turns(kind):
            yield (*above, name)


def _is_of_turns(kind: pa.DataType) -> bool:
    inner = kind.value_type if is_list(kind) else pa.null()
    names = {field.name for field in inner} if pa.types.is_struct(inner) else set()
    return any(keys <= names for keys in TURNS.values())


def sample_of_batch(batch: pa.RecordBatch) -> Sample:
    """Return the values of the first rows of a batch, as `sample_of` does of objects."""
    values = {
        ".".join(keys): json_values(nested(batch.slice(0, SAMPLE_ROWS), keys))
        for keys in told_columns(batch.schema)
    }
    found = {path: [value for value in held if value is not None] for path, held in values.items()}
    return {path: held for path, held in found.items() if held}
