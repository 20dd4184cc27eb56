"""Rows of JSON: a line each, the elements of one value, or a list or table inside one object."""

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import Any

from tamis.base.nesting import with_leaves
from tamis.base.numbers import counted
from tamis.readers.rows import (
    RETURNS_ALONE,
    UNKNOWN,
    WHOLE_SHARD,
    Defect,
    Item,
    Note,
    Reason,
    Row,
    broken_stream,
    giant_row,
    malformed,
    wrong_encoding,
)
from tamis.readers.streams import Content, Line
from tamis.readers.text import UNDECODED_BYTES, excerpt
from tamis.readers.text_columns import (
    chosen_by,
    conversations_in,
    find,
    fitting,
    holds,
    names_of,
    sample_of,
    usual_place,
)
from tamis.settings.config import CorpusSection

INFINITY = float("inf")
TOO_LARGE = "too large for any float, so null"
NUL = b"\0"
LEFT_BY_A_CRASH = (
    "which a crash or a full disk leaves where rows were to be written; copy or write the file again"
)
AS_ROWS = "write one object a line instead, and name the file .jsonl"
WINDOW_CHARACTERS = 1 << 18
_SPACE = re.compile(r"[\s,\ufeff]*")
_NEXT_OBJECT = re.compile(r"\}\s*,?\s*(?=\{)")
_INDENTED = re.compile(rb'(\xef\xbb\xbf)?\s*(\[\s*\n\s*[{"]|\{\s*\n\s*")')
"""The beginning of a value over several lines, as `json.dump(..., indent=2)` writes it."""


class _Stated(float):
    """Infinity, or no number, that a file states by name."""


class Reader:
    """Reads JSON values one after the other; what was noticed of the last one is in its attributes.

    Attributes: `twice` (a key that an object names twice, or None), `too_large` (keys of the outermost object
    whose numbers are beyond all floats, and null: each as often as it has such numbers).
    """

    def __init__(self) -> None:
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object, parse_constant=_Stated)
        self._reset()

    def read(self, text: str) -> Any:
        """Return the value of a text; raises `ValueError` and `RecursionError` as `json.loads`."""
        self._reset()
        return self._finite(self._decoder.decode(text))

    def read_from(self, text: str, place: int) -> tuple[Any, int]:
        """Return the value that begins at a place, and where it ends; raises as `read`."""
        self._reset()
        value, end = self._decoder.raw_decode(text, place)
        return self._finite(value), end

    def problem(self) -> str:
        """Return what makes a row of the last value unusable, "" if nothing does."""
        return "" if self.twice is None else f"an object has the key {self.twice!r} twice; remove all but one"

    def _reset(self) -> None:
        self.twice: str | None = None
        self.too_large: list[str] = []
        self._is_infinite = False

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            self.twice = Counter(name for name, _value in pairs).most_common(1)[0][0]
        for _name, value in pairs:
            kind = type(value)
            if (kind is float and (value == INFINITY or value == -INFINITY)) or (
                kind is list and _holds_infinity(value)
            ):
                self._is_infinite = True
        return found

    def _finite(self, value: Any) -> Any:
        """Return a value, with null for numbers that only their digits make infinite."""
        if not self._is_infinite:
            return value
        if not isinstance(value, dict):
            return with_leaves(value, partial(self._held, ""))
        return {name: with_leaves(inner, partial(self._held, name)) for name, inner in value.items()}

    def _held(self, name: str, value: Any) -> Any:
        if type(value) is not float or abs(value) != INFINITY:
            return value
        self.too_large.append(name)
        return None


def _holds_infinity(values: list[Any]) -> bool:
    """Return whether a list, or a list of lists, has an infinite number."""
    if values and type(values[0]) is list:
        return any(type(inner) is list and _holds_infinity(inner) for inner in values)
    return INFINITY in values or -INFINITY in values


def wrapped_or_rows(items: Iterable[Item], corpus: CorpusSection) -> Iterator[Item]:
    """Yield the items, or the defect of a file that has its rows inside its only one."""
    left = iter(items)
    first = [*islice(left, 2)]
    if len(first) == 1 and isinstance(first[0], Row):
        yield _defect(first[0].values, corpus) or first[0]
    else:
        yield from chain(first, left)


