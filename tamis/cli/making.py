"""The verbs that say what is due and make it, such as `init`, `plan`, `materialize`, `compare` and `tune`."""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tamis.base.errors import NotMadeError, OutdatedError
from tamis.base.files import write_atomically
from tamis.base.numbers import counted, named
from tamis.base.progress import Heartbeat, complain, is_quiet, say, visible
from tamis.base.user_folders import require_plain
from tamis.cli.choice_options import call_of, choice_options
from tamis.cli.parts import (
    CallError,
    ListCommand,
    answer,
    failed_lines,
    json_option,
    names_in_project,
    run,
    spoken,
)
from tamis.comparison.stage import COMPARISON_STAGE, SAMPLER_COMPARISON, SAMPLER_TRIALS_STAGE
from tamis.project import Project, open_project, read_project
from tamis.records.current_values import read_current_values
from tamis.report.runs.recipe import recipe_lines
from tamis.report.summary import comparison_lines, summary
from tamis.scaling.searched import sentences
from tamis.scan.lock import LockError, differences, lock_line, present, require_locked
from tamis.scan.sources import due, inputs_due, value_due
from tamis.settings.config import HOME, PROJECT_FILE
from tamis.settings.lock import LOCK_FILE, UnreadableLockError, read_lock
from tamis.settings.sections import ProjectSection
from tamis.tuning.stage import RECIPE_STAGE, TUNE_ANSWERS
from tamis.verbs.choice.project_file import template, write_for_files, write_project
from tamis.verbs.demonstration import demonstration
from tamis.verbs.mix import lines_of, read_mixture
from tamis.verbs.mix import plan_lines as runs_of_mixture
from tamis.verbs.plan import HELD_BACK, budget_lines, checked_plan, plan_lines, without_documents
from tamis.verbs.status import Status, read_status, unknown_assets
from tamis.verbs.tune import read_recipe, write_section

OF_DOCUMENTS = ("target", "text_column", "form", "hold_out")
"""Options of `init --documents`; the others decide a choice, which tamis.toml states."""


@click.command(cls=ListCommand)
@click.argument("folder", default=".")
@click.option(
    "--from-select",
    "pool",
    multiple=True,
    metavar="POOL ...",
    help="Write the project that makes the choice of `tamis select POOL ...` with the options below.",
)
@click.option(
    "--documents",
    multiple=True,
    metavar="FILE ...",
    help="Write the template for these files, folders or globs and the examples in --target: first rows say "
    "where texts are, unless --text-column or --format does, and the number of examples how many are held "
    "out, unless --hold-out does.",
)
@choice_options
def init(folder: str, pool: Sequence[str] = (), documents: Sequence[str] = (), **given: Any) -> int:
    """Write the template, with the folder's name for the project, and the folders that it names."""
    path = Path(folder).resolve() / PROJECT_FILE
    if path.exists():
        raise CallError(f"{path} already exists; edit it, or remove it to start over")
    require_plain(path, "choose another folder for the project")
    if not (there := next(one for one in path.parents if one.exists())).is_dir():
        raise CallError(f"{there} is a file, but a project is a folder; pass a folder: `tamis init FOLDER`")
    name = re.sub("[^a-z0-9._-]+", "-", path.parent.name.lower()).strip("._-")[:60] or ProjectSection().name
    if pool and documents:
        raise CallError("--documents and --from-select each name the pool; use one of them")
    context = click.get_current_context(silent=True)
    for option in () if pool else given:
        if context and context.get_parameter_source(option) == ParameterSource.COMMANDLINE:
            _require_known(option, bool(documents))
    if pool or documents:
        if pool:
            write_project(call_of(pool, **given), name, path.parent)
        else:
            for line in write_for_files(call_of(documents, **given), name, path.parent):
                print(visible(line))
        print(f"wrote {path}; run `tamis -C {folder} materialize`")
        if line := _leave_out_of_git(path.parent):
            print(line)
        return 0
    write_atomically(path, template(name).encode("utf-8"))
    for own in ("documents", "target"):
        (path.parent / own).mkdir(exist_ok=True)
    print(f"wrote {path}; edit it, put files into the folders that it names, then run `tamis materialize`")
    if line := _leave_out_of_git(path.parent):
        print(line)
    return 0


def _require_known(option: str, looks: bool) -> None:
    """Raise `CallError` for an option that does nothing; `looks`: the call has --documents."""
    written = f"--{'format' if option == 'form' else option.replace('_', '-')}"
    if option not in OF_DOCUMENTS:
        instead = "; set it in tamis.toml afterwards" if looks else ""
        raise CallError(f"{written} goes with --from-select POOL ...{instead}")
    if not looks:
        raise CallError(f"{written} goes with --documents FILE ... or --from-select POOL ...")


