"""The small graph, as it is made once for all workers and copied for each test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from once import once
from projects import GRAPH, SmallProject, make_graph


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


@pytest.fixture
def graph(tmp_path, made_graph, nowhere) -> Iterator[SmallProject]:
    """A copy of it that a test may change."""
    copied = made_graph.copy(tmp_path / "graph")
    yield copied
    copied.close()
