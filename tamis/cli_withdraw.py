"""The verbs `withdraw` and `purge`: what must go for good.

`withdraw` says what a withdrawal touches, what was done, and whether it holds.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.base.errors import PermanentError
from tamis.base.progress import Heartbeat, say
from tamis.cli_parts import add_verb, platform_definitions, platform_module, print_json, with_json
from tamis.withdrawal.reasons import WithdrawalReason

PATIENCE_SECONDS = 30.0

if TYPE_CHECKING:
    from tamis.project import Project
    from tamis.withdrawal.asking import Asked


class CannotReadError(PermanentError):
    """A file that names what to withdraw cannot be read as UTF-8."""

    def __init__(self, name: str, problem: str) -> None:
        self.name, self.problem = name, problem
        super().__init__(f"{name} cannot be read: {problem}; it has to be a text file in UTF-8")


def add_withdraw_verb(verbs: Any) -> None:
    """`withdraw`, with what it takes."""
    text = "take documents out of everything, for good, and name the checkpoints that saw them"
    verb = with_json(add_verb(verbs, "withdraw", _withdraw, text))
    verb.add_argument("doc_ids", nargs="*", metavar="DOC_ID", help="content id, or a beginning of it")
    verb.add_argument(
        "--ids", metavar="FILE", help="a file of content ids, one a line (- for standard input)"
    )
    verb.add_argument("--text", metavar="FILE", help="a file that holds the text (- for standard input)")
    verb.add_argument("--shard", action="append", default=[], help="everything in a shard")
    verb.add_argument("--source", action="append", default=[], help="everything of a source")
    verb.add_argument("--corpus", action="append", default=[], help="everything in a corpus")
    reasons = [str(reason) for reason in WithdrawalReason]
    verb.add_argument(
        "--reason", choices=reasons, default=reasons[0], help="kept with the receipt (not_stated)"
    )
    verb.add_argument("--dry-run", action="store_true", help="say what would be touched, and do nothing")
    verb.add_argument("--materialize", action="store_true", help="then make again what depended on it")
    verb.add_argument("--list", action="store_true", help="list what was withdrawn, with receipts")
    verb.add_argument("--verify", action="store_true", help="look whether the home holds any of it again")


def add_purge_verb(verbs: Any) -> None:
    """`purge`, with what it takes."""
    text = "delete what is kept of documents that left and that no rule deletes"
    verb = with_json(add_verb(verbs, "purge", _purge, text))
    verb.add_argument(
        "--answers",
        action="store_true",
        required=True,
        help="answers of a judge's server, which were paid for",
    )


def _purge(parsed: argparse.Namespace) -> int:
    from tamis.project import read_project
    from tamis.store.home import writing
    from tamis.store.retained import purge_answers

    project = read_project()
    with writing(project.home, "tamis purge", PATIENCE_SECONDS):
        purged = purge_answers(project.home.store)
    if parsed.json:
        print_json({"server_answers": purged})
    else:
        print(f"deleted {purged:,} answers of a judge's server" if purged else "no answer is retained")
    return 0


def _withdraw(parsed: argparse.Namespace) -> int:
    from tamis.project import read_project

    project = read_project()
    if parsed.list:
        return _list(project, parsed.json)
    if parsed.verify:
        return _verify(project, parsed)
    asked = _asked(project, parsed)
    return _preview(project, asked, parsed.json) if parsed.dry_run else _done(project, asked, parsed)


def _asked(project: "Project", parsed: argparse.Namespace) -> "Asked":
    """What the call names, as content ids."""
    from tamis.graph.scan import scan
    from tamis.withdrawal.asking import Asking

    asking = Asking(store=project.home.store)
    asking.ids(parsed.doc_ids)
    if parsed.ids:
        asking.ids_of_file(_read(parsed.ids), parsed.ids)
    if parsed.text:
        asking.text(_read(parsed.text), parsed.text)
    for key in parsed.shard:
        asking.shard(key)
    for name in parsed.source:
        asking.source(name)
    if parsed.corpus:
        shards = {key: shard.corpus for key, shard in scan(project).shards.items()}
        for name in parsed.corpus:
            asking.corpus(name, shards)
    return asking.done()


def _read(name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotReadError(name, getattr(error, "strerror", None) or str(error)) from error


def _preview(project: "Project", asked: "Asked", as_json: bool) -> int:
    from tamis.withdrawal.telling import preview_json, preview_lines
    from tamis.withdrawal.withdrawing import preview

    with Heartbeat("looking at what it would touch"):
        found = preview(project.home, asked)
    print_json(preview_json(found)) if as_json else print("\n".join(preview_lines(found)))
    return 0


def _done(project: "Project", asked: "Asked", parsed: argparse.Namespace) -> int:
    from tamis.withdrawal.telling import places_with_files, withdrawn_json, withdrawn_lines

    withdrawing = platform_module("withdrawing")
    with Heartbeat("withdrawing"):
        done = withdrawing.withdraw_project(project, asked, WithdrawalReason(parsed.reason))
    places = places_with_files(project)
    if parsed.json:
        print_json(withdrawn_json(done, places))
    else:
        print("\n".join(withdrawn_lines(done, places, parsed.materialize)))
    if not parsed.materialize:
        return int(bool(done.still_kept))
    driver = platform_module("driver")
    outcome = driver.materialize_project(project, say, driver.Wanted(), platform_definitions)
    for name, error in outcome.failed.items():
        say(f"failed: {name}: {error}")
    return int(bool(outcome.failed or done.still_kept))


def _list(project: "Project", as_json: bool) -> int:
    from tamis.withdrawal.telling import history, history_lines

    rows = history(project.home)
    print_json(rows) if as_json else print("\n".join(history_lines(rows)))
    return 0


def _verify(project: "Project", parsed: argparse.Namespace) -> int:
    from tamis.withdrawal.verifying import verify

    text = _read(parsed.text) if parsed.text else None
    with Heartbeat("looking for it"):
        found = verify(project.home, text)
    if parsed.json:
        print_json(found.to_json())
    else:
        print("\n".join(found.lines()))
    return int(not found.holds)