def _leave_out_of_git(project: Path) -> str:
    """Have git leave out the folder of results: write .gitignore, or add a line to the one that is there.

    Returns what was done, "" where a line of it speaks of the folder already.
    """
    path, added = project / ".gitignore", f"# results of Tamis\n{HOME}/\n".encode()
    try:
        before = path.read_bytes() if path.exists() else b""
        if re.search(rb"(?m)^[^#\r\n]*(?<![^/!\r\n])%s(/|\s*$)" % re.escape(HOME.encode()), before):
            return ""
        if b"\r\n" in before:
            added = added.replace(b"\n", b"\r\n")
        with path.open("ab") as file:  # in place: it may be a link
            file.write((b"\n" if before and not before.endswith(b"\n") else b"") + added)
    except OSError as error:
        return f"{path} could not be written ({error.strerror}); add {HOME}/ to it, so that git leaves it out"
    done = f"added {HOME}/ to" if before else "wrote"
    return f"{done} {path}, so that git leaves out {HOME}/, the folder of results"


@click.command()
@click.option(
    "--on-request",
    is_flag=True,
    help="Include the trials that run only on request ([comparison.on_request] in tamis.toml).",
)
@json_option
def plan(on_request: bool, as_json: bool) -> int:
    """Show the plan; 1 where something is held back, a target cannot be made, or too much cannot be read."""
    project = read_project()
    _warn_of_lock(project)
    found, checked = checked_plan(project, on_request)
    lines = [*plan_lines(found), *runs_of_mixture(project), *budget_lines(project, found)]
    answer(as_json, found, without_documents(project, found) or lines)
    for line in checked.lines:
        complain(line)
    return int(bool(checked.unmet or checked.too_many) or any(one["asset"] == HELD_BACK for one in found))


@click.command(cls=ListCommand)
@click.option("--only", multiple=True, metavar="ASSET ...", help="Materialize only these assets.")
@click.option(
    "--on-request",
    is_flag=True,
    help="Also run the trials that run only on request ([comparison.on_request] in tamis.toml).",
)
@click.option(
    "--certified",
    is_flag=True,
    help="Keep what was fitted on an earlier pool while its certificate (an error estimate) allows it, "
    "as the sensors do.",
)
@click.option(
    "--try-again",
    is_flag=True,
    help="Retry trials that were left out after they failed, and partitions that were set aside because they "
    "crashed the process.",
)
@click.option(
    "--choose-precision",
    is_flag=True,
    help="Measure again whether float32 or bfloat16 is faster on this machine; if the answer changes, "
    "results that depend on the precision become out of date.",
)
@click.option(
    "--locked",
    is_flag=True,
    help="Refuse to run where tamis.lock differs from the precision, models and versions here.",
)
@click.option(
    "--allow-removal",
    multiple=True,
    metavar="NAME ...",
    help="Carry out the removals that are held back under these names; `all` means all of them. A kind may "
    "precede a name: `selection:web`.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 also if any file or row is in quarantine.")
@spoken
def materialize(
    only: Sequence[str], allow_removal: Sequence[str], strict: bool, locked: bool, **wanted: bool
) -> int:
    """Make what is due."""
    project = open_project()
    if not locked:
        _warn_of_lock(project)
    elif found := require_locked(project):
        for one in found:
            complain(f"locked: {one.line}")
        raise LockError(
            f"{LOCK_FILE} and what is here differ in {counted(len(found), 'value')}, so nothing was "
            "materialized; restore what is locked, or accept what is here with `tamis lock`"
        )
    return _materialize(only, strict=strict, allow_removal=frozenset(allow_removal), **wanted)


@click.command()
def lock() -> int:
    """Write tamis.lock, and say what it changes."""
    project = read_project()
    path, before = project.root / LOCK_FILE, None
    try:
        before = read_lock(project.root)
    except UnreadableLockError:
        if path.is_dir():  # else it is written again
            raise
    changes = [] if before is None else differences(project)
    present(project).write(path)
    for one in changes:
        print(visible(f"{one.name}: {one.here}, was {one.locked}"))
    print(f"{'wrote' if before is None or changes else 'nothing changed in'} {path}")
    return 0


def _warn_of_lock(project: Project) -> None:
    if line := lock_line(project):
        complain(line)


@click.command()
@click.argument("folder", required=False)
@spoken
def demo(folder: str | None) -> int:
    """Write the demonstration where it is missing, and make what is due of it."""
    file, lines = demonstration(folder)
    for line in lines:
        say(line)
    os.environ["TAMIS_PROJECT"] = str(file)
    code = _materialize()
    if lines and not code and not is_quiet():
        print(f"`tamis -C {shlex.quote(os.path.relpath(file.parent))} ui` shows the graph and the pages")
    return code


@click.command()
@spoken
def compare() -> int:
    """Make the comparison of samplers, and show it."""
    project = read_project()
    if not project.settings.selection or not project.settings.target:
        raise CallError(
            f"{project.file} has nothing to compare; add at least one [[selection]] and one [[target]]"
        )
    trained = [SAMPLER_TRIALS_STAGE.name] if project.settings.sampler_trials.model else []
    code = _make_answer(project, [*trained, COMPARISON_STAGE.name], SAMPLER_COMPARISON.name)
    print(visible("\n".join(comparison_lines(project))))
    return code