def _defect(values: Mapping[str, Any], corpus: CorpusSection) -> Defect | None:
    sample = sample_of([values])
    for name in names_of(corpus.text_column) or chosen_by(sample, corpus.format):
        place = find(values, name)
        if place is not None and holds(place[1], corpus.format) and not isinstance(place[1], Mapping):
            return None
    if rows := _rows_of_table(values):
        detail = f"the file is one object that holds a table by column or by index; {AS_ROWS}"
    elif conversations_in(sample) or fitting(sample):
        return None  # these columns are advised
    else:
        lists = {name: len(value) for name, value in values.items() if _are_objects(value)}
        if not lists:
            return None
        name, rows = max(lists.items(), key=lambda item: item[1])
        detail = f"the file is one object, and its rows are the list {name!r} in it; {AS_ROWS}"
    return Defect(row=WHOLE_SHARD, reason=Reason.MALFORMED_FILE, detail=detail, rows=rows)


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(one, Mapping) for one in value)


def _rows_of_table(values: Mapping[str, Any]) -> int:
    """Return the number of rows of a table that pandas, say, wrote as one object; 0 of other objects."""
    if values.keys() == {"columns", "index", "data"} and isinstance(values["data"], list):
        return len(values["data"])
    columns = [*values.values()]
    if len(columns) > 1 and _are_numbers(values) and all(isinstance(one, Mapping) for one in columns):
        return len(columns)
    if not all(isinstance(one, list) or (isinstance(one, Mapping) and _are_numbers(one)) for one in columns):
        return 0
    sizes = {len(one) for one in columns}
    return max(sizes) if len(sizes) == 1 and max(sizes) > 1 and not any(map(_are_objects, columns)) else 0


def _are_numbers(values: Mapping[str, Any]) -> bool:
    return all(name.isdecimal() for name in values)


def read_json_lines(content: Content, corpus: CorpusSection) -> Iterator[Item]:
    """A row per line; blank lines are counted and skipped. Values over several lines are rows of `.json`."""
    if _INDENTED.match(content.head):
        return read_json(content, corpus)
    return wrapped_or_rows(_lines(content, corpus), corpus)


def _lines(content: Content, corpus: CorpusSection) -> Iterator[Item]:
    row, rest, reader = 0, b"", Reader()
    for line in content.lines(corpus.maximum_row_bytes):
        item = _parsed_line(row, line, corpus, reader)
        if isinstance(item, Defect) and content.broken and not line.ended:
            rest = line.content
            break
        if item is not None:
            yield item
        row += 1
    if content.broken:
        yield broken_stream(row, content.broken, rest)


def _parsed_line(row: int, line: Line, corpus: CorpusSection, reader: Reader) -> Item | None:
    if line.giant:
        return _of_returns(row, line) or giant_row(row, corpus.maximum_row_bytes, line.content)
    if not line.content.strip():
        return None
    try:
        return _as_row(row, reader.read(line.content.decode("utf-8")), line.content, reader)
    except UnicodeDecodeError as error:
        return wrong_encoding(row, str(error), line.content)
    except (ValueError, RecursionError) as error:
        if line.content.endswith(NUL):
            return _before_nuls(row, line, corpus, reader)
        return _of_returns(row, line) or malformed(row, str(error), line.content)


def _before_nuls(row: int, line: Line, corpus: CorpusSection, reader: Reader) -> Item:
    """Return the row before the NUL bytes at the end of a line, or a defect that names them."""
    before = line.content.rstrip(NUL)
    item = _parsed_line(row, line._replace(content=before), corpus, reader)
    if isinstance(item, Row):
        return item
    nuls = counted(len(line.content) - len(before), "NUL byte")
    held = "the line holds nothing but" if item is None else f"{item.detail}; the line ends in"
    return malformed(row, f"{held} {nuls}, {LEFT_BY_A_CRASH}", line.content)


def _of_returns(row: int, line: Line) -> Defect | None:
    """Return the defect of a line that holds rows which end in carriage returns; None of any other."""
    rows = sum(part.lstrip().startswith(b"{") for part in line.content.split(b"\r"))
    if rows < 2:
        return None
    found = malformed(row, RETURNS_ALONE, line.content)
    is_file = line.giant and row == 0  # of which this is the beginning
    return replace(found, row=WHOLE_SHARD, rows=UNKNOWN) if is_file else replace(found, rows=rows)


