"""What the verbs of the command line share: their parsers, JSON on stdout, and the platform's checkout."""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tamis.base.errors import PermanentError

Verb = Callable[[argparse.Namespace], int]


def add_verb(verbs: Any, name: str, verb: Verb, text: str) -> argparse.ArgumentParser:
    """A verb with its parser."""
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
    parser.set_defaults(verb=verb)
    return parser


def with_json(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser, with the option `--json`."""
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, indent=1, ensure_ascii=False, sort_keys=False, default=str))


def checkout() -> Path:
    """The platform's folder: `TAMIS_PLATFORM`, or where the package is installed from; put on the path."""
    from tamis.settings.config import platform_folder

    folder = platform_folder()
    if not (folder / "definitions.py").is_file():
        raise PermanentError(
            f"{folder} holds no definitions.py: the platform runs from its checkout; "
            "install it with `pip install -e .` there, or set TAMIS_PLATFORM to that folder"
        )
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return folder


def platform_module(module: str) -> Any:
    """A module of the platform; importing it is what loads Dagster."""
    from tamis.project import open_project

    checkout()
    os.environ["TAMIS_PROJECT"] = str(open_project().file)
    return importlib.import_module(f"resources.{module}")


def platform_definitions() -> Any:
    """Everything that Dagster loads, for a run: assets, checks, jobs, sensors."""
    return importlib.import_module("definitions").defs
