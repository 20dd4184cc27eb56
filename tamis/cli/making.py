"""The verbs that say what is due and make it: `init`, `plan`, `materialize`, `status`, `compare`, `demo`."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import click

from tamis.base.errors import NotMadeError, OutdatedError, PermanentError
from tamis.base.files import write_atomically
from tamis.base.progress import Heartbeat, complain, say
from tamis.cli.parts import ListCommand, answer, json_option, run, spoken
from tamis.comparison.stage import COMPARISON_STAGE, SAMPLER_COMPARISON, SAMPLER_TRIALS_STAGE
from tamis.planning import HELD_BACK, plan_lines, read_plan, without_documents
from tamis.project import open_project, read_project
from tamis.report.summary import comparison_lines, summary
from tamis.settings.config import PROJECT_FILE
from tamis.status import due, read_status, unknown_assets


class ProjectExistsError(PermanentError):
    """There is a project file already; it is never overwritten."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path} exists already; edit it, or remove it to start again")


class NothingToCompareError(PermanentError):
    """A project without a selection or without a target."""

    def __init__(self, file: Path) -> None:
        self.file = file
        super().__init__(f"{file} has nothing to compare: it needs a [[selection]] and a [[target]]")


@click.command()
@click.argument("folder", default=".")
def init(folder: str) -> int:
    """Write the template and the folders that it names."""
    path = Path(folder).resolve() / PROJECT_FILE
    if path.exists():
        raise ProjectExistsError(path)
    write_atomically(path, (files("tamis") / "templates" / PROJECT_FILE).read_bytes())
    for name in ("documents", "target"):
        (path.parent / name).mkdir(exist_ok=True)
    print(f"wrote {path}; edit it, put files into the folders that it names, then run `tamis materialize`")
    return 0


@click.command()
@click.option("--on-request", is_flag=True, help="With the trials under [comparison.on_request].")
@json_option
def plan(on_request: bool, as_json: bool) -> int:
    """Show the plan; 1 where something is held back."""
    project = read_project()
    found = read_plan(project, on_request)
    answer(as_json, found, without_documents(project, found) or plan_lines(found))
    return int(any(entry["asset"] == HELD_BACK for entry in found))


@click.command(cls=ListCommand)
@click.option("--only", multiple=True, metavar="ASSET ...", help="Only these assets.")
@click.option("--on-request", is_flag=True, help="Also the trials under [comparison.on_request].")
@click.option(
    "--certified",
    is_flag=True,
    help="Keep what was fitted on an earlier pool where its certificate allows, as sensors do.",
)
@click.option(
    "--try-again",
    is_flag=True,
    help="Also trials that a budget left out because they failed, and what the process died of.",
)
@click.option(
    "--choose-precision",
    is_flag=True,
    help="Measure again whether float32 or bfloat16 is faster here; what the other one made is due then.",
)
@click.option(
    "--allow-removal",
    multiple=True,
    metavar="NAME ...",
    help="Remove what is held back under these names, or `all`.",
)
@spoken
def materialize(only: Sequence[str], allow_removal: Sequence[str], **wanted: bool) -> int:
    """Make what is due."""
    return _materialize(only, allow_removal=frozenset(allow_removal), **wanted)


@click.command()
@spoken
def demo() -> int:
    """Make what is due, then sum up."""
    code = _materialize()
    print(summary(open_project()))
    return code


@click.command()
@spoken
def compare() -> int:
    """Make the comparison of samplers, and show it."""
    project = read_project()
    if not project.settings.selection or not project.settings.target:
        raise NothingToCompareError(project.file)
    trained = [SAMPLER_TRIALS_STAGE.name] if project.settings.sampler_trials.model else []
    wanted = [*trained, COMPARISON_STAGE.name]
    code = _materialize(wanted)
    if not project.home.store.count(SAMPLER_COMPARISON.name):
        raise NotMadeError(COMPARISON_STAGE.name)
    for asset in wanted:
        if reason := due(project, asset, "", refit=False):
            raise OutdatedError(asset, reason)
    print("\n".join(comparison_lines(project)))
    return code


@click.command()
@json_option
def status(as_json: bool) -> int:
    """Show the status; 1 where something is wrong."""
    found = read_status(read_project())
    answer(as_json, found.to_json(), found.lines())
    return int(bool(found.problems()))


def _materialize(assets: Sequence[str] = (), **wanted: Any) -> int:
    """Make all that is due, or of these assets, and say what there is now; 1 where anything is wrong."""
    project, only = open_project(), unknown_assets(assets)
    outcome = run(project, only=only, **wanted)
    with Heartbeat("looking at what was made"):
        found = read_status(project).without(frozenset(outcome.failed))
    wrong = [*found.problems(), *found.waiting(only)]
    for line in wrong:
        complain(line)
    pages = project.home.reports
    for line in (*found.search_lines(), *found.scaling_lines(pages), *found.selection_lines(pages)):
        say(line)
    say(outcome.sentence(bool(wrong), only))
    return int(bool(outcome.failed or wrong))
