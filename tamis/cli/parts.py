"""What the verbs of the command line share: options, answers, and runs of the platform."""

import functools
import importlib
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from tamis.base.errors import PermanentError, TamisError
from tamis.base.imports import importing
from tamis.base.progress import Heartbeat, say, show, visible_line
from tamis.corpus.listing import ListingError
from tamis.project import Project, open_project, read_project
from tamis.scan.sources import due

Verb = Callable[..., int]

DEFINITIONS, RUNTIME = "tamis.platform.definitions", "tamis.runtime"
"""Imported by name when a verb needs them: Dagster loads with them."""
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


class CallError(PermanentError):
    """A command cannot do what a call asks for; the message says why, and what to do."""


class ListCommand(click.Command):
    """A verb whose options that may be repeated take several values at once, too: `--only A B`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the call with each of several values behind an option of its own."""
        repeated = {
            name for one in self.params if isinstance(one, click.Option) and one.multiple for name in one.opts
        }
        return super().parse_args(ctx, list(_one_by_one(args, repeated)))


def _one_by_one(args: Sequence[str], repeated: set[str]) -> Iterator[str]:
    """Yield the arguments, with the option before each value but the first of those that follow it."""
    option, first = None, False
    for arg in args:
        if arg.startswith("-"):
            name, given, _ = arg.partition("=")
            option, first = (name if name in repeated else None), not given
        elif option and not first:
            yield option
        else:
            first = False
        yield arg


def spoken(verb: Verb) -> Verb:
    """Let a person choose how much is said while it works."""

    @click.option("-q", "--quiet", is_flag=True, help="Print only warnings and errors.")
    @click.option("-v", "--verbose", is_flag=True, help="Print progress more often.")
    @functools.wraps(verb)
    def speaking(*, quiet: bool, verbose: bool, **given: Any) -> int:
        if quiet and verbose:
            raise click.UsageError("use --quiet or --verbose, not both")
        if quiet or verbose:
            show("quiet" if quiet else "verbose")
        return verb(**given)

    return speaking


def names_in_project(_context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return names of selections or targets, as the argument is called, for a shell that completes one."""
    try:
        sections = getattr(read_project().settings, str(parameter.name).removesuffix("s"))
    except TamisError:
        return []
    return [one.name for one in sections if one.name.startswith(incomplete)]


def answer(as_json: bool, value: Any, lines: Sequence[str]) -> None:
    """Print a value as one JSON document, or its lines for a person."""
    if as_json:
        in_ascii = not str(sys.stdout.encoding or "utf").lower().startswith("utf")
        text = json.dumps(value, indent=1, ensure_ascii=in_ascii, sort_keys=False, default=str)
        print(re.sub(r"[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text))
    else:
        print("\n".join(map(visible_line, lines)))


def runtime_module(module: str) -> Any:
    """Return a module of the runtime; importing it is what loads Dagster."""
    os.environ["TAMIS_PROJECT"] = str(open_project().file)
    with importing():
        return importlib.import_module(f"{RUNTIME}.{module}")


def run(project: Project, **wanted: Any) -> Any:
    """Materialize what is wanted, by the fields of `Wanted` of the driver; warnings become lines."""
    with Heartbeat("loading the platform"):
        driver = runtime_module("driver")
    said: set[str] = set()
    shown = warnings.showwarning

    def show_line(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not category.__module__.startswith("tamis."):
            shown(message, category, *where, **more)
        elif str(message) not in said:
            said.add(str(message))
            say(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show_line
        return driver.materialize_project(
            project,
            say,
            driver.Wanted(**wanted),
            lambda of: importlib.import_module(DEFINITIONS).definitions_of(of),
        )


def why_out_of_date(project: Project, asset: str, partition: str, of: str) -> str | None:
    """Return why a value would be made again now, None where it is current or a corpus cannot be listed.

    The latter is said, not raised: whoever asks has done its work. `of`: what is shown of the value.
    """
    try:
        return due(project, asset, partition)
    except ListingError as error:
        say(f"whether {of} is current cannot be checked: {error}")
        return None


def failed_lines(outcome: Any) -> list[str]:
    """What failed in a run, for a person."""
    return [f"failed: {name}: {error}" for name, error in outcome.failed.items()]
