"""Find the delimiter of a CSV file: a comma, unless the file was written with another one.

Spreadsheets write semicolons where commas separate decimals, and may say so in a first line `sep=;`. The
delimiter of the file's extension is taken if the header then has a column of texts.
"""

import csv
import re
from collections.abc import Container, Sequence

DELIMITERS = (",", ";", "\t", "|")
NONE = "\x1f"
"""Delimiter of a file of one column: a control character that no text has."""
HEAD_LINES, HEAD_BYTES = 100, 1 << 18
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_STATED = re.compile(r'\s*"?sep=(.)"?\s*', re.IGNORECASE | re.DOTALL)
_DECIMAL_COMMA = re.compile(r"\s*[-+]?(\d{1,3}(\.\d{3})+|\d+),\d+\s*%?\s*")
_NUMBER = re.compile(r"\s*[-+]?[\d.]*\d\s*%?\s*")


def stated_delimiter(line: str) -> str | None:
    """Return the delimiter that a first line states, as Excel writes it; None where it states none."""
    found = _STATED.fullmatch(line.rstrip("\r\n"))
    return found[1] if found and found[1] not in '"\r\n' else None


def find_delimiter(lines: Sequence[str], usual: str, wanted: Container[str]) -> str:
    """Return the delimiter of a file by its first lines, header first.

    `usual`: that of its extension; `wanted`: names of columns of texts, of which the file should have one.
    """
    first = _records(lines, usual)
    if first and len(first[0]) > 1 and _has_text(first, wanted):
        return usual
    heads = {usual: first} | {one: _records(lines, one) for one in DELIMITERS if one != usual}
    with_text = {one: rows for one, rows in heads.items() if _has_text(rows, wanted)}
    among = [usual] if usual in with_text else with_text or heads
    found = max(among, key=lambda one: _agreement(heads[one]))
    return NONE if found == "," and _is_one_column(heads[found]) else found


def _has_text(rows: Sequence[Sequence[str]], wanted: Container[str]) -> bool:
    return bool(rows) and any(name in wanted for name in _names(rows[0]))


def _records(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Return the records that the lines hold, up to one that does not parse."""
    found = []
    try:
        for record in csv.reader(lines, delimiter=delimiter, strict=True):
            if record:
                found.append(record)
    except csv.Error:
        pass  # also where the last record goes on behind these lines
    return found


def _names(header: Sequence[str]) -> list[str]:
    return [name.strip() for name in header]


def _agreement(rows: Sequence[Sequence[str]]) -> tuple[float, int]:
    """Return how well a delimiter fits: the share of records with as many fields as the header, and these."""
    columns = len(rows[0]) if rows else 0
    return (sum(len(row) == columns for row in rows) / len(rows), columns) if columns > 1 else (0.0, 0)


def _is_one_column(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether a file has one column, in whose texts the comma is punctuation.

    Where each record has as many fields too many, columns lack a name, and nothing else would be right.
    """
    return bool(rows) and len(rows[0]) == 1 and len({sum(map(bool, row[1:])) for row in rows[1:]}) > 1


def decimal_commas(header: Sequence[str], records: Sequence[Sequence[str]]) -> list[str]:
    """Return the columns of which all values are numbers, some with a comma before the decimals."""
    found = []
    for place, name in enumerate(_names(header)):
        values = [record[place] for record in records if len(record) > place and record[place].strip()]
        commas = [bool(_DECIMAL_COMMA.fullmatch(value)) for value in values]
        if any(commas) and all(
            comma or _NUMBER.fullmatch(value) for comma, value in zip(commas, values, strict=True)
        ):
            found.append(name)
    return found
