"""Describe the quarantine, a line for each cause, and what files decided themselves."""

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tamis.base.numbers import counted, named
from tamis.corpus.looking import is_looked_at, look_at, places_at_first
from tamis.corpus.quarantine import place_of
from tamis.corpus.shards import SEPARATOR, Shard
from tamis.corpus.sources import corpora_of
from tamis.corpus.stage import KEPT_ROWS
from tamis.corpus.targets import files_of_target, place_in_target, target_of_place
from tamis.graph.snapshot import ProjectSnapshot
from tamis.readers.delimited import NAMES, usual_delimiter
from tamis.readers.kept_columns import Heading, read_heading
from tamis.readers.repair import MENDED, MISTAKEN, UNMENDED
from tamis.readers.rows import LEFT_OUT, WHOLE_SHARD, Reason
from tamis.readers.text_columns import Sample, names_of
from tamis.scan.remedies import FILES_LOOKED_AT, Unread, among, without_advice
from tamis.scan.unread_rows import READ_AGAIN, NextReading
from tamis.settings.config import CorpusSection
from tamis.store.tables import Store

MOST_NAMED = 3
UNSUPPORTED, NO_COLUMN = Reason.UNSUPPORTED_FORMAT, Reason.MISSING_TEXT_COLUMN
SHOWN, COLUMNS_SHOWN, LOOKED_AT = 3, 10, 20


def encoding_lines(store: Store) -> list[str]:
    """Return the lines on texts whose encoding was mistaken, mended or not."""
    said = MISTAKEN, MENDED, UNMENDED
    return [line for line in odd_value_lines(store) if any(problem in line for problem in said)]


def encoding_remedy(corpus: str) -> str:
    """Return what to do about texts of a corpus whose encoding was mistaken, as part of a sentence."""
    return f'; to mend them, set repair = "ftfy" in [[corpus]] {corpus}'


def odd_value_lines(store: Store) -> Iterator[str]:
    """Yield a line for each corpus, column and what was done to its values; they were counted when read.

    And one for each corpus with web archives: how many of their records hold no page.
    """
    found: dict[tuple[str, str, str], dict[str, int]] = defaultdict(dict)
    rows = store.read(KEPT_ROWS.name, ["shard", "content"], f"row = {WHOLE_SHARD}").sort("shard")
    odd = {shard: read_heading(content).odd for shard, content in rows.iter_rows() if '"odd": ' in content}
    corpora = corpora_of(store, set(odd))
    for shard, counts in odd.items():
        name = shard.removeprefix(f"{corpora[shard]}{SEPARATOR}")
        for (column, problem), count in counts.items():
            found[corpora[shard], column, problem][name] = count
    left_out: dict[str, dict[str, int]] = {
        corpus: {} for corpus, column, _what in found if column == LEFT_OUT
    }
    for (corpus, column, problem), files in sorted(found.items()):
        if column == LEFT_OUT:
            left_out[corpus][problem] = sum(files.values())
            continue
        values = counted(sum(files.values()), "value")
        to_do = encoding_remedy(corpus) if problem == MISTAKEN else ""
        yield f"corpus {corpus}: column {column} of {named([*files], MOST_NAMED)}: {values} {problem}{to_do}"
    for corpus, kinds in left_out.items():
        most = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
        shown = named([f"{count:,} {kind}" for kind, count in most], COLUMNS_SHOWN)
        yield f"corpus {corpus}: {counted(sum(kinds.values()), 'record')} without a page: {shown}"


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
        columns = "column" if len(found) == 1 else "columns"
        yield f"{section}: texts are taken from the {columns} {'; '.join(found[:COLUMNS_SHOWN])}{more}"


def _dialect_lines(section: str, headings: Mapping[str, Heading]) -> Iterator[str]:
    """Yield which CSV files are not written with commas, and which of their numbers are kept as text."""
    by: dict[str, list[str]] = {}
    for name, heading in headings.items():
        if heading.delimiter is not None:
            by.setdefault(heading.delimiter, []).append(name)
    commas = dict.fromkeys(column for heading in headings.values() for column in heading.decimal_commas)
    for delimiter, files in sorted(by.items()):
        which = f"{counted(len(files), 'file')} ({named(files, SHOWN)})"
        yield f"{section}: fields are separated by {NAMES.get(delimiter, repr(delimiter))} in {which}"
    if commas:
        yield (
            f"{section}: numbers with a decimal comma are kept as text, as in the file, in the columns "
            f"{named([*commas])}"
        )


def cause_lines(
    rows: Sequence[Mapping[str, Any]], snapshot: ProjectSnapshot, again: NextReading
) -> list[str]:
    """Return `quarantine_lines`; those of what the next run reads again follow a line that says so."""
    old = [row for row in rows if again.includes(row["shard"])]
    lines = quarantine_lines([row for row in rows if not again.includes(row["shard"])], snapshot)
    if old:
        lines += [f"as read last; these {READ_AGAIN}:", *quarantine_lines(old, snapshot)]
    return lines


