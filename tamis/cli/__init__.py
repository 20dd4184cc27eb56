"""The command line: a module for each family of verbs, loaded when one of its verbs runs.

Logs and progress go to stderr; what a command answers goes to stdout, with `--json` as one document alone.
"""

import atexit
import contextlib
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence

import click

from tamis.base.errors import PermanentError, TamisError
from tamis.base.imports import import_well, importing
from tamis.base.kept_errors import said_by_database
from tamis.base.limits import limit_reached, raise_open_files, tight_limits
from tamis.base.processes import end_by_itself, end_when_asked, received_signals, record_signals
from tamis.base.progress import (
    Heartbeat,
    OutputError,
    close_all,
    complain,
    guard_standard_streams,
    say,
    show,
    visible,
)
from tamis.base.threads import spin_briefly
from tamis.base.user_folders import complete_user

INTERRUPTED = (130, 143)
"""Exit codes after Ctrl-C and after SIGTERM."""
COMPLETION = "_TAMIS_COMPLETE"
"""The variable by which a shell asks for its completion script, and then for each completion."""
TITLES = {
    "choosing": "Choose from files, without a project",
    "making": "Set up and materialize",
    "selections": "Use a selection",
    "tracing": "Explain and prove",
    "removal": "Remove for good",
    "serving": "Run the platform",
    "agents": "Answer agents",
    "installation": "Look at the installation",
}
FAMILIES = {
    "choosing": {
        "select": "Write the rows of POOL that bring a model nearest to the examples in --target to a file. "
        "POOL: files (jsonl, json, csv, parquet, txt, also compressed), folders, globs, or - for stdin.",
    },
    "making": {
        "init": "Write a commented tamis.toml and create the folders that it names.",
        "plan": "Show what `materialize` would do, with estimated row counts, time and cost.",
        "materialize": "Bring everything up to date.",
        "status": "Show what is current, due, quarantined or failing.",
        "lock": "Write tamis.lock: precision, models and versions that give the results here.",
        "compare": "Compare samplers: how far their selections overlap and, with [sampler_trials], what a "
        "model learns from each selection.",
        "tune": "Find which documents, base model and learning rate to train with for TARGET, and whether "
        "choosing documents pays.",
        "mixture": "Show how much of each source to train on: the training runs, their cost, and the best "
        "mixture found.",
        "demo": "Run the demonstration: that of this folder, else write it into FOLDER (tamis-demo).",
    },
    "selections": {
        "export": "Write the selected documents to a file, with a dataset card and their lineage.",
        "diff": "Show what changed between two versions of a selection, and why.",
        "restore": "Pin a selection to an earlier version, or unpin it.",
        "approve": "Approve selections that wait for approval, so that the sensors update them.",
        "map": "Find a selection's map, change the layout, or export the points of the map for other tools.",
    },
    "tracing": {
        "explain": "Explain why a document was kept or dropped.",
        "gaps": "List the target examples that hardly any eligible documents are similar to.",
        "register": "Put a checkpoint that was trained elsewhere on an export into the lineage.",
        "audit": "Verify a checkpoint or selection down to the raw bytes of its input files.",
    },
    "removal": {
        "withdraw": "Remove documents everywhere, for good, and list the checkpoints trained on them.",
        "purge": "Delete the stored answers of a judge's server about removed documents, which no retention "
        "rule deletes.",
    },
    "serving": {
        "ui": "Serve Dagster's UI and run the sensors, on localhost by default.",
        "trust": "Accept, on this machine, what of a project can run commands or send secrets.",
        "health": "Check the tables, Dagster, its daemon, MLflow and the object store; exit 1 if any fails.",
        "bench": "Run a benchmark, or list all benchmarks if no name is given.",
    },
    "agents": {
        "mcp": "Serve status, plan, explanations, differences, audit and answers of this project to agents, "
        "read-only, by the Model Context Protocol.",
    },
    "installation": {
        "doctor": "Show versions, device, memory, disk, extras and the health of the home; exit 1 if "
        "anything is broken.",
    },
}
"""What each verb does, by the module of `tamis.cli` that holds it; a verb's function has its name."""


def _enter(directory: str | None, quiet: bool, verbose: bool) -> None:
    """Go where the project is, and choose how much is said."""
    if quiet and verbose:
        raise click.UsageError("use --quiet or --verbose, not both")
    show("quiet" if quiet else "verbose" if verbose else "auto")
    if directory:
        os.chdir(directory)


def _show_version(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"tamis {version('tamis')}")
        context.exit()


