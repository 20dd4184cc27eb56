"""What the verbs of the command line share: options, answers, and runs of the platform in its checkout."""

import functools
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from tamis.base.errors import PermanentError
from tamis.base.progress import Heartbeat, complain, say, show
from tamis.project import Project, open_project
from tamis.settings.config import platform_folder

Verb = Callable[..., int]

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


class CheckoutMissingError(PermanentError):
    """There is no platform in the folder where it should be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(
            f"{folder} holds no definitions.py: the platform runs from its checkout; "
            "install it with `pip install -e .` there, or set TAMIS_PLATFORM to that folder"
        )


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

    @click.option("--quiet", is_flag=True, help="Say only what is wrong.")
    @click.option("--verbose", is_flag=True, help="A line every moment.")
    @functools.wraps(verb)
    def speaking(*, quiet: bool, verbose: bool, **given: Any) -> int:
        if quiet and verbose:
            raise click.UsageError("give --quiet or --verbose, not both")
        show("quiet" if quiet else "verbose" if verbose else "auto")
        return verb(**given)

    return speaking


def answer(as_json: bool, value: Any, lines: Sequence[str]) -> None:
    """Print a value as one JSON document, or its lines for a person."""
    if as_json:
        print(json.dumps(value, indent=1, ensure_ascii=False, sort_keys=False, default=str))
    else:
        print("\n".join(lines))


def checkout() -> Path:
    """Return the platform's folder, `TAMIS_PLATFORM` or where the package is installed from, and import from
    it. Raises `CheckoutMissingError`.
    """
    folder = platform_folder()
    if not (folder / "definitions.py").is_file():
        raise CheckoutMissingError(folder)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return folder


def platform_module(module: str) -> Any:
    """Return a module of the platform; importing it is what loads Dagster."""
    checkout()
    os.environ["TAMIS_PROJECT"] = str(open_project().file)
    return importlib.import_module(f"resources.{module}")


def run(project: Project, **wanted: Any) -> Any:
    """Materialize what is wanted, by the fields of `resources.running.Wanted`, and say what failed."""
    with Heartbeat("loading the platform"):
        driver = platform_module("driver")
    outcome = driver.materialize_project(
        project,
        say,
        driver.Wanted(**wanted),
        lambda of: importlib.import_module("definitions").definitions_of(of),
    )
    for name, error in outcome.failed.items():
        complain(f"failed: {name}: {error}")
    return outcome
