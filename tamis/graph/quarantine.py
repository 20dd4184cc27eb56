"""Describe the quarantine: a line for each cause, and the settings that would read the files."""

import contextlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from tamis.base.numbers import counted, named
from tamis.corpus.file_rows import COMPRESSIONS, READERS, WHOLE_FILES
from tamis.corpus.looking import is_looked_at, look_at
from tamis.corpus.records import WHOLE_SHARD, Defect, Reason
from tamis.corpus.setting_aside import place_of
from tamis.corpus.shards import SEPARATOR, Shard
from tamis.corpus.sources import corpora_of
from tamis.corpus.targets import place_in_target, target_of_place
from tamis.graph.foreseen import among, remedies
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.unread_rows import READ_AGAIN, NextReading
from tamis.project import Project
from tamis.settings.references import named as section

READABLE = f"{', '.join(sorted([*READERS, *WHOLE_FILES]))}, text formats also as .gz or .zst"
FILES_SHOWN = 50
"""Files that are looked at again for what would read them."""


def unread_lines(shards: Collection[Shard], project: Project) -> list[str]:
    """Return a line for each corpus with files of a type that nothing reads, and the key that excludes them.

    `shards`: those files.
    """
    lines = []
    for corpus in project.settings.corpus:
        names = [PurePosixPath(shard.name) for shard in shards if shard.corpus == corpus.name]
        if not names:
            continue
        kinds = Counter((str(name.parent), _ending(name)) for name in names)
        found = [
            f"{count:,} {ending or 'without extension'} in "
            f"{'the corpus folder' if folder == '.' else f'{folder}/'}"
            for (folder, ending), count in sorted(kinds.items())
        ]
        line = f"corpus {corpus.name}: {counted(len(names), 'file')} of an unsupported type: {named(found)}"
        if corpus.path and (project.root / corpus.path).is_file():
            lines.append(f"{line}; supported types: {READABLE}")
            continue
        globs = dict.fromkeys(f"**/*{end}" if (end := _ending(name)) else f"**/{name.name}" for name in names)
        kept = [glob for glob in globs if not any(fnmatchcase(glob, old) for old in corpus.exclude)]
        exclude = ", ".join(f'"{glob}"' for glob in [*corpus.exclude, *sorted(kept)])
        lines.append(f"{line}; to skip them, set exclude = [{exclude}] in [[corpus]] {corpus.name}")
    return lines


def _ending(name: PurePosixPath) -> str:
    """Return the extension of a file, that of a compressed one with what is inside."""
    packed = name.suffix if name.suffix in COMPRESSIONS else ""
    return f"{Path(name.name.removesuffix(packed)).suffix}{packed}"


def cause_lines(
    rows: Sequence[Mapping[str, Any]], snapshot: ProjectSnapshot, again: NextReading
) -> list[str]:
    """Return `quarantine_lines`; those of what the next run reads again follow a line that says so."""
    old = [row for row in rows if again.includes(row["shard"])]
    lines = quarantine_lines([row for row in rows if not again.includes(row["shard"])], snapshot)
    if not old:
        return lines
    return [*lines, f"as read last; these {READ_AGAIN}:", *quarantine_lines(old, snapshot)]


def quarantine_lines(rows: Sequence[Mapping[str, Any]], snapshot: ProjectSnapshot) -> list[str]:
    """Return a line for each cause: types that nothing reads by corpus, files that fail, rows by file."""
    corpora = corpora_of(snapshot.project.home.store, {_file_of(row["shard"]) for row in rows})
    unread: list[Shard] = []
    causes: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["reason"] == Reason.UNSUPPORTED_FORMAT and row["shard"] in snapshot.files:
            unread.append(snapshot.files[row["shard"]])
            continue
        place, file = _place(row["shard"], snapshot, corpora)
        whole = row["row"] == WHOLE_SHARD
        causes.setdefault((place, row["reason"], "" if whole else file), []).append(row)
    lines = unread_lines(unread, snapshot.project)
    for (place, reason, file), found in causes.items():
        first, words = found[0], reason.replace("_", " ") or "no reason given"
        detail = first["detail"] or "no cause was noted"
        files = [_place(row["shard"], snapshot, corpora)[1] for row in found]
        differ = "the first: " if len({row["detail"] for row in found}) > 1 else ""
        if not any(files):  # of a stage, which set documents aside
            lines.append(f"{place}: {counted(len(found), 'document')}, {words}: {differ}{detail}")
        elif not file and len(found) > 1:
            lost = sum(row.get("rows_lost") or 1 for row in found)
            of = f" with {lost:,} rows" if lost > len(found) else ""
            lines.append(
                f"{place}: {counted(len(found), 'whole file')}{of}, {words}: {named(files)}; "
                f"the first: {detail}"
            )
            if reason == Reason.MISSING_TEXT_COLUMN:
                lines += _remedy_lines(place, [row["shard"] for row in found], snapshot)
        elif not file:
            lines.append(f"{place}: {files[0]} (whole file), {words}: {detail}")
        else:
            where = (
                f"row {first['row']}"
                if len(found) == 1
                else f"{len(found):,} rows, the first is row {first['row']}"
            )
            lines.append(f"{place}: {file}, {where}, {words}: {differ}{detail}")
    return lines


def _remedy_lines(place: str, keys: Sequence[str], snapshot: ProjectSnapshot) -> list[str]:
    """Return what to write into tamis.toml so that all of these files are read, as they are now."""
    files = [snapshot.files[key] for key in keys if key in snapshot.files]
    if not files:
        return []
    corpus = section(snapshot.project.settings.corpus, files[0].corpus)
    some = among([file for file in files if is_looked_at(file)], FILES_SHOWN)
    defects: dict[str, Defect] = {}
    for file in some:
        with contextlib.suppress(Exception):  # what cannot be looked at says nothing
            if (defect := look_at(file, corpus)) is not None:
                defects[file.name] = defect
    samples = {name: defect.sample for name, defect in defects.items() if defect.sample}
    others = any(
        file.corpus == corpus.name and file.key not in keys and is_looked_at(file)
        for file in snapshot.files.values()
    )
    found = "; ".join(remedies(corpus, samples, others)) if samples else ""
    return [f"{place}: to read them, {found}"] if found else []


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
