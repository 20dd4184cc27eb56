"""Files where corpora and targets are read from that no section of tamis.toml covers."""

import contextlib
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tamis.base.numbers import counted, named
from tamis.corpus.listing import ListingError, files_below, leaves_out, reads
from tamis.corpus.remote.object_store import is_url
from tamis.corpus.shards import is_one_text
from tamis.project import Project
from tamis.readers.files import is_readable
from tamis.settings.sections import CorpusSection, TargetSection

MOST_LOOKED_AT = 10_000
"""Files looked at below a folder: the page of all pages asks at each tick of the sensors."""
SHOWN = 3


def uncovered_lines(project: Project) -> list[str]:
    """Return a line for each folder with files that no corpus and no target reads or excludes.

    Of formats that are read; in the folder of the project of those with rows alone, since README.md and its
    like are there for people. Folders below are looked at where a section reads them.
    """
    stated: list[CorpusSection | TargetSection] = [*project.settings.corpus, *project.settings.target]
    sections = [
        (section, (project.root / section.path).resolve())
        for section in stated
        if section.kind == "files" and section.path and not is_url(section.path)
    ]
    lines = []
    for folder, whole in _folders([path for _section, path in sections]).items():
        readable = _readable(project, folder, whole)
        lost = [path for path in readable if not any(_covers(*one, path) for one in sections)]
        if lost:
            place = os.path.relpath(folder, project.root)
            names = named([path.relative_to(folder).as_posix() for path in lost], SHOWN)
            lines.append(
                f"no [[corpus]] or [[target]] reads {counted(len(lost), 'file')} in "
                f"{'the folder of the project' if place == '.' else place} ({names}): add a section or widen "
                "`include`; files named in the `exclude` of a corpus there are not mentioned"
            )
    return lines


def _folders(places: list[Path]) -> dict[Path, bool]:
    """Return the folders that hold what sections read, and whether the folders below are read, too."""
    whole = {path for path in places if path.is_dir()}
    whole = {path for path in whole if whole.isdisjoint(path.parents)}
    single = {path.parent for path in places if path.is_file()}
    return dict.fromkeys(sorted(whole), True) | {
        path: False for path in sorted(single - whole) if whole.isdisjoint(path.parents)
    }


def _readable(project: Project, folder: Path, whole: bool) -> Iterator[Path]:
    home, of_project = project.home.root.resolve(), folder == project.root.resolve()
    with contextlib.suppress(ListingError):  # reading says so
        for name in islice(files_below(folder, whole=whole), MOST_LOOKED_AT):
            path = folder / name
            for_people = of_project and is_one_text(name)
            if is_readable(name) and not for_people and not path.is_relative_to(home):
                yield path


def _covers(section: CorpusSection | TargetSection, place: Path, path: Path) -> bool:
    """Return whether a section reads a file, or leaves it out by its `exclude`."""
    if path == place:
        return True
    folder = place if place.is_dir() else place.parent
    if not path.is_relative_to(folder):
        return False
    relative = path.relative_to(folder).as_posix()
    if isinstance(section, TargetSection):
        return folder == place
    return leaves_out(section, relative) or (folder == place and reads(section, relative))
