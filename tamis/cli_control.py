"""The verbs of control over selections: what changed, what waits, and the way back."""

import argparse
from typing import Any

from tamis.base.errors import PermanentError
from tamis.base.progress import Heartbeat, say
from tamis.cli_parts import add_verb, platform_definitions, platform_module, print_json, with_json


class AmbiguousCallError(PermanentError):
    """A call that does not say what is meant; the message says what would."""


def add_control_verbs(verbs: Any) -> None:
    """`diff`, `restore` and `approve`."""
    diff = with_json(
        add_verb(verbs, "diff", _diff, "what changed between two versions of a selection, and why")
    )
    diff.add_argument("selection", metavar="SELECTION")
    diff.add_argument("start", nargs="?", type=int, metavar="FROM", help="a version; default: the one before")
    diff.add_argument("end", nargs="?", type=int, metavar="TO", help="a version; default: the latest")
    diff.add_argument("--list", action="store_true", help="list the versions instead")
    diff.add_argument("--limit", type=int, default=20, metavar="N", help="documents shown, 20 by default")
    restore = add_verb(verbs, "restore", _restore, "go back to an earlier version of a selection and keep it")
    restore.add_argument("selection", metavar="SELECTION")
    restore.add_argument("version", nargs="?", metavar="VERSION", help="see `tamis diff SELECTION --list`")
    restore.add_argument("--latest", action="store_true", help="end that: follow the corpora again")
    approve = with_json(add_verb(verbs, "approve", _approve, "let the sensors make what waits for approval"))
    approve.add_argument("selections", nargs="*", metavar="SELECTION", help="without one: list what waits")
    approve.add_argument("--all", action="store_true", help="everything that waits")


def _diff(parsed: argparse.Namespace) -> int:
    from tamis.history.differences import difference, history, history_lines
    from tamis.project import read_project

    if parsed.limit < 0:
        raise AmbiguousCallError(f"--limit {parsed.limit} is no number of documents: 0 or more")
    project = read_project()
    if parsed.list:
        rows = history(project, parsed.selection)
        print_json(rows) if parsed.json else print("\n".join(history_lines(rows)))
        return 0
    found = difference(project, parsed.selection, parsed.start, parsed.end)
    print_json(found.to_json()) if parsed.json else print("\n".join(found.lines(parsed.limit)))
    return 0


def _restore(parsed: argparse.Namespace) -> int:
    from tamis.history.versions import release, restore
    from tamis.project import read_project
    from tamis.selection.stage import SELECTION_STAGE

    if (parsed.version is None) != parsed.latest:
        raise AmbiguousCallError("`tamis restore SELECTION` needs either a VERSION or --latest")
    project = read_project()
    if parsed.latest:
        released = release(project, parsed.selection)
        after = "`tamis materialize`, or the sensors, make it again"
        told = f"was {released.sentence} and is so no more; {after}" if released else "was not pinned"
        print(f"{parsed.selection} {told}")
        return 0
    if not parsed.version.isdecimal():
        raise AmbiguousCallError(f"{parsed.version!r} is no version: versions are numbers, from 1")
    pin, gone = restore(project, parsed.selection, int(parsed.version))
    driver = platform_module("driver")
    wanted = driver.Wanted(only=frozenset({SELECTION_STAGE.name}), partitions=frozenset({parsed.selection}))
    outcome = driver.materialize_project(project, say, wanted, platform_definitions)
    for name, error in outcome.failed.items():
        say(f"failed: {name}: {error}")
    print(f"{parsed.selection} is {pin.sentence}; `tamis restore {parsed.selection} --latest` ends that")
    for doc_id in gone:
        print(f"gone: {doc_id} was chosen then and is in none of the corpora any more")
    return int(bool(outcome.failed))


def _approve(parsed: argparse.Namespace) -> int:
    from tamis.graph.approval import approve, read_approvals, waiting, waiting_lines
    from tamis.graph.scan import scan
    from tamis.project import read_project
    from tamis.records.current_values import read_current_values
    from tamis.store.home import writing

    if parsed.all and parsed.selections:
        raise AmbiguousCallError("name selections or give --all, not both")
    project = read_project()
    with Heartbeat("looking at what waits"):
        snapshot, current = (
            scan(project, project.settings.automation.settle_seconds),
            read_current_values(project.home.store),
        )
    store = project.home.store
    if not parsed.all and not parsed.selections:
        found = waiting(snapshot, current, read_approvals(store))
        lines = waiting_lines(found)
    else:
        with writing(project.home, "tamis approve", 30.0):
            found = approve(store, snapshot, current, parsed.selections)
        lines = [f"{one.selection} is approved as it stands now; the sensors make it" for one in found]
    if parsed.json:
        print_json([one.to_json() for one in found])
    else:
        print("\n".join(lines) or "nothing waits for approval")
    return 0
