"""The small graph, as it is made once for all workers and copied for each test."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from exports import MADE, settings_of, write_corpora
from made_evaluations import make as make_evaluated
from once import altered, once
from projects import GRAPH, SmallProject, make_graph, plain_project

from tamis.base.trust import TRUST
from tamis.embedding.static import StaticEncoder, load_static
from tamis.report.selection_data import SelectionReport, selection_plot_png

LOADED: dict[str, StaticEncoder] = {}
"""The static encoder by its fingerprint."""
DRAWN: dict[bytes, bytes] = {}
"""Plots by all that they are drawn from."""


@pytest.fixture(scope="module", autouse=True)
def once_in_a_worker() -> Iterator[None]:
    """Load the encoder and draw each plot once, not in each run of a copy: a third of a second each.

    How a home keeps and finds its encoder is asked in tests/embedding.
    """

    def found(teacher: Path, cache: Path, fingerprint: str) -> StaticEncoder:
        if fingerprint not in LOADED:
            LOADED[fingerprint] = load_static(teacher, cache, fingerprint)
        return LOADED[fingerprint]

    def drawn(report: SelectionReport) -> bytes:
        asked = pickle.dumps(report)
        if asked not in DRAWN:
            DRAWN[asked] = selection_plot_png(report)
        return DRAWN[asked]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tamis.embedding.encoder.load_static", found)
        patched.setattr("tamis.platform.assets.selection.selection_plot_png", drawn)
        yield


@pytest.fixture(autouse=True)
def pages_stubbed(request, monkeypatch) -> None:
    """Write an empty page, and no index, in tests that do not declare that they look at one (`with_pages`).

    They are about a tenth of a run of the small graph, by a profile.
    """
    if request.node.get_closest_marker("with_pages") is None:
        monkeypatch.setattr("tamis.platform.assets.selection.selection_plot_png", lambda _report: b"")
        monkeypatch.setattr("tamis.platform.assets.selection.selection_page", lambda *_: "a page")
        monkeypatch.setattr("tamis.runtime.checks.write_index", lambda *_: False)


@pytest.fixture(autouse=True)
def settled(monkeypatch) -> None:
    """Let sensors act on a tamis.toml that was written a moment ago, however fast the graph was made."""
    monkeypatch.setattr("tamis.platform.sensors.requests.SETTLED_SECONDS", 0)


@pytest.fixture
def new_graph(tmp_path, encoder_cache, nowhere) -> Iterator[Callable[..., SmallProject]]:
    """Projects with nothing made yet, in folders of these names."""
    made: list[SmallProject] = []

    def make(name: str, settings: str = GRAPH) -> SmallProject:
        made.append(make_graph(tmp_path / name, encoder_cache, settings))
        return made[-1]

    yield make
    for graph in made:
        graph.close()


@pytest.fixture(scope="session")
def made_graph(shared, encoder_cache) -> Iterator[SmallProject]:
    """The small graph as it is made, to be copied."""

    def make(root: Path) -> None:
        graph = make_graph(root, encoder_cache)
        graph.make()
        graph.close()

    original = SmallProject(once(shared / "small-graph", make))
    yield original
    original.close()
    assert altered(original.root) == [], "a test changed the project that all others copy"


@pytest.fixture
def graph(tmp_path, made_graph, nowhere) -> Iterator[SmallProject]:
    """A copy of it that a test may change."""
    copied = made_graph.copy(tmp_path / "graph")
    yield copied
    copied.close()


@pytest.fixture(scope="module")
def exporting_made(tmp_path_factory) -> Iterator[SmallProject]:
    """The project of exports.py, made."""
    root = tmp_path_factory.mktemp("exporting") / "project"
    write_corpora(root)
    project = plain_project(root, settings_of(), {})
    project.make(MADE)
    yield project
    project.close()


@pytest.fixture
def exporting(tmp_path, exporting_made, nowhere) -> Iterator[SmallProject]:
    """A copy of it that a test may change."""
    copied = exporting_made.copy(tmp_path / "project")
    yield copied
    copied.close()


@pytest.fixture
def evaluated(tmp_path, shared, nowhere, monkeypatch) -> Iterator[SmallProject]:
    """A copy of the project of made_evaluations.py that a test may change, with its command accepted."""
    monkeypatch.setenv(TRUST, "1")
    copied = SmallProject(once(shared / "evaluated", make_evaluated)).copy(tmp_path / "evaluated")
    yield copied
    copied.close()
