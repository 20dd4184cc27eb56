"""Every commit of a run, one by one: a kill before it, a full disk from there on; and reads that fail.

A commit is a change of a table, or a file that takes its name. One run after a change of
the files commits some hundred times; whichever of them is the last, the next run leaves what an undisturbed
one does. So does a run in which one read failed.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from parts import in_parts
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
PARTS = 8
COUNT = Store.count
"""As it is without what this file puts around it."""
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
            nothing = name == "delete" and not COUNT(store, table, *arguments, **named)
            if not nothing:
                before(next(number), f"{name} {table}")
            return real(store, table, *arguments, **named)

        return commit

    with pytest.MonkeyPatch.context() as patched:
        for name in COMMITS:
            patched.setattr(Store, name, counted(name))
        patched.setattr(files, "os", Renaming())
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


@dataclass(frozen=True)
class Undisturbed:
    """The project after the change and a run that nothing disturbs; its commits and reads, by name."""

    graph: SmallProject
    commits: list[str]
    reads: list[str]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, made_graph) -> Iterator[Undisturbed]:
    graph = made_graph.copy(tmp_path_factory.mktemp("undisturbed") / "graph")
    change(graph)
    found = Undisturbed(graph, [], [])
    with (
        each_commit(lambda _number, label: found.commits.append(label)),
        each_read(lambda _number, label: found.reads.append(label)),
    ):
        graph.make(CHOSEN)
    yield found
    graph.instance.dispose()


def differences(found: SmallProject, undisturbed: Undisturbed) -> list[str]:
    """What a run, after which nothing is due, left otherwise than the undisturbed one."""
    expected = undisturbed.graph
    found.make(CHOSEN)
    wrong = [] if found.versions() == expected.versions() else ["versions"]
    ours, theirs = found.tables(), expected.tables()
    wrong += [table for table in theirs if not ours[table].equals(theirs[table])]
    try:
        found.assert_sound(of=CHOSEN)
    except AssertionError as error:
        wrong.append(str(error))
    return wrong


def disturbed(root: Path, made_graph: SmallProject, undisturbed: Undisturbed, disturb: Any) -> list[str]:
    """Disturb a run, then let one run be; what that leaves otherwise."""
    graph = made_graph.copy(root)
    change(graph)
    with suppress(OSError, TamisError), disturb:  # outside of a step the command ends with it
        graph.try_making(CHOSEN)
    found = differences(graph, undisturbed)
    graph.instance.dispose()
    shutil.rmtree(root)
    return found


def test_the_commits_and_reads_of_a_run_are_known(undisturbed):
    """Fewer would say that the product commits or reads by ways that this file does not know."""
    assert len(undisturbed.commits) > 80
    assert len(set(undisturbed.reads)) > 20
    assert {"file", "merge", "append", "delete"} <= {one.split()[0] for one in undisturbed.commits}


@in_parts(PARTS)
def test_killed_before_a_commit_the_next_run_leaves_what_an_undisturbed_one_does(
    tmp_path, made_graph, undisturbed, part
):
    graph = made_graph.copy(tmp_path / "graph")
    change(graph)
    labels: list[str] = []

    def photograph(number: int, label: str) -> None:
        labels.append(label)
        if number % PARTS == part:
            shutil.copytree(graph.root, tmp_path / str(number))

    with each_commit(photograph):
        graph.make(CHOSEN)
    graph.instance.dispose()
    wrong = {}
    for number in range(part, len(labels), PARTS):
        resumed = SmallProject(tmp_path / str(number))
        if found := differences(resumed, undisturbed):
            wrong[f"{number}: {labels[number]}"] = found
        resumed.instance.dispose()
        shutil.rmtree(resumed.root)
    assert not wrong, wrong


@in_parts(PARTS)
def test_when_the_disk_is_full_from_a_commit_on_nothing_is_lost(tmp_path, made_graph, undisturbed, part):
    wrong: dict[str, list[str]] = {}
    for point in range(part, len(undisturbed.commits), PARTS):

        def full(number: int, _label: str, point: int = point) -> None:
            if number >= point:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        if found := disturbed(tmp_path / "graph", made_graph, undisturbed, each_commit(full)):
            wrong[f"{point}: {undisturbed.commits[point]}"] = found
    assert not wrong, wrong


@in_parts(PARTS)
def test_a_read_that_fails_costs_nothing_but_another_run(tmp_path, made_graph, undisturbed, part):
    """Of each table and each way to read it, and of each file, the first and the last one."""
    reads = undisturbed.reads
    last = {label: number for number, label in enumerate(reads)}
    points = sorted({*last.values(), *(reads.index(label) for label in last)})
    wrong: dict[str, list[str]] = {}
    for point in points[part::PARTS]:

        def unreadable(number: int, _label: str, point: int = point) -> None:
            if number == point:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        if found := disturbed(tmp_path / "graph", made_graph, undisturbed, each_read(unreadable)):
            wrong[f"{point}: {reads[point]}"] = found
    assert not wrong, wrong
