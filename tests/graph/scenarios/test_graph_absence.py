"""Two hundred cases of absence: whatever goes missing by an accident, nothing is deleted that nobody gave up.

A case is one to three accidents at once: a folder that is empty, gone, a dangling link, lists half of its
files or cannot be listed; many files gone; a file cut off, emptied or unreadable; a section of tamis.toml
that is gone, renamed or cut off; a typo in a path, a pattern or the name of a column. After a run under them
every row that was there is there; when the accidents are undone, the next run leaves everything as it was.
"""

import errno
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from parts import in_parts
from projects import (
    CHOSEN,
    OF_PLACES,
    TRANSPORT,
    SmallProject,
    corpus,
    key_of,
    lines,
    selection,
    settings,
    target,
    texts,
    write,
)

from tamis.base.errors import TamisError
from tamis.corpus import listing
from tamis.verbs.elsewhere.export import export_selection

pytestmark = pytest.mark.slow

CASES, PARTS = 200, 8
OPEN = Path.open
SOURCES = ("landing", "notes", "letters", "target")
SECTIONS = ("web", "notes", "letters", "goal", "near", "thin")
SETTINGS = settings(
    corpus(path="landing"),
    corpus("notes", "notes"),
    corpus("letters", "letters"),
    target(train=8, held_out=4),
    "[density]\nrows = 20\nhashes = 2\ncalibration = 10\n",
    TRANSPORT,
    selection("near", "got-d", 5, target="goal"),
    selection("thin", "density", 5),
)


@dataclass
class Faults:
    """Names of folders: listed by half; with the errors of their listings; with those of their files."""

    halved: set[str] = field(default_factory=set)
    unlisted: dict[str, int] = field(default_factory=dict)
    unread: dict[str, int] = field(default_factory=dict)

    def clear(self) -> None:
        for names in (self.halved, self.unlisted, self.unread):
            names.clear()

    def scandir(self, folder: str | Path) -> list[os.DirEntry[str]]:
        name = Path(folder).name
        if number := self.unlisted.get(name):
            raise OSError(number, os.strerror(number), str(folder))
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        return entries[: len(entries) // 2] if name in self.halved else entries

    def open(self, path: Path, *arguments: Any, **named: Any) -> Any:
        if number := self.unread.get(path.parent.name):
            raise OSError(number, os.strerror(number), str(path))
        return OPEN(path, *arguments, **named)


@dataclass
class Case:
    """The project in one case, what is drawn, and the folders whose listings or files fail."""

    graph: SmallProject
    draw: random.Random
    faults: Faults

    @property
    def folder(self) -> Path:
        return self.graph.root / self.draw.choice(SOURCES)

    def files(self) -> list[Path]:
        folder = self.graph.landing
        return sorted(folder.glob("*.jsonl")) if folder.is_dir() and not folder.is_symlink() else []

    def in_section(self, name: str, change: Callable[[str], str]) -> None:
        """Change the text of the section of that name."""
        parts = re.split(r"(?m)^(?=\[)", self.graph.text)
        self.graph.configure(
            "".join(change(part) if f'name = "{name}"' in part and "[[" in part else part for part in parts)
        )


def removed(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def emptied(case: Case) -> None:
    folder = case.folder
    removed(folder)
    folder.mkdir()


def gone(case: Case) -> None:
    removed(case.folder)


def dangling(case: Case) -> None:
    folder = case.folder
    removed(folder)
    folder.symlink_to("nowhere")


def half_listed(case: Case) -> None:
    case.faults.halved.add(case.folder.name)


def not_listed(case: Case) -> None:
    """A folder that denies access, or the handle of a share that went away."""
    case.faults.unlisted[case.folder.name] = case.draw.choice((errno.EACCES, errno.ESTALE, errno.EIO))


def not_read(case: Case) -> None:
    case.faults.unread[case.folder.name] = case.draw.choice((errno.EACCES, errno.ESTALE, errno.EIO))


def many_gone(case: Case) -> None:
    found = case.files()
    for path in case.draw.sample(found, min(len(found), case.draw.randint(5, 12))):
        path.unlink()


def cut_off(case: Case) -> None:
    for path in (path for path in case.files() if path.stem == "long"):
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * case.draw.uniform(0, 0.45))])


def blanked(case: Case) -> None:
    for path in case.folder.glob("*.*"):
        path.write_bytes(b"")


def section_gone(case: Case) -> None:
    case.in_section(case.draw.choice(SECTIONS), lambda _text: "")


def section_renamed(case: Case) -> None:
    name = case.draw.choice(SECTIONS)
    case.in_section(name, lambda text: text.replace(f'name = "{name}"', f'name = "{name}s"'))


def settings_cut(case: Case) -> None:
    text = case.graph.text
    case.graph.configure(text[: case.draw.randrange(len(text))])


