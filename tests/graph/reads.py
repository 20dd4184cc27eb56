"""What the steps of a run read: tables of the store and files of other stages, by stage."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from tamis.corpus.stage import QUARANTINE
from tamis.graph.stages import made_together, stages
from tamis.platform.resources.store import StoreResource
from tamis.runtime.step import Work
from tamis.store.schemas import kind_of
from tamis.store.tables import Store

READING = ("read_arrow", "batches", "by_ids", "count", "schema", "version")


@contextmanager
def noted_reads() -> Iterator[dict[str, set[str]]]:
    """Note, while a graph is made, the tables (by kind) and the assets with files that each stage reads."""
    found: dict[str, set[str]] = defaultdict(set)
    running: list[str] = []

    @contextmanager
    def work(resource: StoreResource, *arguments: Any) -> Iterator[Work]:
        with real_work(resource, *arguments) as opened:
            running.append(opened.stage.name)
            try:
                yield opened
            finally:
                running.pop()

    def noting(real: Callable[..., Any], kind: Callable[[str], str]) -> Callable[..., Any]:
        def read(one: Any, name: str, *arguments: Any, **named: Any) -> Any:
            if running:
                found[running[-1]].add(kind(name))
            return real(one, name, *arguments, **named)

        return read

    real_work = StoreResource.work
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StoreResource, "work", work)
        patched.setattr(Work, "upstream", noting(Work.upstream, str))
        for name in READING:
            patched.setattr(Store, name, noting(getattr(Store, name), kind_of))
        yield found


def makes(names: Collection[str]) -> set[str]:
    """Return these assets and the tables that they write."""
    return {*names, *(table.name for name in names for table in stages()[name].tables)}


def undeclared(found: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """What stages read of other stages that they do not declare as their inputs.

    In quarantine each stage reads rows of its own.
    """
    others = makes(stages()) - {QUARANTINE.name}
    wrong = {}
    for name, read in found.items():
        known = {edge.asset for edge in stages()[name].edges}.union(made_together(name))
        if unknown := others.intersection(read) - makes(known):
            wrong[name] = unknown
    return wrong