class Families(click.Group):
    """The verbs, each known by name and text alone until it runs."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb that a call names, from its module."""
        name, known, rest = super().resolve_command(ctx, args)
        module = next((module for module, held in FAMILIES.items() if name in held), None)
        if name is None or known is None or module is None:
            return name, known, rest
        quiet = ctx.params.get("quiet")
        for line in () if quiet else tight_limits():  # before what is imported ends the process
            say(f"note: {line}")
        with importing(), contextlib.nullcontext() if quiet else Heartbeat(f"starting tamis {name}"):
            verb: click.Command = getattr(importlib.import_module(f"tamis.cli.{module}"), name)
        verb.help = known.help
        return name, verb, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write all texts in full, by family, in the order in which a project needs the verbs."""
        width = max(map(len, self.commands))
        for module, family in FAMILIES.items():
            with formatter.section(TITLES[module]):
                formatter.write_dl([(f"{name:{width}}", text) for name, text in family.items()])


verbs = Families(
    "tamis",
    commands={
        name: click.Command(name, help=text) for family in FAMILIES.values() for name, text in family.items()
    },
    help="Choose the documents to train on, and see why each one was chosen or not. "
    "`tamis VERB --help` explains each verb.",
    callback=_enter,
    params=[
        click.Option(
            ["-C", "directory"],
            metavar="DIR",
            type=click.Path(exists=True, file_okay=False),
            help="Run as if started in this folder.",
        ),
        click.Option(["-q", "--quiet"], is_flag=True, help="Print only warnings and errors."),
        click.Option(["-v", "--verbose"], is_flag=True, help="Print progress more often."),
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_show_version,
            help="Show the version and exit.",
        ),
    ],
    subcommand_metavar="VERB ...",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 something is wrong with the data, 2 with the call.

    130 after Ctrl-C, 143 after SIGTERM.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may have signs that its encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    show("auto")
    if instruction := os.environ.get(COMPLETION):
        from click.shell_completion import shell_complete

        return shell_complete(verbs, {}, "tamis", COMPLETION, instruction)
    try:
        # Not `verbs.main`, which puts an empty line before what is said of Ctrl-C.
        given = list(sys.argv[1:] if arguments is None else arguments)
        with verbs.make_context("tamis", given or ["--help"]) as context:
            return int(verbs.invoke(context))
    except click.exceptions.Exit as ended:  # after --help
        return ended.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Exception as error:
        return _failed(error)
    except KeyboardInterrupt as asked:
        close_all()
        terminated = signal.SIGTERM in received_signals()
        go_on = "run the same command again" + ("" if given[:1] == ["select"] else " to continue")
        said = f"{'terminated' if terminated else 'interrupted'}; {go_on}"
        print(f"tamis: {asked.args[0] if asked.args else said}", file=sys.stderr)
        return INTERRUPTED[terminated]


def _failed(error: Exception) -> int:
    """Say what went wrong and return the exit code; raises an error that nobody expected."""
    close_all()
    problem = error if isinstance(error, TamisError) else _explained(error)
    if problem is not None:
        print(visible(f"tamis: {problem}"), file=sys.stderr)
        return 2 if isinstance(problem, PermanentError) else 1
    if (said := said_by_database(error)) is not None:
        print(visible(f"tamis: {type(error).__name__}: {said}"), file=sys.stderr)
        return 1
    if not isinstance(error, OSError):
        raise error
    where = f": {error.filename}" if error.filename else ""
    print(visible(f"tamis: {error.strerror or error}{where}"), file=sys.stderr)
    return 1


def _explained(error: Exception) -> TamisError | None:
    """Return what an error of another library means, where that is not a mistake of Tamis."""
    if limited := limit_reached(error):  # before anything is imported, for which memory may not suffice
        return limited
    try:
        from tamis.settings.config import FolderGoneError, folder_gone

        if isinstance(error, FileNotFoundError) and folder_gone():
            return FolderGoneError()
        return _storage_problem(error)
    except (ImportError, MemoryError, SystemError) as failed:  # for which memory did not suffice
        return limit_reached(failed)


def _storage_problem(error: Exception) -> TamisError | None:
    """Return what an error means where the home cannot be written or its object store does not answer."""
    from tamis.settings.config import home_folder, project_file
    from tamis.store.unwritable import refused_writing

    try:
        home = home_folder(project_file())
    except (TamisError, OSError):  # not in a project, or in a folder that is gone
        return None
    return refused_writing(home, error)


def console() -> None:
    """Entry point of the installed command; a request to terminate ends it as Ctrl-C does."""
    guard_standard_streams()
    raise_open_files()
    ended: list[int] = []
    atexit.register(_exit_at_once, ended)  # before all others, so that it runs after them
    record_signals()
    end_when_asked()
    for ending in (signal.SIGINT, signal.SIGTERM):
        # What a script runs in the background has SIGINT ignored, and Dagster treats SIGTERM as SIGINT.
        signal.signal(ending, signal.default_int_handler)
    import_well()
    spin_briefly()
    ended.append(_flushed(_in_place() or main()))
    end_by_itself()
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_IGN)  # a second Ctrl-C would be a traceback of what closes now
    sys.exit(ended[0])


def _in_place() -> int:
    """Complete the environment of this user; return the exit code where that cannot be done."""
    try:
        lines = complete_user()
    except TamisError as error:
        return _failed(error)
    for line in lines:
        complain(line)
    return 0


def _flushed(code: int) -> int:
    """Return the exit code of a command once its answer is written; 1 where that failed and nothing else did.

    Python itself drops such an error.
    """
    try:
        sys.stdout.flush()
    except OutputError as error:
        print(f"tamis: {error}", file=sys.stderr)
        code = code or 1
    sys.stderr.flush()
    return code


def _exit_at_once(ended: Sequence[int]) -> None:
    """Exit with the code of the command, without tearing down the interpreter.

    With torch and Dagster loaded that takes a second, to free memory which the system frees anyway. Python
    would also kill itself by SIGINT where the interrupt came within `exec`, though it was caught.
    """
    if not ended:  # an error that nobody expected: Python ends as usual
        return
    os._exit(_flushed(ended[0]))
