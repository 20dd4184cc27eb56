"""The command line: a module for each family of verbs, loaded when one of its verbs runs.

Logs and progress go to stderr; what a command answers goes to stdout, with `--json` as one document alone.
"""

import atexit
import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Sequence

import click

from tamis.base.deferred_signals import defer_signals_in
from tamis.base.errors import PermanentError, TamisError
from tamis.base.progress import close_all, show
from tamis.base.signals import received_signals, record_signals
from tamis.base.waiting_threads import spin_briefly

INTERRUPTED = (130, 143)
"""Exit codes after Ctrl-C and after SIGTERM."""
FAMILIES = {
    "making": {
        "init": "Write a commented tamis.toml, and the folders that it names.",
        "plan": "What materialize would do, with rows, time and cost.",
        "materialize": "Bring everything up to date.",
        "status": "What is current, due, quarantined or red.",
        "compare": "What each sampler chooses, and what a model learns of it.",
        "demo": "Materialize the project and close with a summary.",
    },
    "selections": {
        "export": "Write the chosen documents as a file, with what describes it.",
        "diff": "What changed between two versions of a selection, and why.",
        "restore": "Go back to an earlier version of a selection and keep it.",
        "approve": "Let the sensors make what waits for approval.",
    },
    "tracing": {
        "explain": "Why a document was kept or dropped.",
        "audit": "Verify a checkpoint or selection down to raw bytes.",
    },
    "removal": {
        "withdraw": "Take documents out of everything, for good, and name the checkpoints that saw them.",
        "purge": "Delete what is kept of documents that left and that no rule deletes.",
    },
    "serving": {
        "ui": "Serve Dagster's UI, on localhost unless told otherwise.",
        "health": "Whether tables, Dagster, daemon, MLflow and object store answer; exit 1 where not.",
        "bench": "Run a module of benchmarks; without a name: list them.",
    },
}
"""What each verb does, by the module of `tamis.cli` that holds it; a verb's function has its name."""


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
        verb: click.Command = getattr(importlib.import_module(f"tamis.cli.{module}"), name)
        verb.help = known.help
        return name, verb, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write all texts in full, and in the order in which a project needs the verbs."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.help or "") for name, verb in self.commands.items()])


verbs = Families(
    "tamis",
    commands={
        name: click.Command(name, help=text) for family in FAMILIES.values() for name, text in family.items()
    },
    help="Which documents to train on, and why.",
    subcommand_metavar="VERB ...",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 something is wrong with the data, 2 with the call.

    130 after Ctrl-C, 143 after SIGTERM.
    """
    show("auto")
    try:
        # Not `verbs.main`, which puts an empty line before what is said of Ctrl-C.
        with verbs.make_context("tamis", list(sys.argv[1:] if arguments is None else arguments)) as context:
            return int(verbs.invoke(context))
    except click.exceptions.Exit as ended:  # after --help
        return ended.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except TamisError as error:
        close_all()
        print(f"tamis: {error}", file=sys.stderr)
        return 2 if isinstance(error, PermanentError) else 1
    except BrokenPipeError:
        return 0
    except RuntimeError as error:
        from tamis.store.objects import object_store_problem

        if (problem := object_store_problem(error)) is None:
            raise
        print(f"tamis: {problem}", file=sys.stderr)
        return 2 if isinstance(problem, PermanentError) else 1
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(f"tamis: {error.strerror or error}{where}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        close_all()
        terminated = signal.SIGTERM in received_signals()
        said = "terminated" if terminated else "interrupted"
        print(f"tamis: {said}; run the same command again to go on", file=sys.stderr)
        return INTERRUPTED[terminated]


def console() -> None:
    """Entry point of the installed command; a request to terminate ends it as Ctrl-C does."""
    ended: list[int] = []
    atexit.register(_exit_as_interrupted, ended)  # before all others, so that it runs after them
    record_signals()
    for ending in (signal.SIGINT, signal.SIGTERM):
        # What a script runs in the background has SIGINT ignored, and Dagster treats SIGTERM as SIGINT.
        signal.signal(ending, signal.default_int_handler)
    defer_signals_in("torch")
    spin_briefly()
    ended.append(main())
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_IGN)  # a second Ctrl-C would be a traceback of what closes now
    sys.exit(ended[0])


def _exit_as_interrupted(ended: Sequence[int]) -> None:
    """Exit with the code of an interrupted command.

    Python kills itself by SIGINT instead where the interrupt came within `exec`, though it was caught.
    """
    if ended and ended[0] in INTERRUPTED:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(ended[0])