def _as_row(row: int, value: Any, raw: bytes | str, reader: Reader) -> Item:
    if problem := reader.problem():
        return malformed(row, problem, raw)
    if isinstance(value, dict):
        return Row(
            row=row,
            values=value,
            notes=tuple(Note(column=name, problem=TOO_LARGE) for name in reader.too_large),
        )
    found = "null" if value is None else type(value).__name__
    cure = "; if the whole file is one array, name it .json" if isinstance(value, list) else ""
    return malformed(row, f"a JSON object is expected, found {found}{cure}", raw)


def read_json(content: Content, corpus: CorpusSection) -> Iterator[Item]:
    """A row per element of an array of objects or of texts, or one row for a single object."""
    return wrapped_or_rows(_elements(content, corpus), corpus)


def _elements(content: Content, corpus: CorpusSection) -> Iterator[Item]:
    window = _Window(content, corpus.maximum_row_bytes)
    window.skip(_SPACE)
    in_array = window.take("[")
    row = 0
    while not window.at_end(in_array):
        item = window.element(row, corpus)
        if item is None:
            break
        yield item
        row += 1
    if content.broken:
        yield broken_stream(row, content.broken, window.rest())


class _Window:
    """The part of a JSON file in memory: grows until an element parses, drops what is behind."""

    def __init__(self, content: Content, limit: int) -> None:
        self._content, self._limit, self._reader = content, limit, Reader()
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._text, self._position, self.exhausted = "", 0, False

    def rest(self) -> str:
        return self._text[self._position :]

    def take(self, token: str) -> bool:
        if self._text.startswith(token, self._position):
            self._position += len(token)
            return True
        return False

    def skip(self, pattern: re.Pattern[str]) -> None:
        """Go to the first character that the pattern does not match."""
        while True:
            match = pattern.match(self._text, self._position)
            self._position = match.end() if match else self._position
            if self._position < len(self._text) or self.exhausted:
                return
            self._grow()

    def at_end(self, in_array: bool) -> bool:
        """Return whether no element follows."""
        self.skip(_SPACE)
        while in_array and self.take("]"):
            self.skip(_SPACE)
            if self.take("["):  # of another file, which was put behind the first
                self.skip(_SPACE)
        return self.exhausted and self._position >= len(self._text)

    def element(self, row: int, corpus: CorpusSection) -> Item | None:
        """The next element, or None where a broken file ends within one.

        An element that does not parse is skipped up to the next object.
        """
        while True:
            try:
                value, end = self._reader.read_from(self._text, self._position)
            except (ValueError, RecursionError) as error:
                if self.exhausted or len(self._text) - self._position > self._limit:
                    return self._broken(row, str(error), corpus)
            else:
                if end < len(self._text) or self.exhausted:
                    return self._whole(row, value, end, corpus)
            self._grow()

    def _whole(self, row: int, value: Any, end: int, corpus: CorpusSection) -> Item:
        raw, self._position = self._text[self._position : end], end
        if len(raw) > self._limit:
            return giant_row(row, corpus.maximum_row_bytes, raw)
        if UNDECODED_BYTES.search(raw):
            return wrong_encoding(row, "", raw)
        if isinstance(value, str):
            return Row(row=row, values={usual_place(corpus).name: value})
        return _as_row(row, value, raw, self._reader)

    def _broken(self, row: int, problem: str, corpus: CorpusSection) -> Defect | None:
        head, size = excerpt(self.rest()), 0
        while not (match := _NEXT_OBJECT.search(self._text, self._position)) and not self.exhausted:
            size += len(self._text) - self._position
            self._position = max(self._position, len(self._text) - 1)
            self._grow()
        if match is None and self._content.broken:
            return None
        size += (match.start() if match else len(self._text)) - self._position
        self._position = match.end() if match else len(self._text)
        return (
            giant_row(row, corpus.maximum_row_bytes, head)
            if size > self._limit
            else malformed(row, problem, head)
        )

    def _grow(self) -> None:
        """Read as much again as is held, so that parsing again costs no more than twice the text."""
        held = self._text[self._position :]
        block = self._content.stream.read(max(WINDOW_CHARACTERS, len(held)))
        self.exhausted = not block
        self._text, self._position = held + self._decode(block, final=self.exhausted), 0
