"""The verbs that remove for good: `withdraw` says what a withdrawal touches, does it, and sees that it holds;
`purge` deletes what was paid for and kept of documents that left.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from tamis.base.numbers import counted
from tamis.base.progress import Heartbeat, complain
from tamis.cli.parts import CallError, answer, failed_lines, json_option, run, runtime_module
from tamis.project import Project, read_project
from tamis.store.home import writing
from tamis.store.retained import purge_answers
from tamis.withdrawal.asking import Asked, Asking, WithdrawalReason
from tamis.withdrawal.telling import (
    addresses_of_files,
    files_there,
    history,
    history_lines,
    places_with_files,
    preview_json,
    preview_lines,
    withdrawn_json,
    withdrawn_lines,
)
from tamis.withdrawal.verifying import verify
from tamis.withdrawal.withdrawing import preview

PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Named:
    """What a call names: documents, and places where all documents are meant."""

    doc_ids: Sequence[str]
    ids: str | None
    text: str | None
    shard: Sequence[str]
    source: Sequence[str]
    corpus: Sequence[str]

    @property
    def anything(self) -> bool:
        """Whether any document or place is named."""
        return any(vars(self).values())

    def found_in(self, project: Project) -> Asked:
        """Return the content ids of all of it."""
        asking = Asking(store=project.home.store)
        asking.ids(self.doc_ids)
        if self.ids:
            asking.ids_of_file(_read(self.ids), self.ids)
        if self.text:
            asking.text(_read(self.text), self.text)
        for key in self.shard:
            asking.shard(key)
        for name in self.source:
            asking.source(name)
        if self.corpus:
            listed = {key: shard.corpus for key, shard in files_there(project).items()}
            configured = [section.name for section in project.settings.corpus]
            for name in self.corpus:
                asking.corpus(name, listed, configured)
        return asking.done()


@click.command()
@click.argument("doc_ids", nargs=-1, metavar="[DOC_ID]...")
@click.option("--ids", metavar="FILE", help="Read content ids from this file, one per line; - reads stdin.")
@click.option(
    "--text",
    metavar="FILE",
    help="Name a document by its text, which is read from this file; - reads stdin.",
)
@click.option(
    "--shard", multiple=True, metavar="KEY", help="Withdraw everything in this shard; may be repeated."
)
@click.option(
    "--source", multiple=True, metavar="NAME", help="Withdraw everything from this source; may be repeated."
)
@click.option(
    "--corpus", multiple=True, metavar="NAME", help="Withdraw everything in this corpus; may be repeated."
)
@click.option(
    "--reason",
    type=click.Choice([str(reason) for reason in WithdrawalReason]),
    default=str(WithdrawalReason.NOT_STATED),
    metavar="REASON",
    help=f"Reason to store in the receipt, one of: {', '.join(WithdrawalReason)}.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be removed, without removing anything.")
@click.option("--materialize", is_flag=True, help="Run `tamis materialize` afterwards.")
@click.option("--list", "listed", is_flag=True, help="List all withdrawals, with their receipts.")
@click.option(
    "--verify",
    "verified",
    is_flag=True,
    help="Check that nothing withdrawn is left in the Tamis home folder; with --text, search for that "
    "text too.",
)
@json_option
def withdraw(
    listed: bool,
    verified: bool,
    as_json: bool,
    *,
    reason: str,
    dry_run: bool,
    materialize: bool,
    **given: Any,
) -> int:
    """Withdraw the documents with these content ids, or unambiguous beginnings of them.

    Make again what depended on them where that is asked for. 1 where anything is left, or where nothing of
    what was named was found.
    """
    named = Named(**given)
    if listed and (verified or named.anything):
        raise click.UsageError("--list shows all withdrawals; it takes no documents, and no --verify")
    if verified and replace(named, text=None).anything:
        raise click.UsageError(
            "--verify searches for everything that was withdrawn; to search for a text, it takes --text alone"
        )
    project = read_project()
    if listed:
        rows = history(project.home)
        answer(as_json, rows, history_lines(rows))
        return 0
    if verified:
        text = _read(named.text) if named.text else None
        with Heartbeat("searching the home"):
            holds = verify(project.home, text)
        answer(as_json, holds.to_json(), holds.lines())
        return int(not holds.holds)
    asked = named.found_in(project)
    if dry_run:
        with Heartbeat("checking what would be removed"):
            found = preview(project.home, asked)
        files = {} if as_json or found.places.is_empty() else addresses_of_files(project)
        answer(as_json, preview_json(found), preview_lines(found, files))
        return 0
    commands = runtime_module("commands")
    with Heartbeat("withdrawing"):
        done = commands.withdraw_project(project, asked, WithdrawalReason(reason))
    places = places_with_files(project)
    answer(as_json, withdrawn_json(done, places), withdrawn_lines(done, places, materialize))
    failed = failed_lines(run(project)) if materialize else []
    for line in failed:
        complain(line)
    return int(bool(failed or done.still_kept or done.found_nothing))


def _read(name: str) -> str:
    try:
        return (sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or error
        raise CallError(f"{name} cannot be read: {problem}; pass a readable UTF-8 text file") from error


@click.command()
@click.option(
    "--answers",
    is_flag=True,
    help="Delete stored answers of a judge's server about removed documents; they may have cost money.",
)
@json_option
def purge(answers: bool, as_json: bool) -> int:
    """Purge what is named."""
    if not answers:
        raise click.UsageError(
            "name what to purge: --answers deletes the stored answers of a judge's server about removed "
            "documents"
        )
    project = read_project()
    with writing(project.home, "tamis purge", PATIENCE_SECONDS):
        purged = purge_answers(project.home.store)
    said = (
        f"deleted {counted(purged, 'answer')} of a judge's server about removed documents"
        if purged
        else "no answers about removed documents are stored"
    )
    answer(as_json, {"server_answers": purged}, [said])
    return 0
