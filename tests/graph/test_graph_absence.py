"""Two hundred cases of absence: whatever goes missing by an accident, nothing is deleted that nobody gave up.

A case is one to three accidents at once: a folder that is empty, gone, a dangling link or lists half of its
files; many files gone; a file cut off or emptied; a section of tamis.toml that is gone, renamed or cut
off; a typo in a path, a pattern or the name of a column. After a run under them every row that was there is
there; when the accidents are undone, the next run leaves everything as it was.
"""

import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

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

pytestmark = pytest.mark.slow

CASES, PARTS = 200, 8
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
class Case:
    """The project in one case, what is drawn, and what listings leave out."""

    graph: SmallProject
    draw: random.Random
    listed_half: set[str]

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
    case.listed_half.add(case.folder.name)


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
    yield made
    made.instance.dispose()


def lost(graph: SmallProject, before: dict[str, pl.DataFrame]) -> list[str]:
    """The tables that hold fewer of the rows that they held; a place may have moved with its file."""
    names = set(graph.store.names())
    keys = {table: ["doc_id"] if table in OF_PLACES else list(key_of(table)) for table in before}
    return [
        f"{len(rows)} rows of {table}"
        for table, every in before.items()
        if table not in names or len(rows := every.join(graph.store.read(table), on=keys[table], how="anti"))
    ]


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
    listed_half: set[str] = set()
    real = os.scandir

    def scandir(folder):
        entries = sorted(real(folder), key=lambda entry: entry.name)
        return entries[: len(entries) // 2] if Path(folder).name in listed_half else entries

    class Listing:
        def __getattr__(self, name):
            return scandir if name == "scandir" else getattr(os, name)

    monkeypatch.setattr(listing, "os", Listing())
    for number in range(part, CASES, PARTS):
        draw = random.Random(number)
        case = Case(graph, draw, listed_half)
        accidents = draw.sample(ACCIDENTS, draw.randint(1, 3))
        for accident in accidents:
            accident(case)
        with suppress(TamisError):  # such a tamis.toml is refused
            graph.try_making(CHOSEN)
        label = f"case {number}: {', '.join(accident.__name__ for accident in accidents)}"
        if found := lost(graph, before):
            wrong[label] = found
        listed_half.clear()
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
