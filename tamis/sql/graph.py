"""The order of models: parents first, ties by name; circles are named as a reader would follow them."""

from collections.abc import Iterable, Mapping
from graphlib import CycleError as GraphCycleError
from graphlib import TopologicalSorter

Parents = Mapping[str, Iterable[str]]


def dependency_order(parents: Parents) -> list[str]:
    """Names with every parent before its children, ties by name; `find_cycle` must be empty."""
    sorter = TopologicalSorter(parents)
    sorter.prepare()
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        order.extend(ready)
        sorter.done(*ready)
    return order


def find_cycle(parents: Parents) -> list[str]:
    """Names of a circle, each needing the next, first and last equal; empty when there is none."""
    try:
        TopologicalSorter({name: sorted(parents[name]) for name in sorted(parents)}).prepare()
    except GraphCycleError as error:
        # graphlib lists each node before those that need it.
        return list(reversed(error.args[1]))
    return []
