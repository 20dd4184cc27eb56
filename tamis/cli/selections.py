"""The verbs of one selection: `export`, `diff`, `restore`, `approve`, `map`."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import click

from tamis.base.numbers import counted, cut
from tamis.base.progress import Heartbeat, complain, say
from tamis.cli.parts import (
    answer,
    failed_lines,
    json_option,
    names_in_project,
    run,
    why_out_of_date,
)
from tamis.corpus.listing import ListingError
from tamis.corpus.stage import DOCUMENTS
from tamis.graph.automation import approve as approve_selections
from tamis.graph.automation import read_approvals, waiting, waiting_lines
from tamis.history.differences import difference, history, history_lines
from tamis.history.versions import release
from tamis.history.versions import restore as restore_version
from tamis.interchange.trainers import TRAINERS
from tamis.project import Project, read_project
from tamis.records.current_values import read_current_values
from tamis.report.seen import beginnings
from tamis.scan.sources import scan
from tamis.selection.stage import PAGES_STAGE, SELECTION_STAGE
from tamis.store.exports import FOLDER
from tamis.store.home import writing
from tamis.store.unwritable import storing_file
from tamis.verbs.elsewhere.export import FORMS, Extras, export_selection
from tamis.verbs.elsewhere.for_trainers import Training, export_for_trainer
from tamis.verbs.map import LAYOUTS, current_map, map_by_neighbours, write_points

PATIENCE_SECONDS = 30.0
REPEATED = ("rows", "column")


@click.command()
@click.argument("selection", shell_complete=names_in_project)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    help="hf writes a folder for datasets.load_dataset.  [default: the suffix of --output, else parquet]",
)
@click.option(
    "--columns", "listed", multiple=True, metavar="NAME,...", help="Write only these columns, and doc_id."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Write to this file, alone, or to this folder, instead of into the folder of exports.",
)
@click.option(
    "--with-card",
    "card",
    is_flag=True,
    help="Write the data card and lineage next to --output, instead of into the folder of exports.",
)
@click.option(
    "--with-scores",
    "scores",
    is_flag=True,
    help="Write all documents of the pool, the selected ones first, with verdict, reason and scores.",
)
@click.option(
    "--passages",
    is_flag=True,
    help="Write a row for each chosen passage of a long document, instead of one row with all of them.",
)
@click.option(
    "--for",
    "trainer",
    type=click.Choice(TRAINERS),
    help="Write a folder for this trainer: the rows in its shape and order, and its configuration with the "
    "base model and recipe of tamis.toml.",
)
@click.option(
    "--model",
    metavar="NAME",
    help="With --for: the [[base_model]] to train.  [default: the one that the model choice chose, else the "
    "first with a path]",
)
@click.option(
    "--repetitions",
    type=click.Choice(REPEATED),
    help="With --for: write a document that is to be trained on several times as so many rows, or as one row "
    "with a column.  [default: rows]",
)
@click.option("--text", "as_text", is_flag=True, help="With --for: write conversations as plain text.")
def export(
    selection: str,
    form: str | None,
    listed: Sequence[str],
    output: Path | None,
    trainer: str | None,
    model: str | None,
    repetitions: str | None,
    *,
    card: bool,
    scores: bool,
    passages: bool,
    as_text: bool,
) -> int:
    """Write a selection, with all columns of its rows, into the folder of exports."""
    if trainer and (form or listed or card or scores or passages):
        raise click.UsageError(
            "--for writes the rows that the trainer takes, with their card; it takes no --format, --columns, "
            "--with-card, --with-scores or --passages"
        )
    if not trainer and (model or repetitions or as_text):
        raise click.UsageError("--model, --repetitions and --text need --for TRAINER")
    project = read_project()
    columns = [name.strip() for names in listed for name in names.split(",") if name.strip()]
    ending = output.suffix.removeprefix(".") if output else ""
    form = form or (ending if ending in FORMS else "parquet")
    with storing_file(output) if output else contextlib.nullcontext():
        if trainer:
            counted_rows = repetitions == REPEATED[1]
            training = Training(trainer=trainer, model=model, as_text=as_text, counted=counted_rows)
            done = export_for_trainer(project, selection, training, output)
        else:
            extras = Extras(card=card, scores=scores, passages=passages)
            done = export_selection(project, selection, form, columns, output, extras)
    print(f"{done.path}: {counted(done.documents, 'document')}")
    if done.card and done.card.parent != done.path.parent and form != FOLDER:
        say(f"its data card: {done.card}")
    for note in done.notes:
        complain(note)
    if output and not done.path.resolve().is_relative_to(project.home.exports.resolve()):
        say(
            f"{done.path} is outside the folder of exports, so `tamis withdraw` will not remove anything "
            "from it"
        )
    if reason := why_out_of_date(project, SELECTION_STAGE.name, selection, "this selection"):
        say(f"this selection is out of date ({reason}): run `tamis materialize`, then export again")
    return 0


@click.command()
@click.argument("selection", shell_complete=names_in_project)
@click.argument("start", type=int, required=False, metavar="[FROM]")
@click.argument("end", type=int, required=False, metavar="[TO]")
@click.option("--list", "listed", is_flag=True, help="List the versions of the selection instead.")
@click.option(
    "--limit", type=click.IntRange(0), default=10, show_default=True, metavar="N", help="Documents shown."
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
        first = found.changes["doc_id"].head(limit)
        begins = {} if as_json else beginnings(project.home.store, DOCUMENTS.name, first)
        answer(as_json, found.to_json(), found.lines(limit, begins))
    return 0


@click.command()
@click.argument("selection", shell_complete=names_in_project)
@click.argument("version", type=click.IntRange(1), required=False)
@click.option("--latest", is_flag=True, help="Unpin the selection, so that it follows the corpora again.")
def restore(selection: str, version: int | None, latest: bool) -> int:
    """Keep a selection at a version, and make it so; `tamis diff SELECTION --list` shows the versions."""
    if (version is None) != latest:
        raise click.UsageError("`tamis restore SELECTION` needs either a VERSION or --latest")
    project = read_project()
    if version is None:
        released = release(project, selection)
        after = "`tamis materialize` or the sensors will update the selection"
        text = f"is no longer pinned to version {released.version}; {after}" if released else "was not pinned"
        print(f"{selection} {text}")
        return 0
    pin, lacking = restore_version(project, selection, version)
    failed = _brought_there(project, selection)
    for line in failed:
        complain(line)
    print(f"{selection} is pinned to version {pin.version}; `tamis restore {selection} --latest` unpins it")
    if not failed and (reason := why_out_of_date(project, SELECTION_STAGE.name, selection, "the selection")):
        say(f"the selection is not at that version yet ({reason}): `tamis materialize` will bring it there")
    for line in cut(
        [f"left out: {doc_id} was selected in that version, but {why}" for doc_id, why in lacking.items()]
    ):
        print(line)
    return int(bool(failed))


def _brought_there(project: Project, selection: str) -> list[str]:
    """Make a selection as its pin asks for, and return what failed; the pin stays where a listing fails."""
    try:
        outcome = run(project, only=frozenset({SELECTION_STAGE.name}), partitions=frozenset({selection}))
    except ListingError as error:
        return [f"the selection is not at that version yet: {error}; then run `tamis materialize`"]
    return failed_lines(outcome)


@click.command()
@click.argument("selections", nargs=-1, metavar="[SELECTION]...", shell_complete=names_in_project)
@click.option("--all", "everything", is_flag=True, help="Approve every selection that is waiting.")
@json_option
def approve(selections: Sequence[str], everything: bool, as_json: bool) -> int:
    """Approve selections; without a name: list what waits."""
    if everything and selections:
        raise click.UsageError("name selections or use --all, not both")
    project = read_project()
    store = project.home.store
    with Heartbeat("checking which selections are waiting"):
        snapshot, current = (
            scan(project, project.settings.automation.settle_seconds),
            read_current_values(store),
        )
    if everything or selections:
        with writing(project.home, "tamis approve", PATIENCE_SECONDS):
            found = approve_selections(store, snapshot, current, selections)
        lines = [
            f"{one.selection} is approved with its current inputs; the sensors (while `tamis ui` runs) or "
            "`tamis materialize` will update the selection"
            for one in found
        ]
    else:
        found = waiting(snapshot, current, read_approvals(store))
        lines = waiting_lines(found)
    nothing = f"{'none of the named selections' if selections else 'no selection'} is waiting for approval"
    answer(as_json, [one.to_json() for one in found], lines or [nothing])
    return 0


@click.command()
@click.argument("selection", shell_complete=names_in_project)
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default=LAYOUTS[0],
    show_default=True,
    help="neighbours puts documents of similar meaning close together; takes minutes the first time.",
)
@click.option(
    "--parquet",
    is_flag=True,
    help="Also write the points of the map to the folder of exports, for Embedding Atlas.",
)
def map(selection: str, layout: str, *, parquet: bool) -> int:
    """Say where the map of a selection is, or make another one."""
    project = read_project()
    neighbours = layout == LAYOUTS[1]
    print(map_by_neighbours(project, selection) if neighbours else current_map(project, selection))
    if reason := why_out_of_date(project, PAGES_STAGE.name, selection, "this map"):
        say(f"this map is out of date ({reason}): run `tamis materialize`, then ask again")
    if parquet:
        written = write_points(project, selection, neighbours)
        print(
            f"{written}\n  uvx embedding-atlas {written.name} --text text --x x --y y --neighbors neighbors"
        )
    return 0
