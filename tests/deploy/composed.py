"""The compose file as an engine reads it: variables filled in, and what each service would run."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
DEPLOY = CHECKOUT / "deploy"
VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<how>:?[-?])(?P<rest>[^}]*))?\})")
REQUIRED = {"TAMIS_DB_PASSWORD": "databasepassword", "AWS_SECRET_ACCESS_KEY": "storepassword"}


class MissingVariableError(Exception):
    """A variable that the file requires is not set."""


def filled(text: str, variables: Mapping[str, str]) -> str:
    """Text with its variables filled in, by the rules of the compose specification."""

    def value(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        given, how = variables.get(found["name"]), found["how"] or ""
        present = bool(given) if how.startswith(":") else given is not None
        if present:
            return str(given)
        if how.endswith("?"):
            raise MissingVariableError(f"{found['name']}: {found['rest']}")
        return found["rest"] if how.endswith("-") else given or ""

    return VARIABLE.sub(value, text)


def each(value: Any, change: Any) -> Any:
    """The value with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [each(entry, change) for entry in value]
    if isinstance(value, dict):
        return {key: each(entry, change) for key, entry in value.items()}
    return value


def compose(name: str = "compose.yaml", **variables: str) -> dict[str, Any]:
    """The file as an engine sees it."""
    given = REQUIRED | variables
    return each(yaml.safe_load((DEPLOY / name).read_text()), lambda text: filled(text, given))


def ours(services: Mapping[str, Any]) -> list[str]:
    """Services that run Tamis's own image."""
    return [name for name, service in services.items() if "build" in service]
