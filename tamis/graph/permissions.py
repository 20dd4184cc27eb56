"""Permissions of removals: the names that a person gave, as the losses stand now."""

from collections.abc import Collection

from tamis.graph.held_back import losses_by_name
from tamis.graph.removal_names import with_kinds
from tamis.graph.scan import scan, scan_again
from tamis.project import Project
from tamis.records.current_values import read_current_values


def permitted(project: Project, names: Collection[str]) -> frozenset[str]:
    """Return the names with their kinds, to be asked for before anything is removed.

    Raises `AmbiguousRemovalError` where a name fits losses of several kinds.
    """
    if not names:
        return frozenset()
    current = read_current_values(project.home.store)
    return with_kinds(names, losses_by_name(scan_again(scan(project), current), current))
