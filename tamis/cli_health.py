"""The verb that tells whether every part of the platform does its work."""

import argparse
from typing import Any

from tamis.cli_parts import add_verb, platform_module, print_json, with_json

PARTS = ("tables", "writer", "dagster", "daemon", "tracking", "object_store")


def add_health_verb(verbs: Any) -> None:
    """`health`."""
    text = (
        "whether every part answers: tables, Dagster, daemon, MLflow, object store; exit 1 where one does not"
    )
    health = with_json(add_verb(verbs, "health", _health, text))
    health.add_argument("--only", nargs="+", choices=PARTS, default=(), metavar="PART", help=", ".join(PARTS))


def _health(parsed: argparse.Namespace) -> int:
    from tamis.project import open_project

    project = open_project()
    found = platform_module("health").findings(project, parsed.only)
    healthy = all(one.healthy for one in found)
    if parsed.json:
        print_json({"healthy": healthy, "parts": [one.to_json() for one in found]})
    else:
        print("\n".join(one.line for one in found))
    return int(not healthy)
