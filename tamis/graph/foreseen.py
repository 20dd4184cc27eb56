"""Foresee the files that would yield no row, by a look at each file that a run is about to read.

Text and Markdown files are left out, which have no columns to lack, and remote ones, which would have to be
fetched. Of a corpus with more files than a look is worth, some of each folder and form stand for the others.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import PurePosixPath

from tamis.base.numbers import counted, named
from tamis.corpus.looking import Estimate, estimate_rows, is_looked_at, look_at
from tamis.corpus.shards import Shard
from tamis.graph.remedies import SHOWN, Unread
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.unread_rows import Foreseen
from tamis.readers.files import is_readable
from tamis.readers.rows import Defect, Reason, lacking
from tamis.readers.streams import rows_told
from tamis.readers.text_columns import names_of
from tamis.settings.config import CorpusSection

FILES_LOOKED_AT = 1_000
FEW_BYTES, MANY_BYTES, BYTES_COUNTED = 1 << 17, 1 << 23, 1 << 26
"""Bytes read to count the rows of a file: `MANY_BYTES`, and after `BYTES_COUNTED` in all `FEW_BYTES`."""


@dataclass(frozen=True, kw_only=True)
class LostFile:
    """A file that would yield no row: the defect, and the number of rows (None if unknown)."""

    file: Shard
    defect: Defect
    rows: Estimate | None


def lost_files(
    corpus: CorpusSection, files: Sequence[Shard], is_counted: bool = False
) -> tuple[list[LostFile], Foreseen | None]:
    """Return the files of which nothing would be read, and what that means for the corpus; None for nothing.

    `files`: those of the corpus that are about to be read. `is_counted`: their rows are wanted in any case.
    """
    with_columns = [file for file in files if is_looked_at(file)]
    some = among(with_columns, FILES_LOOKED_AT)
    found: dict[str, Defect] = {}
    for file in some:
        with contextlib.suppress(Exception):  # a file that cannot be looked at is left to the step
            if (defect := look_at(file, corpus)) is not None:
                found[file.key] = defect
    unsupported = [file for file in files if file.kind == "file" and not is_readable(file.name)]
    if not (found or unsupported or is_counted):
        return [], None
    counts = _Counts(corpus=corpus)
    lost = [
        LostFile(file=file, defect=found[file.key], rows=counts.of(file))
        for file in some
        if file.key in found
    ]
    bad = sum(max(1, one.rows.rows) if one.rows else 1 for one in lost)
    bad += sum(rows_told(file.path) or 1 for file in unsupported[:FILES_LOOKED_AT])
    bad += len(unsupported[FILES_LOOKED_AT:])
    good = [one.rows for file in some if file.key not in found and (one := counts.of(file)) is not None]
    left = len(with_columns) - len(some)  # they have as many rows as the others, and can be read
    others = [file for file in files if file.kind == "file" and not is_looked_at(file)]  # of one row each
    rows = bad + sum(good) + round(left * sum(good) / max(1, len(good))) + len(others) - len(unsupported)
    known = frozenset(file.key for file in (*with_columns, *others))
    return lost, Foreseen(bad=bad, rows=rows, about=counts.estimated or left > 0, files=known)


def among(files: Sequence[Shard], most: int) -> list[Shard]:
    """Return at most so many of the files, of each folder and form in turn."""
    if len(files) <= most:
        return list(files)
    forms: dict[tuple[str, str], list[Shard]] = {}
    for file in files:
        path = PurePosixPath(file.name)
        forms.setdefault((str(path.parent), "".join(path.suffixes[-2:])), []).append(file)
    turns = zip_longest(*forms.values())
    return [file for turn in turns for file in turn if file is not None][:most]


@dataclass(kw_only=True)
class _Counts:
    """Counter of rows of files, with a limit on the bytes read in all."""

    corpus: CorpusSection
    read: int = 0
    estimated: bool = False

    def of(self, file: Shard) -> Estimate | None:
        most = MANY_BYTES if self.read < BYTES_COUNTED else FEW_BYTES
        rows = estimate_rows(file, self.corpus, most)
        with contextlib.suppress(OSError):
            self.read += min(file.path.stat().st_size, most)
        self.estimated |= rows is None or not rows.exact
        return rows


def unread_of(
    corpus: CorpusSection, lost: Sequence[LostFile], files: Sequence[Shard], snapshot: ProjectSnapshot
) -> Unread:
    """Return what a corpus would not read of these files, which are about to be read."""
    samples = {
        one.file.name: one.defect.sample for one in lost if one.defect.reason == Reason.MISSING_TEXT_COLUMN
    }
    unsupported = [file.name for file in files if file.kind != "package" and not is_readable(file.name)]
    apart = {*samples, *unsupported}
    beside = [
        file for file in snapshot.files.values() if file.corpus == corpus.name and file.name not in apart
    ]
    return Unread(
        project=snapshot.project, corpus=corpus, samples=samples, beside=beside, unsupported=unsupported
    )


def lost_lines(lost: Sequence[LostFile], unread: Unread) -> Iterator[str]:
    """Yield a line for each reason: the files, their rows, and what to write into tamis.toml."""
    corpus = unread.corpus
    causes: dict[tuple[Reason, str], list[LostFile]] = {}
    for one in lost:
        lacks = one.defect.reason == Reason.MISSING_TEXT_COLUMN
        causes.setdefault((one.defect.reason, "" if lacks else one.defect.detail), []).append(one)
    for (reason, detail), own in causes.items():
        rows = [one.rows for one in own]
        known = sum(one.rows for one in rows if one)
        about = "" if all(one and one.exact for one in rows) else "about "
        in_rows = f" in {about}{counted(known, 'row')}" if known else ""
        files = f"{counted(len(own), 'file')} ({named([one.file.name for one in own], SHOWN)})"
        if reason == Reason.MISSING_TEXT_COLUMN:
            which = (
                f"{files} without the text column"
                if unread.others
                else "no file with columns has the text column"
            )
            to_do = "; ".join(unread.remedies())
            yield f"corpus {corpus.name}: {which}: {lacking(names_of(corpus.text_column))}{in_rows}; {to_do}"
        else:
            words = f"{reason.replace('_', ' ')}{in_rows}"
            yield f"corpus {corpus.name}: {files} would not be read, {words}: {detail}"
