"""The small graph, as it is made once for all workers and copied for each test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from once import once
from small_graph import SETTINGS, SmallGraph, make_graph


@pytest.fixture
def new_graph(tmp_path, encoder_cache, nowhere) -> Iterator[Callable[..., SmallGraph]]:
    """Projects with nothing made yet, in folders of these names."""
    made: list[SmallGraph] = []

    def make(name: str, settings: str = SETTINGS) -> SmallGraph:
        made.append(make_graph(tmp_path / name, encoder_cache, settings))
        return made[-1]

    yield make
    for graph in made:
        graph.instance.dispose()


@pytest.fixture(scope="session")
def made_graph(shared, encoder_cache) -> Iterator[SmallGraph]:
    """The small graph as it is made, to be copied."""

    def make(root: Path) -> None:
        graph = make_graph(root, encoder_cache)
        graph.make()
        graph.instance.dispose()

    original = SmallGraph(once(shared / "small-graph", make))
    yield original
    original.instance.dispose()


@pytest.fixture
def graph(tmp_path, made_graph, nowhere) -> Iterator[SmallGraph]:
    """A copy of it that a test may change."""
    copied = made_graph.copy(tmp_path / "graph")
    yield copied
    copied.instance.dispose()
