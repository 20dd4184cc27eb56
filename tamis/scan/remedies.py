"""What to write into tamis.toml so that files are read, or left out, of which nothing is read now.

All that one section should set is in one list, with what it has: whoever writes one line of the advice never
undoes another.
"""

import contextlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import zip_longest
from pathlib import Path, PurePosixPath

from tamis.base.numbers import counted, named
from tamis.corpus.listing import leaves_out, reads
from tamis.corpus.looking import Estimate, estimate_rows, is_looked_at, look_at
from tamis.corpus.shards import Shard
from tamis.graph.snapshot import ProjectSnapshot
from tamis.project import Project
from tamis.readers.files import COMPRESSIONS, READERS, WHOLE_FILES, is_readable
from tamis.readers.rows import NAME_IT, Defect, Reason, lacking
from tamis.readers.streams import rows_told
from tamis.readers.text_columns import Sample, conversations_in, fitting, names_of, setting
from tamis.scan.unread_rows import Foreseen
from tamis.settings.config import CorpusSection
from tamis.settings.sections import AUTO_COLUMN, COLUMN_OF_FORMAT
from tamis.settings.values import glob_pattern

READABLE = f"{', '.join(sorted([*READERS, *WHOLE_FILES]))}, text formats also as .gz or .zst"
SHOWN = 3
_ADVICE = re.compile(
    r"""; ('[^']*'|"[^"]*") holds (texts|conversations): set (text_column|format) = .*""", re.DOTALL
)
FILES_LOOKED_AT = 1_000
FEW_BYTES, MANY_BYTES, BYTES_COUNTED = 1 << 17, 1 << 23, 1 << 26
"""Bytes read to count the rows of a file: `MANY_BYTES`, and after `BYTES_COUNTED` in all `FEW_BYTES`."""


@dataclass(frozen=True, kw_only=True)
class Unread:
    """Files of a corpus that its section does not read.

    samples: of the columns of each file without the text column, by its name. `columns`: others that hold
    the texts of single rows. `unsupported`: names of files of a type that nothing reads. `beside`: files of
    the corpus that are none of these.
    """

    project: Project
    corpus: CorpusSection
    samples: Mapping[str, Sample]
    beside: Collection[Shard]
    columns: Sequence[str] = ()
    unsupported: Sequence[str] = ()

    @cached_property
    def others(self) -> bool:
        """Return whether the text column is right for other files."""
        return any(map(is_looked_at, self.beside))

    @cached_property
    def _talks(self) -> dict[tuple[str, str], list[str]]:
        """Return the files with conversations by their format and column."""
        found: dict[tuple[str, str], list[str]] = defaultdict(list)
        for name, sample in self.samples.items():
            if (talk := conversations_in(sample)) is not None:
                found[talk].append(name)
        return found

    @cached_property
    def _apart(self) -> dict[tuple[str, str], list[str]]:
        """Return the files that need another section, by the format and the column of their conversations."""
        found = {talk: files for talk, files in self._talks.items() if talk[0] != self.corpus.format}
        whole = not self.beside and not self.columns and len(self._talks) == 1
        return {} if whole and sum(map(len, found.values())) == len(self.samples) else found

    def globs_of(self, files: Collection[str]) -> list[str]:
        """Return globs that match these files and none beside them, one for each folder and form of many."""
        by: dict[str, list[str]] = {}
        for name in files:
            folder = f"{PurePosixPath(name).parent.as_posix()}/".removeprefix("./")
            by.setdefault(f"{as_glob(folder)}*{ending(PurePosixPath(name))}", []).append(name)
        left_alone = [*(file.name for file in self.beside), *self.samples.keys() - {*files}]
        globs: list[str] = []
        for glob, own in by.items():
            few = len(own) <= SHOWN or any(map(glob_pattern(glob).fullmatch, left_alone))
            globs += map(as_glob, own) if few else [glob]
        return globs

    @property
    def excluded(self) -> str:
        """Return the line of tamis.toml that leaves out all files that the section should not read."""
        apart = [glob for files in self._apart.values() for glob in self.globs_of(files)]
        types = {
            f"**/*{end}" if (end := ending(path)) else f"**/{as_glob(path.name)}"
            for path in map(PurePosixPath, self.unsupported)
        }
        new = [one for one in sorted(types) if not any(fnmatchcase(one, old) for old in self.corpus.exclude)]
        return f"exclude = {listed([*self.corpus.exclude, *new, *apart])}"

    def unsupported_lines(self) -> Iterator[str]:
        """Yield at most one line: how many files have a type that nothing reads, and what leaves them out."""
        if not self.unsupported:
            return
        paths = map(PurePosixPath, self.unsupported)
        kinds = Counter((str(path.parent), ending(path)) for path in paths)
        found = [
            f"{count:,} {end or 'without extension'} in "
            f"{'the corpus folder' if folder == '.' else f'{folder}/'}"
            for (folder, end), count in sorted(kinds.items())
        ]
        name, path = self.corpus.name, self.corpus.path
        to_do = f"to skip them, set {self.excluded} in [[corpus]] {name}"
        if path and (self.project.root / path).is_file():
            to_do = f"supported types: {READABLE}"
        files = counted(len(self.unsupported), "file")
        yield f"corpus {name}: {files} of an unsupported type: {named(found)}; {to_do}"

    def remedies(self) -> Iterator[str]:
        """Yield what to write into tamis.toml, so that files without the text column are read."""
        corpus, section = self.corpus, f"[[corpus]] {self.corpus.name}"
        kept = names_of(corpus.text_column) if self.others or self.columns else ()
        fits: dict[str, list[str]] = {}
        for name, sample in self.samples.items():
            talk = conversations_in(sample)
            if talk is not None and talk[0] == corpus.format:
                fits[name] = [talk[1]]
            elif talk is None:
                fits[name] = fitting(sample)[:1] if corpus.format == "text" else []
        texts = [fit for found in fits.values() for fit in found]
        if texts or self.columns:
            yield f"set {setting(kept, [*texts, *self.columns])} in {section}"
        if self._apart:
            yield self._apart_line()
        else:
            for form, column in self._talks:
                if form != corpus.format:
                    keys = " and ".join(_keys(form, column))
                    yield f"{column!r} holds conversations: set {keys} in {section}"
        unknown = [name for name, found in fits.items() if not found]
        if unknown:
            columns = dict.fromkeys(path for name in unknown for path in self.samples[name])
            yield f"{named(unknown, SHOWN)}: columns found: {named([*columns]) or 'none'} ({NAME_IT})"

    def _apart_line(self) -> str:
        """Return where the files go that need another section: into one that fits, else one of their own."""
        widened: dict[str, list[str]] = {}
        own: list[str] = []
        for (form, column), files in self._apart.items():
            if (other := self._section_for(form, column, files)) is None:
                keys = ", ".join([f"include = {listed(self.globs_of(files))}", *_keys(form, column)])
                own.append(f"{keys} in {'another' if own else 'a'} [[corpus]] of its own")
            else:
                globs = [glob for glob in self.globs_of(files) if not all(reads(other, one) for one in files)]
                widened.setdefault(other.name, [*other.include]).extend(globs)
        before = {one.name: [*one.include] for one in self.project.settings.corpus}
        ready = [name for name, globs in widened.items() if globs == before[name]]
        added = [
            f"include = {listed(globs)} in [[corpus]] {name}"
            for name, globs in widened.items()
            if name not in ready
        ]
        which = ", ".join(
            f"{named(files, SHOWN)}: {column!r} holds conversations"
            for (_form, column), files in self._apart.items()
        )
        parts = [f"{which}: set {self.excluded} in [[corpus]] {self.corpus.name}", *added, *own]
        line = ", and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]
        return f"{line} (read by [[corpus]] {named(ready)} already)" if ready else line

    def _section_for(self, form: str, column: str, files: Sequence[str]) -> CorpusSection | None:
        """Return another corpus of the same folder that would read these files if it included them."""
        for other in self.project.settings.corpus:
            takes_it = other.text_column == AUTO_COLUMN or column in names_of(other.text_column)
            fits = other.name != self.corpus.name and other.format == form and takes_it
            if fits and self._has_folder_of(other) and not any(leaves_out(other, name) for name in files):
                return other
        return None

    def _has_folder_of(self, other: CorpusSection) -> bool:
        one, root = self.corpus, self.project.root
        if one.kind != other.kind or one.path is None or other.path is None:
            return False
        return (root / one.path).resolve() == (root / other.path).resolve()


