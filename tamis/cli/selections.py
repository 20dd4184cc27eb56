"""The verbs of one selection: `export`, `diff`, `restore`, `approve`."""

from collections.abc import Sequence

import click

from tamis.base.progress import Heartbeat, say
from tamis.cli.parts import answer, json_option, run
from tamis.exporting import export_selection
from tamis.graph.approval import approve as approve_selections
from tamis.graph.approval import read_approvals, waiting, waiting_lines
from tamis.graph.scan import scan
from tamis.history.differences import difference, history, history_lines
from tamis.history.versions import release
from tamis.history.versions import restore as restore_version
from tamis.project import read_project
from tamis.records.current_values import read_current_values
from tamis.selection.stage import SELECTION_STAGE
from tamis.status import due
from tamis.store.home import writing

PATIENCE_SECONDS = 30.0


@click.command()
@click.argument("selection")
@click.option(
    "--format", "form", type=click.Choice(("parquet", "jsonl")), default="parquet", show_default=True
)
def export(selection: str, form: str) -> int:
    """Write a selection into the folder of exports."""
    project = read_project()
    path, rows = export_selection(project, selection, form)
    print(f"{path}: {rows:,} documents")
    if reason := due(project, SELECTION_STAGE.name, selection):
        say(f"this choice is out of date ({reason}): `tamis materialize`, then export again")
    return 0


@click.command()
@click.argument("selection")
@click.argument("start", type=int, required=False, metavar="[FROM]")
@click.argument("end", type=int, required=False, metavar="[TO]")
@click.option("--list", "listed", is_flag=True, help="List the versions instead.")
@click.option(
    "--limit", type=click.IntRange(0), default=20, show_default=True, metavar="N", help="Documents shown."
)
@json_option
def diff(
    selection: str, start: int | None, end: int | None, *, listed: bool, limit: int, as_json: bool
) -> int:
    """Compare two versions: the latest with the one before, unless FROM and TO say which."""
    project = read_project()
    if listed:
        rows = history(project, selection)
        answer(as_json, rows, history_lines(rows))
    else:
        found = difference(project, selection, start, end)
        answer(as_json, found.to_json(), found.lines(limit))
    return 0


@click.command()
@click.argument("selection")
@click.argument("version", type=click.IntRange(1), required=False)
@click.option("--latest", is_flag=True, help="End that: follow the corpora again.")
def restore(selection: str, version: int | None, latest: bool) -> int:
    """Keep a selection at a version, and make it so; `tamis diff SELECTION --list` shows the versions."""
    if (version is None) != latest:
        raise click.UsageError("`tamis restore SELECTION` needs either a VERSION or --latest")
    project = read_project()
    if version is None:
        released = release(project, selection)
        after = "`tamis materialize`, or the sensors, make it again"
        text = f"was {released.sentence} and is so no more; {after}" if released else "was not pinned"
        print(f"{selection} {text}")
        return 0
    pin, gone = restore_version(project, selection, version)
    outcome = run(project, only=frozenset({SELECTION_STAGE.name}), partitions=frozenset({selection}))
    print(f"{selection} is {pin.sentence}; `tamis restore {selection} --latest` ends that")
    for doc_id in gone:
        print(f"gone: {doc_id} was chosen then and is in none of the corpora any more")
    return int(bool(outcome.failed))


@click.command()
@click.argument("selections", nargs=-1, metavar="[SELECTION]...")
@click.option("--all", "everything", is_flag=True, help="Everything that waits.")
@json_option
def approve(selections: Sequence[str], everything: bool, as_json: bool) -> int:
    """Approve selections; without a name: list what waits."""
    if everything and selections:
        raise click.UsageError("name selections or give --all, not both")
    project = read_project()
    store = project.home.store
    with Heartbeat("looking at what waits"):
        snapshot, current = (
            scan(project, project.settings.automation.settle_seconds),
            read_current_values(store),
        )
    if everything or selections:
        with writing(project.home, "tamis approve", PATIENCE_SECONDS):
            found = approve_selections(store, snapshot, current, selections)
        lines = [f"{one.selection} is approved as it is now; the sensors make it" for one in found]
    else:
        found = waiting(snapshot, current, read_approvals(store))
        lines = waiting_lines(found)
    answer(as_json, [one.to_json() for one in found], lines or ["nothing waits for approval"])
    return 0
