"""Every commit of a run, one by one: a kill before it, a full disk from there on; and reads that fail.

A commit is a change of a table, a file that takes its name, or a folder that does. One run after a change of
the files commits some hundred times; whichever of them is the last, the next run leaves what an undisturbed
one does. So does a run in which one read failed.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from projects import CHOSEN, SmallProject
from test_graph_kills import change

from tamis.base import files
from tamis.base.errors import TamisError
from tamis.store.tables import Store

pytestmark = pytest.mark.slow

COMMITS = (
    "insert_new",
    "append",
    "merge",
    "replace",
    "overwrite",
    "overwrite_schema",
    "delete",
    "drop",
)
READS = ("read_arrow", "batches", "by_ids", "count")
FEWEST_COMMITS, FEWEST_READS = 80, 40
"""Of one run: fewer would say that the product commits or reads by ways that this file does not know."""
Before = Callable[[int, str], None]


@contextmanager
def each_commit(before: Before) -> Iterator[None]:
    """Call `before` with the number and the name of each commit, right before it."""
    number = iter(range(10_000))
    real_os = os

    class Renaming:
        def __getattr__(self, name: str) -> Any:
            return getattr(real_os, name)

        def replace(self, source: Any, path: Any) -> None:
            before(next(number), f"file {Path(path).name}")
            real_os.replace(source, path)

    def counted(name: str) -> Callable[..., Any]:
        real = getattr(Store, name)

        def commit(store: Store, table: str, *arguments: Any, **named: Any) -> Any:
            nothing = name == "delete" and not store.count(table, *arguments, **named)
            if not nothing:
                before(next(number), f"{name} {table}")
            return real(store, table, *arguments, **named)

        return commit

    def renamed(folder: Path, path: Any) -> Path:
        before(next(number), f"folder {Path(path).name}")
        return real_rename(folder, path)

    real_rename = Path.rename
    with pytest.MonkeyPatch.context() as patched:
        for name in COMMITS:
            patched.setattr(Store, name, counted(name))
        patched.setattr(files, "os", Renaming())
        patched.setattr(Path, "rename", renamed)
        yield


@contextmanager
def each_read(before: Before) -> Iterator[None]:
    """Call `before` with the number and the name of each read of a table or a source, right before it."""
    number = iter(range(10_000))

    def counted(name: str) -> Callable[..., Any]:
        real = getattr(Store, name)

        def read(store: Store, table: str, *arguments: Any, **named: Any) -> Any:
            before(next(number), f"{name} {table}")
            return real(store, table, *arguments, **named)

        return read

    def opened(path: Path, *arguments: Any, **named: Any) -> Any:
        if path.suffix == ".jsonl":
            before(next(number), f"open {path.name}")
        return real_open(path, *arguments, **named)

    real_open = Path.open
    with pytest.MonkeyPatch.context() as patched:
        for name in READS:
            patched.setattr(Store, name, counted(name))
        patched.setattr(Path, "open", opened)
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, made_graph) -> Iterator[SmallProject]:
    """The project after the change and a run that nothing disturbs."""
    graph = made_graph.copy(tmp_path_factory.mktemp("undisturbed") / "graph")
    change(graph)
    graph.make(CHOSEN)
    yield graph
    graph.instance.dispose()


def differences(found: SmallProject, expected: SmallProject) -> list[str]:
    """What a run, after which nothing is due, left otherwise than the undisturbed one."""
    found.make(CHOSEN)
    wrong = [] if found.versions() == expected.versions() else ["versions"]
    ours, theirs = found.tables(), expected.tables()
    wrong += [table for table in theirs if not ours[table].equals(theirs[table])]
    try:
        found.assert_sound(of=CHOSEN)
    except AssertionError as error:
        wrong.append(str(error))
    return wrong


def test_killed_before_any_commit_the_next_run_leaves_what_an_undisturbed_one_does(
    tmp_path, made_graph, undisturbed
):
    graph = made_graph.copy(tmp_path / "graph")
    change(graph)
    labels: list[str] = []

    def photograph(number: int, label: str) -> None:
        labels.append(label)
        shutil.copytree(graph.root, tmp_path / str(number))

    with each_commit(photograph):
        graph.make(CHOSEN)
    graph.instance.dispose()
    assert len(labels) > FEWEST_COMMITS
    wrong = {}
    for number, label in enumerate(labels):
        resumed = SmallProject(tmp_path / str(number))
        if found := differences(resumed, undisturbed):
            wrong[f"{number}: {label}"] = found
        resumed.instance.dispose()
        shutil.rmtree(resumed.root)
    assert not wrong, wrong


def disturbed(
    root: Path, made_graph: SmallProject, undisturbed: SmallProject, disturb: Any
) -> dict[str, list[str]]:
    """Disturb a run, then let one run be; what that leaves otherwise."""
    graph = made_graph.copy(root)
    change(graph)
    with suppress(OSError, TamisError), disturb:  # outside of a step the command ends with it
        graph.try_making(CHOSEN)
    found = differences(graph, undisturbed)
    graph.instance.dispose()
    shutil.rmtree(root)
    return {"": found} if found else {}


def test_when_the_disk_is_full_from_any_commit_on_nothing_is_lost(tmp_path, made_graph, undisturbed):
    wrong: dict[str, list[str]] = {}
    labels: list[str] = []
    point = 0
    while True:
        reached: list[str] = []

        def full(number: int, label: str, point: int = point, reached: list[str] = reached) -> None:
            if number >= point:
                reached.append(label)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        found = disturbed(tmp_path / "graph", made_graph, undisturbed, each_commit(full))
        if not reached:
            break
        labels.append(reached[0])
        wrong |= {f"{point}: {reached[0]}": value for value in found.values()}
        point += 1
    assert len(labels) > FEWEST_COMMITS
    assert not wrong, wrong


def test_a_read_that_fails_costs_nothing_but_another_run(tmp_path, made_graph, undisturbed):
    """Of each table and each way to read it, and of each file, the first and the last one."""
    graph = made_graph.copy(tmp_path / "listed")
    change(graph)
    labels: list[str] = []
    with each_read(lambda _number, label: labels.append(label)):
        graph.make(CHOSEN)
    graph.instance.dispose()
    last = {label: number for number, label in enumerate(labels)}
    points = sorted({*last.values(), *(labels.index(label) for label in last)})
    assert len(points) > FEWEST_READS
    wrong: dict[str, list[str]] = {}
    for point in points:

        def unreadable(number: int, _label: str, point: int = point) -> None:
            if number == point:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        found = disturbed(tmp_path / "graph", made_graph, undisturbed, each_read(unreadable))
        wrong |= {f"{point}: {labels[point]}": value for value in found.values()}
    assert not wrong, wrong
