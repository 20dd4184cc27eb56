"""Every commit of a run, one by one: a kill before it, a full disk from there on; and reads that fail.

A commit is whatever another process could see: a change of a table, a file that takes its name or goes, an
entry of the event log (`commits`). Whichever of them is the last one of a run, the next run leaves what an
undisturbed one does. So does a run in which one read failed.
"""

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from commits import Before, each_commit
from dagster._core.errors import DagsterError
from parts import in_parts
from projects import CHOSEN, COOKING, GRAPH, SmallProject, base_model, make_graph
from sqlalchemy.exc import SQLAlchemyError
from test_graph_kills import change

from tamis.base.errors import TamisError
from tamis.corpus import document_id
from tamis.store import compaction
from tamis.store.exports import FOLDER
from tamis.store.tables import Store
from tamis.verbs.elsewhere.export import export_selection
from tamis.withdrawal.verifying import verify

pytestmark = pytest.mark.slow

READS = ("read_arrow", "batches", "by_ids", "count", "sealed_blocks")
PARTS = 12
FAULTS = (OSError, TamisError, sqlite3.Error, SQLAlchemyError, DagsterError)
"""With these a command ends when a disk fails under it."""
TRAINED = CHOSEN | {"tokenizer", "base_models", "trials", "loss_curves", "scaling_law_report", "model_choice"}
TRAINING = "\n".join(
    [
        base_model(),
        "[pretraining]\ntokens = 1_000\nvocabulary = 512\nsequence_length = 32\n",
        '[scaling]\ntarget = "goal"\nmodels = ["small"]\nsizes = [8]\n',
    ]
)
GONE = document_id(COOKING[3])


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What a user does with a project: what comes before, what is disturbed, and what of it is made."""

    prepare: Callable[[SmallProject], None]
    act: Callable[[SmallProject], None]
    stages: frozenset[str] = CHOSEN
    begins_empty: bool = False
    patched: dict[str, Any] = field(default_factory=dict)
    """Names in the module of compaction, and their values for as long as the scenario lasts."""


def make(graph: SmallProject) -> None:
    graph.make(CHOSEN)


def withdraw(graph: SmallProject) -> None:
    graph.withdraw([GONE])
    graph.make(CHOSEN)


def exported_in_all_forms(graph: SmallProject) -> None:
    for form in ("jsonl", "parquet", FOLDER):
        export_selection(graph.project, "near", form)


def exported_then_changed(graph: SmallProject) -> None:
    exported_in_all_forms(graph)
    change(graph)


def export(graph: SmallProject) -> None:
    graph.make(CHOSEN)
    exported_in_all_forms(graph)


def with_models(graph: SmallProject) -> None:
    graph.configure(GRAPH + TRAINING)


def train(graph: SmallProject) -> None:
    graph.make(TRAINED)


def nothing(_graph: SmallProject) -> None:
    """Change nothing."""


SCENARIOS = {
    "the first build": Scenario(prepare=nothing, act=make, begins_empty=True),
    "files change": Scenario(prepare=change, act=make),
    "a document is withdrawn": Scenario(prepare=exported_in_all_forms, act=withdraw),
    "a choice is exported again": Scenario(prepare=exported_then_changed, act=export),
    "tables are compacted": Scenario(
        prepare=change,
        act=make,
        patched={"MOST_SMALL_FILES": 1, "MOST_VERSIONS": 1, "LEAST_INDEXED": 1},
    ),
    "models are trained": Scenario(prepare=with_models, act=train, stages=TRAINED),
}


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """A scenario; the project before and after it where nothing disturbs; its commits and reads by name."""

    scenario: Scenario
    before: Path
    graph: SmallProject
    commits: list[str]
    reads: list[str]

    def copy(self, root: Path) -> SmallProject:
        """Return the project as it is when the scenario begins, with its event log."""
        shutil.copytree(self.before, root)
        return SmallProject(root, durable=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory, encoder_cache) -> dict[bool, Path]:
    """The small graph with nothing made yet, and as it is made, with an event log of its own."""
    root = tmp_path_factory.mktemp("made")
    graph = SmallProject(make_graph(root / "made", encoder_cache).root, durable=True)
    shutil.copytree(graph.root, root / "empty")
    graph.make(CHOSEN)
    graph.close()
    return {True: root / "empty", False: graph.root}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if name == "files change" else pytest.mark.exhaustive)
        for name in SCENARIOS
    ],
)
def undisturbed(request, tmp_path_factory, made) -> Iterator[Undisturbed]:
    scenario, root = SCENARIOS[request.param], tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(made[scenario.begins_empty], root / "before")
    prepared = SmallProject(root / "before", durable=True)
    scenario.prepare(prepared)
    prepared.close()
    shutil.copytree(prepared.root, root / "graph")
    commits: list[str] = []
    reads: list[str] = []
    graph = SmallProject(root / "graph", durable=True)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in scenario.patched.items():
            patched.setattr(compaction, name, value)
        with (
            each_commit(graph.root, lambda _number, label: commits.append(label)),
            each_read(lambda _number, label: reads.append(label)),
        ):
            scenario.act(graph)
        yield Undisturbed(scenario=scenario, before=prepared.root, graph=graph, commits=commits, reads=reads)
    graph.close()


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


def differences(found: SmallProject, undisturbed: Undisturbed) -> list[str]:
    """What the scenario, done once more, leaves otherwise than the undisturbed one."""
    expected, stages = undisturbed.graph, undisturbed.scenario.stages
    undisturbed.scenario.act(found)
    wrong = [] if found.versions() == expected.versions() else ["versions"]
    ours, theirs = found.tables(), expected.tables()
    wrong += [table for table in theirs if not ours[table].equals(theirs[table])]
    wrong += sorted(kept_files(expected) - kept_files(found))
    wrong += verify(found.home).problems
    try:
        found.assert_sound(of=stages)
    except AssertionError as error:
        wrong.append(str(error))
    return wrong


def kept_files(graph: SmallProject) -> set[str]:
    """Names of the checkpoints' and exports' files."""
    folders = (graph.home.checkpoints, graph.home.exports)
    return {str(path.relative_to(graph.root)) for folder in folders for path in folder.rglob("*")}


def disturbed(root: Path, undisturbed: Undisturbed, disturb: AbstractContextManager[None]) -> list[str]:
    """Disturb the scenario, then do it without; what that leaves otherwise."""
    graph = undisturbed.copy(root)
    with suppress(*FAULTS, AssertionError), disturb:  # outside of a step the command ends with it
        undisturbed.scenario.act(graph)
    graph.close()
    again = SmallProject(root, durable=True)
    found = differences(again, undisturbed)
    again.close()
    shutil.rmtree(root)
    return found


def test_the_commits_and_reads_of_a_run_are_known(undisturbed):
    """Fewer would say that the product commits or reads by ways that this file does not know."""
    assert len(undisturbed.commits) > 40
    assert len(set(undisturbed.reads)) > 20
    kinds = {one.split()[0] for one in undisturbed.commits}
    assert {"os.rename", "merge", "log"} <= kinds
    if undisturbed.scenario.patched:
        assert "storage _optimized" in undisturbed.commits


@in_parts(PARTS)
def test_killed_before_a_commit_the_next_run_leaves_what_an_undisturbed_one_does(tmp_path, undisturbed, part):
    graph = undisturbed.copy(tmp_path / "graph")
    labels: list[str] = []

    def photograph(number: int, label: str) -> None:
        labels.append(label)
        if number % PARTS == part:
            shutil.copytree(graph.root, tmp_path / str(number))

    with each_commit(graph.root, photograph):
        undisturbed.scenario.act(graph)
    graph.close()
    wrong = {}
    for number in range(part, len(labels), PARTS):
        resumed = SmallProject(tmp_path / str(number), durable=True)
        if found := differences(resumed, undisturbed):
            wrong[f"{number}: {labels[number]}"] = found
        resumed.close()
        shutil.rmtree(resumed.root)
    assert not wrong, wrong


@in_parts(PARTS)
def test_when_the_disk_is_full_from_a_commit_on_nothing_is_lost(tmp_path, undisturbed, part):
    wrong: dict[str, list[str]] = {}
    for point in range(part, len(undisturbed.commits), PARTS):

        def full(number: int, label: str, point: int = point) -> None:
            if number < point or label.startswith(("os.remove", "os.rmdir")):
                return
            if label.startswith("log"):
                raise sqlite3.OperationalError("database or disk is full")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        root = tmp_path / "graph"
        if found := disturbed(root, undisturbed, each_commit(root, full)):
            wrong[f"{point}: {undisturbed.commits[point]}"] = found
    assert not wrong, wrong


@in_parts(PARTS)
def test_a_read_that_fails_costs_nothing_but_another_run(tmp_path, undisturbed, part):
    """Of each table and each way to read it, and of each file, the first and the last one."""
    reads = undisturbed.reads
    last = {label: number for number, label in enumerate(reads)}
    points = sorted({*last.values(), *(reads.index(label) for label in last)})
    wrong: dict[str, list[str]] = {}
    for point in points[part::PARTS]:

        def unreadable(number: int, _label: str, point: int = point) -> None:
            if number == point:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        if found := disturbed(tmp_path / "graph", undisturbed, each_read(unreadable)):
            wrong[f"{point}: {reads[point]}"] = found
    assert not wrong, wrong