def _keys(form: str, column: str) -> list[str]:
    at = [f"text_column = {json.dumps(column)}"] if column != COLUMN_OF_FORMAT[form] else []
    return [f"format = {json.dumps(form)}", *at]


def without_advice(detail: str) -> tuple[str, list[str]]:
    """Return the detail of a missing text column without what to do, and the text columns that this names.

    A section of its own is advised by the file; here all files of a corpus are known.
    """
    found = _ADVICE.search(detail)
    if found is None:
        return detail.removesuffix(f" ({NAME_IT})"), []
    _, _, stated = found[0].partition(": set text_column = ")
    columns = json.JSONDecoder().raw_decode(stated)[0] if stated else []
    return detail[: found.start()], [columns] if isinstance(columns, str) else columns


def as_glob(name: str) -> str:
    """Return a glob that matches a name, of which any letter may have a meaning in globs."""
    return re.sub(r"[*\[]", "?", name)


def listed(globs: Sequence[str]) -> str:
    """Return globs as a list of tamis.toml, each once."""
    return json.dumps(list(dict.fromkeys(globs)), ensure_ascii=False)


def ending(name: PurePosixPath) -> str:
    """Return the extension of a file, that of a compressed one with what is inside."""
    packed = name.suffix if name.suffix in COMPRESSIONS else ""
    return f"{Path(name.name.removesuffix(packed)).suffix}{packed}"


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
    forms: dict[tuple[str, str], list[Shard]] = defaultdict(list)
    for file in files:
        path = PurePosixPath(file.name)
        forms[str(path.parent), "".join(path.suffixes[-2:])].append(file)
    return [file for turn in zip_longest(*forms.values()) for file in turn if file is not None][:most]


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
    causes: dict[tuple[Reason, str], list[LostFile]] = defaultdict(list)
    for one in lost:
        lacks = one.defect.reason == Reason.MISSING_TEXT_COLUMN
        causes[one.defect.reason, "" if lacks else one.defect.detail].append(one)
    for (reason, detail), own in causes.items():
        known = sum(one.rows.rows for one in own if one.rows)
        about = "" if all(one.rows and one.rows.exact for one in own) else "about "
        in_rows = f" in {about}{counted(known, 'row')}" if known else ""
        files = f"{counted(len(own), 'file')} ({named([one.file.name for one in own], SHOWN)})"
        if reason == Reason.MISSING_TEXT_COLUMN:
            without = f"{files} without the text column"
            which = without if unread.others else "no file with columns has the text column"
            to_do = "; ".join(unread.remedies())
            yield f"corpus {corpus.name}: {which}: {lacking(names_of(corpus.text_column))}{in_rows}; {to_do}"
        else:
            words = f"{reason.replace('_', ' ')}{in_rows}"
            yield f"corpus {corpus.name}: {files} would not be read, {words}: {detail}"