def path_typo(case: Case) -> None:
    name = case.draw.choice(SECTIONS[:4])
    case.in_section(name, lambda text: re.sub(r'path = "(\w+)"', r'path = "\1s"', text))


def pattern_typo(case: Case) -> None:
    name = case.draw.choice(SECTIONS[:4])
    case.in_section(name, lambda text: f'{text.rstrip()}\ninclude = ["*.jsnol"]\n\n')


def column_typo(case: Case) -> None:
    name = case.draw.choice(SECTIONS[:4])
    case.in_section(name, lambda text: f'{text.rstrip()}\ntext_column = "txet"\n\n')


ACCIDENTS = (
    emptied,
    gone,
    dangling,
    half_listed,
    not_listed,
    not_read,
    many_gone,
    cut_off,
    blanked,
    section_gone,
    section_renamed,
    settings_cut,
    path_typo,
    pattern_typo,
    column_typo,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, encoder_cache) -> Iterator[SmallProject]:
    """A project of three corpora (fourteen files, one, twelve texts), a target and two selections."""
    root = tmp_path_factory.mktemp("absence") / "whole"
    for number in range(13):
        write(root / "landing" / f"many-{number:02d}.jsonl", lines(texts("cooking", 4, seed=number)))
    write(root / "landing" / "long.jsonl", lines(texts("sailing", 40, seed=3)))
    write(root / "notes" / "notes.jsonl", lines(texts("sailing", 6, seed=4)))
    for number, text in enumerate(texts("cooking", 12, seed=40)):
        write(root / "letters" / f"{number}.txt", [text])
    write(root / "target" / "goal.jsonl", lines(texts("algebra", 14, 2)))
    made = SmallProject(root)
    made.configure(SETTINGS)
    shutil.copytree(encoder_cache, made.home.cache)
    made.make(CHOSEN)
    export_selection(made.project, "near", "jsonl")
    yield made
    made.instance.dispose()


def results(graph: SmallProject) -> set[str]:
    """The files that hold results: exports, manifests, what was fitted."""
    folders = (graph.home.exports, graph.home.manifests, graph.home.fitted)
    return {str(path.relative_to(graph.root)) for folder in folders for path in folder.rglob("*")}


def lost(graph: SmallProject, before: dict[str, pl.DataFrame], files: set[str]) -> list[str]:
    """The tables that hold fewer of the rows that they held, and the files that are gone.

    A place may have moved with its file. Lists of rows and what was fitted are superseded by new ones.
    """
    names = set(graph.store.names())
    keys = {table: ["doc_id"] if table in OF_PLACES else list(key_of(table)) for table in before}
    gone = [
        f"{len(rows)} rows of {table}"
        for table, every in before.items()
        if table not in names or len(rows := every.join(graph.store.read(table), on=keys[table], how="anti"))
    ]
    superseded = (".tamis/manifests/rows/", ".tamis/fitted/")
    return gone + sorted(name for name in files - results(graph) if not name.startswith(superseded))


@in_parts(PARTS)
def test_nothing_is_deleted_by_what_goes_missing(tmp_path, whole, monkeypatch, part):
    graph = whole.copy(tmp_path / "graph")
    kept = tmp_path / "kept"
    for name in SOURCES:
        shutil.copytree(graph.root / name, kept / name)
    before = {
        table: graph.store.read(table) for table in graph.tables() if key_of(table) and table != "quarantine"
    }
    versions, wrong = graph.versions(), {}
    files, faults = results(graph), Faults()

    class Listing:
        def __getattr__(self, name):
            return faults.scandir if name == "scandir" else getattr(os, name)

    monkeypatch.setattr(listing, "os", Listing())
    monkeypatch.setattr(Path, "open", lambda path, *given, **named: faults.open(path, *given, **named))
    for number in range(part, CASES, PARTS):
        draw = random.Random(number)
        case = Case(graph, draw, faults)
        accidents = draw.sample(ACCIDENTS, draw.randint(1, 3))
        for accident in accidents:
            accident(case)
        with suppress(TamisError):  # such a tamis.toml is refused
            graph.try_making(CHOSEN)
        label = f"case {number}: {', '.join(accident.__name__ for accident in accidents)}"
        if found := lost(graph, before, files):
            wrong[label] = found
        faults.clear()
        graph.configure(SETTINGS)
        for name in SOURCES:
            removed(graph.root / name)
            shutil.copytree(kept / name, graph.root / name)
        outcome = graph.try_making(CHOSEN, allowed={"all"})  # what a typo made up goes
        assert not outcome.failed, (label, outcome.failed)
        if graph.versions() != versions:
            wrong[f"{label}, undone"] = sorted(set(versions.items()) ^ set(graph.versions().items()))[:4]
        if wrong:
            break
    assert not wrong, wrong
