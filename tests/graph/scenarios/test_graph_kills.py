"""A process that dies at any moment: the next run leaves what an undisturbed one does.

One run is photographed: at each moment the project is copied as it is on the disk, which is what kill -9
there would leave. The copies are resumed.
"""

import functools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from projects import BAD_ROWS, NEAR, REPEATED, SAILING, SCORED, VECTORS, SmallProject, lines, texts, write

from tamis.corpus import intake, repeats
from tamis.embedding import storing as embedding
from tamis.platform.assets import coverage
from tamis.retention import reconciled as reconcile
from tamis.runtime import step
from tamis.store.tables import Store

MORE = texts("sailing", 6, 9)


@dataclass(frozen=True)
class Moment:
    """Before the call of that number of a function, or after it."""

    owner: Any
    name: str
    call: int = 1
    after: bool = False


MOMENTS = {
    "raw shards are not yet in the index": Moment(step, "write_current_values", 1),
    "texts are stored, their places are not": Moment(Store, "append", 1, after=True),
    "documents are stored, not yet in the index": Moment(step, "write_current_values", 2),
    "orphans are noted, not yet deleted": Moment(reconcile, "delete_orphans"),
    "orphans are retained, not yet deleted": Moment(intake, "retain", after=True),
    "the orphans of one table are deleted": Moment(Store, "delete", 2, after=True),
    "near-duplicates are decided, their index is not": Moment(repeats, "_write_index"),
    "half of the vectors are stored": Moment(embedding, "vector_column", 2),
    "vectors are stored, not yet in the index": Moment(step, "write_current_values", 4),
    "density is stored, not yet in the index": Moment(coverage, "score_density", after=True),
}

BETWEEN_OTHERS = {
    "raw shards are not yet in the index",
    "orphans are noted, not yet deleted",
    "half of the vectors are stored",
    "vectors are stored, not yet in the index",
    "density is stored, not yet in the index",
}
"""Moments that differ from one next to them in the stage or the row alone; the long suite tries them."""


@dataclass
class Photographed:
    """The graph at its end, and copies of its project as they were at the moments."""

    graph: SmallProject
    folders: dict[str, Path]


def change(graph: SmallProject) -> None:
    """One file is new, one changes, one goes: every kind of work follows."""
    write(graph.landing / "more.jsonl", lines(MORE))
    write(graph.landing / "sailing.jsonl", [*lines([*SAILING[3:], *NEAR, REPEATED]), *BAD_ROWS])
    (graph.landing / "cooking.jsonl").unlink()


@pytest.fixture(scope="module")
def photographed(tmp_path_factory, made_graph) -> Iterator[Photographed]:
    """The changes made by an undisturbed run, photographed at each moment."""
    root = tmp_path_factory.mktemp("photographed")
    found = Photographed(made_graph.copy(root / "graph"), {})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(embedding, "BATCH", 5)
        patched.setenv("OMP_NUM_THREADS", "1")  # no other thread writes while a moment is photographed
        for (owner, name), moments in by_function().items():
            photograph = functools.partial(keep, found, root)
            patched.setattr(owner, name, counting(getattr(owner, name), moments, photograph))
        change(found.graph)
        found.graph.make(SCORED)
    yield found
    found.graph.instance.dispose()


@pytest.fixture
def resume(photographed, nowhere) -> Iterator[Callable[[str], SmallProject]]:
    """The project as it was photographed at a moment."""
    opened: list[SmallProject] = []

    def at(label: str) -> SmallProject:
        opened.append(SmallProject(photographed.folders[label]))
        return opened[-1]

    yield at
    for graph in opened:
        graph.instance.dispose()


def by_function() -> dict[tuple[Any, str], dict[str, Moment]]:
    found: dict[tuple[Any, str], dict[str, Moment]] = {}
    for label, moment in MOMENTS.items():
        found.setdefault((moment.owner, moment.name), {})[label] = moment
    return found


def counting(
    real: Callable[..., Any], moments: dict[str, Moment], photograph: Callable[[str], None]
) -> Callable[..., Any]:
    """The function, with photographs before and after some of its calls."""
    calls: list[None] = []

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(None)
        now = {label: moment for label, moment in moments.items() if moment.call == len(calls)}
        for label in [label for label, moment in now.items() if not moment.after]:
            photograph(label)
        result = real(*arguments, **named)
        for label in [label for label, moment in now.items() if moment.after]:
            photograph(label)
        return result

    return counted


def keep(found: Photographed, root: Path, label: str) -> None:
    found.folders[label] = root / str(len(found.folders))
    shutil.copytree(found.graph.root, found.folders[label])


@pytest.mark.parametrize(
    "label", [pytest.param(label, marks=[pytest.mark.slow] * (label in BETWEEN_OTHERS)) for label in MOMENTS]
)
def test_killed_at_any_moment_the_next_run_leaves_what_an_undisturbed_one_does(photographed, resume, label):
    resumed, undisturbed = resume(label), photographed.graph
    made = resumed.make(SCORED).made
    assert made, "the run was over at this moment"
    assert resumed.versions() == undisturbed.versions()
    found, expected = resumed.tables(), undisturbed.tables()
    for table in expected:
        assert found[table].equals(expected[table]), table
    retained = f"retained_{VECTORS}"
    assert resumed.rows(retained)["doc_id"].equals(undisturbed.rows(retained)["doc_id"])
    resumed.assert_sound(of=SCORED)


def test_what_is_half_made_is_made_again_though_the_files_change_back(resume, made_graph):
    resumed = resume("documents are stored, not yet in the index")
    for path in resumed.landing.iterdir():
        path.unlink()
    for path in made_graph.landing.iterdir():
        shutil.copy2(path, resumed.landing)
    resumed.make()
    assert resumed.versions() == made_graph.versions()
    assert resumed.rows("occurrences").equals(made_graph.rows("occurrences"))
    resumed.assert_sound()
