"""The verb that needs no project: `select`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tamis.base.progress import is_quiet, visible
from tamis.cli.choice_options import call_of, choice_options
from tamis.cli.parts import ListCommand, spoken
from tamis.verbs.choice.choose_files import Written, select_files

_FILE = click.Path(path_type=Path, dir_okay=True)


@click.command(cls=ListCommand)
@click.argument("pool", nargs=-1, metavar="POOL...")
@choice_options
@click.option(
    "--output",
    "-o",
    type=_FILE,
    required=True,
    metavar="FILE",
    help="File of the chosen rows: .jsonl, .csv (also .gz, .zst) or .parquet.",
)
@click.option(
    "--decisions", type=_FILE, metavar="FILE", help="Also write a verdict and a reason for every row."
)
@click.option("--page", type=_FILE, metavar="FILE", help="Also write a page about the choice (.html).")
@spoken
def select(pool: Sequence[str], output: Path, decisions: Path | None, page: Path | None, **given: Any) -> int:
    """Choose, and say how many have each reason."""
    call = call_of(pool, **given)
    found = select_files(call, Written(output=output, decisions=decisions, page=page))
    if not is_quiet():
        print(visible("\n".join(found.lines)))
    return 0
