"""Quotation marks in lines of fields: which of them quote, and which are letters.

CSV quotes a field that holds a delimiter, a quotation mark or a line break; in TSV a quotation mark is a
letter like others, unless the file was written by CSV's rules. A mark too many makes one field of all lines
down to the next mark, so lines that are rows by themselves are never put together.
"""

import re
from collections.abc import Sequence
from functools import cache

QUOTE = '"'
_DIGIT = re.compile(r"\d|://")
WORDS, NUMBER = "words", "number"
LINES_WITHOUT_NUMBERS = 3
"""Lines that look like rows or like prose, without a column of numbers, dates or ids to tell by."""


@cache
def _quoted(delimiter: str) -> re.Pattern[str]:
    return re.compile(rf'"([^"]*(?:""[^"]*)*)"(?={re.escape(delimiter)}|$)', re.DOTALL)


_HELD = re.compile(r'[^"]*(?:""[^"]*)*')
_OPEN = re.compile(r'"[^"]*(?:""[^"]*)*\Z', re.DOTALL)


def split_fields(text: str, delimiter: str, every: bool) -> tuple[list[str], bool]:
    """Return the fields of a record, and whether its last quotation mark at the start of a field stays open.

    `every`: each field in quotation marks is quoted, as in CSV; else those alone that hold what needs it.
    Other quotation marks are letters.
    """
    fields, place, is_open = [], 0, False
    while True:
        if text.startswith(QUOTE, place) and (match := _quoted(delimiter).match(text, place)):
            held, end = match.group(1), match.end()
            needed = every or delimiter in held or "\n" in held or '""' in held
            fields.append(held.replace('""', QUOTE) if needed else match.group())
        else:
            is_open = is_open or bool(text.startswith(QUOTE, place) and _OPEN.match(text, place))
            end = text.find(delimiter, place)
            end = len(text) if end < 0 else end
            fields.append(text[place:end])
        if end == len(text):
            return fields, is_open
        place = end + 1


def ends(line: str, delimiter: str) -> bool:
    """Return whether a quoted field that began above ends in a line."""
    place = _HELD.match(line).end()  # type: ignore[union-attr]
    return place < len(line) and line[place + 1 : place + 2] in ("", delimiter)


def goes_on(line: str, delimiter: str) -> bool:
    """Return whether a quoted field that began above may go on, or end, in a line: no mark in it is alone."""
    return _HELD.match(line).end() == len(line) or ends(line, delimiter)  # type: ignore[union-attr]


def are_rows(lines: Sequence[str], delimiter: str, like: Sequence[str] | None, width: int) -> bool:
    """Return whether the lines of one quoted record are rows by themselves, which a stray mark put together.

    Each has as many fields as the header (`width`, over 1), and they are of the kinds of a row that was read
    before (`like`), or of the first line: a number, date or id, several words, one word or nothing. Where
    none has numbers, and a blank follows a delimiter as in prose, it takes three lines below the first.
    """
    rows = [split_fields(line, delimiter, every=True)[0] for line in lines]
    if width < 2 or any(len(row) != width for row in rows):
        return False
    kinds = [_kind(one) for one in (like if like is not None and len(like) == width else rows[0])]
    telling = {WORDS, NUMBER} if NUMBER in kinds else {*kinds}
    alike = (
        kind == _kind(one) for row in rows for kind, one in zip(kinds, row, strict=True) if kind in telling
    )
    as_prose = NUMBER not in kinds and any(one != one.strip() for row in rows for one in row)
    return all(alike) and (not as_prose or len(rows) > LINES_WITHOUT_NUMBERS)


def _kind(field: str) -> str:
    plain = field.strip()
    if " " in plain:
        return WORDS
    if _DIGIT.search(plain):
        return NUMBER
    return ("spaced" if plain != field else "word") if plain else ""
