"""JSON files that are one object with the rows inside it: a list below a key, or a table.

Nothing is read of such a file, which counts as the rows that it holds.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from tamis.corpus.records import WHOLE_SHARD, Defect, Item, Reason, Row
from tamis.corpus.text_columns import chosen_by, conversations_in, find, fitting, holds, names_of, sample_of
from tamis.settings.config import CorpusSection

AS_ROWS = "write one object a line instead, and name the file .jsonl"


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
