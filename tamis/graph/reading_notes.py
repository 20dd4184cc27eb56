"""Notes on what files decided themselves: columns of texts, delimiters and decimal commas."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from tamis.base.numbers import counted, named
from tamis.corpus.looking import places_at_first
from tamis.corpus.stage import KEPT_ROWS
from tamis.corpus.targets import files_of_target
from tamis.graph.snapshot import ProjectSnapshot
from tamis.readers.delimited import NAMES, usual_delimiter
from tamis.readers.kept_columns import Heading, read_heading
from tamis.readers.rows import WHOLE_SHARD

SHOWN, COLUMNS_SHOWN, LOOKED_AT = 3, 10, 20


def reading_notes(snapshot: ProjectSnapshot) -> list[str]:
    """Return a line for each corpus and target whose files decide something, as they were read."""
    store, settings = snapshot.project.home.store, snapshot.project.settings
    stated = [one.text_column for one in settings.corpus] + [one.text_column for one in settings.target]
    if not any(map(_decides, stated)) and not any(
        usual_delimiter(file.name) for file in snapshot.files.values()
    ):
        return []
    rows = store.read(KEPT_ROWS.name, ["shard", "content"], f"row = {WHOLE_SHARD}").sort("shard")
    headings: dict[str, dict[str, Heading]] = {}
    for shard, content in rows.iter_rows():
        if (file := snapshot.files.get(shard)) is not None:
            headings.setdefault(file.corpus, {})[file.name] = read_heading(content)
    lines: list[str] = []
    for corpus in settings.corpus:
        own = headings.get(corpus.name, {})
        if _decides(corpus.text_column):
            taken = {name: heading.taken for name, heading in own.items()}
            lines += _taken_line(f"corpus {corpus.name}", taken)
        lines += _dialect_lines(f"corpus {corpus.name}", own)
    for target in settings.target:
        if _decides(target.text_column) and target.response_column is None and target.kind == "files":
            with contextlib.suppress(Exception):  # what cannot be listed or looked at is said elsewhere
                some = files_of_target(target, snapshot.project.root)[:LOOKED_AT]
                found = {file.name: places_at_first(file, section) for file, section in some}
                places = {name: {" or ".join(columns): 1} for name, columns in found.items() if columns}
                lines += _taken_line(f"target {target.name}", places)
    return lines


def _decides(text_column: str | tuple[str, ...]) -> bool:
    """Return whether the files of a section decide where their texts are."""
    return isinstance(text_column, tuple) or text_column == "auto"


def _taken_line(section: str, taken: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Yield from which columns the texts of files are taken; by the name of the file, rows by column."""
    whole: dict[str, list[str]] = {}
    parts: list[str] = []
    for name, rows in taken.items():
        if len(rows) == 1:
            whole.setdefault(next(iter(rows)), []).append(name)
        else:
            parts += [f"{column} in {counted(count, 'row')} of {name}" for column, count in rows.items()]
    found = [*(f"{column} in {named(files, SHOWN)}" for column, files in sorted(whole.items())), *parts]
    if found:
        more = f"; and {len(found) - COLUMNS_SHOWN:,} more" if len(found) > COLUMNS_SHOWN else ""
        yield f"{section}: texts are taken from the columns {'; '.join(found[:COLUMNS_SHOWN])}{more}"


def _dialect_lines(section: str, headings: Mapping[str, Heading]) -> Iterator[str]:
    """Yield which CSV files are not written with commas, and which of their numbers are kept as text."""
    by: dict[str, list[str]] = {}
    commas: dict[str, None] = {}
    for name, heading in headings.items():
        if heading.delimiter is not None:
            by.setdefault(heading.delimiter, []).append(name)
        commas |= dict.fromkeys(heading.decimal_commas)
    files: Sequence[str]
    for delimiter, files in sorted(by.items()):
        fields = NAMES.get(delimiter, repr(delimiter))
        which = f"{counted(len(files), 'file')} ({named(files, SHOWN)})"
        yield f"{section}: fields are separated by {fields} in {which}"
    if commas:
        yield (
            f"{section}: numbers with a decimal comma are kept as text, as in the file, in the columns "
            f"{named([*commas])}"
        )
