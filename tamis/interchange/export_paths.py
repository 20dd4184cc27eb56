"""Where an export may be written, and where the files go that describe it."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.base.errors import PermanentError
from tamis.corpus.listing import is_temporary, reads
from tamis.project import Project
from tamis.settings.sections import CorpusSection, TargetSection
from tamis.store.exports import (
    CONFIGURATIONS,
    CROISSANT,
    DESCRIPTIONS,
    FOR_TRAINER,
    WITH_SCORES,
    description_path,
    is_folder,
    rows_in_folder,
)

ELSEWHERE = ".elsewhere"
"""In the names of what describes a file elsewhere that is called as one in the folder of exports."""


class ExportPathError(PermanentError):
    """A path that an export must not write to: why not, and what to name instead. Nothing was written."""

    def __init__(self, path: Path, problem: str, cure: str) -> None:
        super().__init__(f"{path} {problem}; {cure}")


def described_path(project: Project, path: Path, form: str, card: bool) -> Path:
    """Return the path next to which the files go that describe an export to a path.

    `card`: next to it wherever it is. Else those of a file outside of the folder of exports go in there.
    """
    exports = project.home.exports
    if is_folder(form) or card or exports.resolve() in path.resolve().parents:
        return path
    taken = {selection.name for selection in project.settings.selection}
    is_taken = path.stem.removesuffix(WITH_SCORES) in taken or (exports / path.name).exists()
    return exports / (f"{path.stem}{ELSEWHERE}{path.suffix}" if is_taken else path.name)


def require_free(project: Project, path: Path, form: str, described: Path) -> None:
    """Refuse a path where an export would destroy something, be read as documents, or escape a withdrawal.

    `described`: the path next to which the files go that describe it. Raises `ExportPathError`.
    """
    ours = _files(path, form, described)
    _require_unread(project, path, form, ours)
    real, exports = path.resolve(), project.home.exports.resolve()
    if project.home.root.resolve() in (real, *real.parents) and exports not in real.parents:
        raise ExportPathError(
            path, "is in the Tamis home folder", f"choose a path outside that folder, or in {exports}"
        )
    if is_folder(form):
        rows = rows_in_folder(path, form)
        known = {*ours, rows.parent}
        # A withdrawal removes what describes an export; nobody else has such a folder among the exports.
        exported = description_path(rows, CROISSANT).is_file() or exports in real.parents
        for one in sorted(path.rglob("*")) if path.is_dir() else ():
            if one not in known or not exported:  # the whole folder would be replaced
                raise ExportPathError(
                    path,
                    f"contains {one.relative_to(path)}, which was not written by an export",
                    "choose a new or empty folder",
                )
        if path.is_file():
            raise ExportPathError(path, "is a file", "choose a new or empty folder")
        return
    # A withdrawal finds the files of exports by these endings.
    if path.suffix != f".{form}":
        raise ExportPathError(
            path,
            f"does not end in .{form}, the suffix of the format {form}",
            f"name it {path.with_suffix(f'.{form}').name}, or choose another --format",
        )
    if description_path(path, CROISSANT).is_file() or exports in real.parents:
        return
    for one in ours:
        if one.exists() and not (one == path and _is_export(one)) and exports not in one.resolve().parents:
            raise ExportPathError(
                one,
                "already exists and was not written by an export",
                "choose another path, or remove the file first",
            )


def _is_export(path: Path) -> bool:
    """Return whether a file holds what an export writes: rows that begin with a document's id, or none."""
    try:
        if path.suffix == ".parquet":
            return pq.read_schema(path).names[:1] == ["doc_id"]
        with path.open(encoding="utf-8") as lines:
            row = json.loads(lines.readline() or '{"doc_id": ""}')
    except (OSError, ValueError, pa.ArrowException):
        return False
    return isinstance(row, dict) and next(iter(row), None) == "doc_id"


def _files(path: Path, form: str, described: Path) -> list[Path]:
    """Return all files that an export to a path writes."""
    of_trainer = form.startswith(FOR_TRAINER)
    configurations = (
        [path / name for name in CONFIGURATIONS[form.removeprefix(FOR_TRAINER)]] if of_trainer else []
    )
    if is_folder(form):
        path = described = rows_in_folder(path, form)
    return [path, *(description_path(described, ending) for ending in DESCRIPTIONS), *configurations]


def _require_unread(project: Project, path: Path, form: str, ours: Sequence[Path]) -> None:
    """Refuse a path where a corpus or a target reads, or would read a file that an export writes."""
    real = path.resolve()
    read: list[CorpusSection | TargetSection] = [*project.settings.corpus, *project.settings.target]
    for one in read:
        if not one.path or "://" in one.path:
            continue
        folder = (project.root / one.path).resolve()
        inside = real == folder or folder in real.parents
        if inside and real != folder:
            # The project's folder does not read its home, which is hidden, nor what its globs leave out.
            written = [(file.parent.resolve() / file.name) for file in ours]
            names = [file.relative_to(folder).as_posix() for file in written if folder in file.parents]
            if not any(_reads(one, name) for name in names):
                continue
        if inside or (is_folder(form) and real in folder.parents):
            raise ExportPathError(
                path,
                f"{'is' if inside else 'contains'} where the documents of {one.name!r} are read from",
                "choose a path that no corpus or target reads",
            )


def _reads(section: CorpusSection | TargetSection, name: str) -> bool:
    """Whether a file of this name below the folder of a corpus or target is read; a target has no globs."""
    if isinstance(section, CorpusSection) and section.kind == "files":
        return reads(section, name)
    return not any(map(is_temporary, name.split("/")))