@click.command()
@click.argument("target", required=False, shell_complete=names_in_project)
@click.option(
    "--budget",
    metavar="AMOUNT",
    help="Compute for all runs: a percentage of that of the training (20%), a time on this machine (2h) or a "
    "number of operations (1e15flop). It is written into [tune] of tamis.toml.",
)
@json_option
@spoken
def tune(target: str | None, budget: str | None, as_json: bool) -> int:
    """Write [tune] where the call says more than tamis.toml; make the recipe and its inputs, and show it."""
    if line := write_section(read_project(), target, budget):
        say(line)
    project = read_project()
    for loss in read_status(project).held_back:
        say(f"warning: {loss.line}")  # before anything is paid for what is no longer there
    inputs = inputs_due(project, RECIPE_STAGE.name)
    if inputs:
        listed = f"{counted(len(inputs), 'asset')} that the recipe follows from: {named(inputs, 4)}"
        say(f"made first: {listed}")
    code = _make_answer(project, [*inputs, RECIPE_STAGE.name], TUNE_ANSWERS.name)
    answer(as_json, read_recipe(project), recipe_lines(project))
    return code


def _make_answer(project: Project, wanted: Sequence[str], table: str) -> int:
    """Make the assets of an answer, the last of which has the table; return the exit code.

    Raises `NotMadeError` or `OutdatedError` where one of them waits for another asset, or was not made, and
    `CallError` where it failed.
    """
    for asset in wanted:
        first = value_due(project, asset, "")
        if first and first.waits_for and first.waits_for.partition("[")[0] not in wanted:
            made = (asset, "") in read_current_values(project.home.store)
            raise OutdatedError(asset, f"it waits for {first.waits_for}") if made else NotMadeError(asset)
    code = _materialize(wanted, summed_up=False)
    if not project.home.store.count(table):
        if code:
            raise CallError(f"{wanted[-1]} was not made; fix the problems listed above, then run this again")
        raise NotMadeError(wanted[-1])
    for asset in wanted:
        if reason := due(project, asset, ""):
            raise OutdatedError(asset, reason)
    return code


@click.command()
@json_option
def mixture(as_json: bool) -> int:
    """Show the runs of [mixture] with their price, and the mixture where there is one."""
    project = read_project()
    found = read_mixture(project)
    answer(as_json, found, lines_of(project, found))
    return 0


@click.command()
@json_option
def status(as_json: bool) -> int:
    """Show the status; 1 where something is wrong."""
    project = read_project()
    _warn_of_lock(project)
    found = read_status(project)
    answer(as_json, found.to_json(), found.lines())
    return int(bool(found.problems()))


def _materialize(
    assets: Sequence[str] = (), *, strict: bool = False, summed_up: bool = True, **wanted: Any
) -> int:
    """Make all that is due, or of these assets, and say what there is now; 1 where anything is wrong.

    `strict`: a row in quarantine is wrong, too.
    """
    project, only = open_project(), unknown_assets(assets)
    outcome = run(project, only=only, **wanted)
    with Heartbeat("reading the state of the project"):
        found = read_status(project).without(frozenset(outcome.failed))
    if not summed_up:  # what is in quarantine already is no fault of a comparison
        found = replace(found, quarantine=[], shares=[])
    if only is not None:  # what was asked for may need no target
        found = replace(found, unmet=[])
    if summed_up and only is None and not is_quiet():
        states = {one["selection"]: one["state"] for one in found.selections}
        print(visible(summary(project, states, found.unread_lines(), bool(outcome.made))), flush=True)
    wrong = [*found.problems(), *found.waiting(only)]
    wrong += found.blocked() if outcome.failed and only is None else []
    for line in (
        *found.scaling_lines(project.home.reports),
        *(found.recipe_lines() if summed_up else ()),
        *found.reading,
        *sentences(found.searches),
        *found.warning_lines(),
    ):
        say(line)
    for line in (*found.quarantine_lines(), *failed_lines(outcome), *wrong):
        complain(line)
    failing = bool(outcome.failed or wrong or (strict and found.quarantine))
    say(outcome.sentence(failing, only))
    if summed_up and only is None and not is_quiet():
        print(f"Next: {next_step(project, found, failing)}")
    return int(failing)


def next_step(project: Project, found: Status, failing: bool) -> str:
    """Return what a person would do now."""
    if failing:
        return (
            "fix the problems listed above, then run `tamis materialize` again; "
            "`tamis status` lists what is left"
        )
    if not project.settings.selection:
        return "`tamis ui` shows the graph; a [[selection]] in tamis.toml would choose documents"
    if not (made := [one["selection"] for one in found.selections if one["documents"]]):
        return "no document was chosen; the page of a selection says why each was dropped"
    return (
        f"`tamis export {made[0]}` writes the selected documents, `tamis explain DOC_ID` says why a document "
        "was kept or dropped, `tamis ui` shows the graph and selects again when files change"
    )