def quarantine_lines(rows: Sequence[Mapping[str, Any]], snapshot: ProjectSnapshot) -> list[str]:
    """Return a line for each cause: types that nothing reads by corpus, files that fail, rows by file."""
    corpora = corpora_of(snapshot.project.home.store, {_file_of(row["shard"]) for row in rows})
    unread = _unread(rows, snapshot)
    remedies = {one.corpus.name: "; ".join(one.remedies()) for one in unread}
    lines = [line for one in unread for line in one.unsupported_lines()]
    causes: dict[tuple[str, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["reason"] == UNSUPPORTED and row["shard"] in snapshot.files:
            continue
        place, file = _place(row["shard"], snapshot, corpora)
        causes[place, row["reason"], "" if row["row"] == WHOLE_SHARD else file].append(row)
    for (place, reason, file), entries in causes.items():
        first, words = entries[0], reason.replace("_", " ") or "no reason given"
        detail = first["detail"] or "no cause was noted"
        if first["shard"] in snapshot.files and remedies.get(snapshot.files[first["shard"]].corpus):
            detail = _cause_alone(first)
        files = [_place(row["shard"], snapshot, corpora)[1] for row in entries]
        differ = "the first: " if len({row["detail"] for row in entries}) > 1 else ""
        if not any(files):  # of a stage, which set documents aside
            lines.append(f"{place}: {counted(len(entries), 'document')}, {words}: {differ}{detail}")
        elif not file and len(entries) > 1:
            lost = sum(row.get("rows_lost") or 1 for row in entries)
            of = f" with {lost:,} rows" if lost > len(entries) else ""
            lines.append(
                f"{place}: {counted(len(entries), 'whole file')}{of}, {words}: {named(files)}; "
                f"the first: {detail}"
            )
        elif not file:
            lines.append(f"{place}: {files[0]} (whole file), {words}: {detail}")
        else:
            several = f"{len(entries):,} rows, the first is " if len(entries) > 1 else ""
            after = " and all rows after it" if reason == Reason.BROKEN_COMPRESSION else ""
            where = f"{several}row {first['row']}{after}"
            lines.append(f"{place}: {file}, {where}, {words}: {differ}{detail}")
    return [*lines, *(f"corpus {name}: to read them, {said}" for name, said in remedies.items() if said)]


def _cause_alone(row: Mapping[str, Any]) -> str:
    """Return the detail of a row in quarantine without advice that the line on its corpus gives."""
    cause, columns = without_advice(row["detail"])
    is_said = row["reason"] == NO_COLUMN and (row["row"] == WHOLE_SHARD or columns)
    return cause if is_said else str(row["detail"])


def _unread(rows: Sequence[Mapping[str, Any]], snapshot: ProjectSnapshot) -> list[Unread]:
    """Return what each corpus does not read, of its files as they are now."""
    by_corpus: dict[str, list[tuple[Shard, Mapping[str, Any]]]] = defaultdict(list)
    for row in rows:
        if (file := snapshot.files.get(row["shard"])) is not None:
            by_corpus[file.corpus].append((file, row))
    found = []
    for corpus in snapshot.project.settings.corpus:
        types = [file.name for file, row in by_corpus[corpus.name] if row["reason"] == UNSUPPORTED]
        lacking = [(file, row) for file, row in by_corpus[corpus.name] if row["reason"] == NO_COLUMN]
        files = [file for file, row in lacking if row["row"] == WHOLE_SHARD]
        details = (row["detail"] for _file, row in lacking if row["row"] != WHOLE_SHARD)
        columns = dict.fromkeys(column for detail in details for column in without_advice(detail)[1])
        stated = names_of(corpus.text_column)
        new = [one for one in columns if stated and one not in stated]
        if files or types or new:
            apart = {*types, *(file.name for file in files)}
            own = (file for file in snapshot.files.values() if file.corpus == corpus.name)
            found.append(
                Unread(
                    project=snapshot.project,
                    corpus=corpus,
                    samples=_samples(files, corpus),
                    beside=[file for file in own if file.name not in apart],
                    columns=new,
                    unsupported=types,
                )
            )
    return found


def _samples(files: Sequence[Shard], corpus: CorpusSection) -> dict[str, Sample]:
    """Return samples of the columns of files, by name; those that can be read now have none."""
    samples: dict[str, Sample] = {}
    for file in among([file for file in files if is_looked_at(file)], FILES_LOOKED_AT):
        with contextlib.suppress(Exception):  # what cannot be looked at says nothing
            if (defect := look_at(file, corpus)) is not None and defect.sample:
                samples[file.name] = defect.sample
    return samples


def _file_of(place: str) -> str:
    """Return the file of a row in quarantine, also of one that a stage has set aside."""
    return place.rsplit("/", 1)[-1]


def _place(shard: str, snapshot: ProjectSnapshot, corpora: Mapping[str, str]) -> tuple[str, str]:
    """Return corpus or target, and the file, of a row in quarantine."""
    if (target := target_of_place(shard)) is not None:
        return f"target {target}", shard.removeprefix(place_in_target(target, ""))
    key = _file_of(shard)
    if key != shard and SEPARATOR not in key:  # no file: of all documents of a stage, or of a target there
        stage, _, of = shard.removeprefix(place_of("")).partition("/")
        return f"stage {stage}", of
    if (found := snapshot.files.get(key)) is not None:
        return f"corpus {found.corpus}", found.name
    return f"corpus {corpora[key]}", key.removeprefix(f"{corpora[key]}{SEPARATOR}")
