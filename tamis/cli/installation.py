"""The verb that looks at an installation: `doctor`."""

import click

from tamis.cli.parts import answer, json_option
from tamis.verbs.doctor import diagnose


@click.command()
@json_option
def doctor(as_json: bool) -> int:
    """Show what was found; 1 where something is broken."""
    found = diagnose()
    answer(as_json, found.to_json(), found.lines())
    return int(bool(found.problems))
