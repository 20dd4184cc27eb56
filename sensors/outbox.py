"""Messages on their way to the webhook, each a file of the home until it is delivered.

A message that is put again is the same file, so a sensor that dies before its cursor is stored doubles none.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import TypeAdapter

from tamis.base.errors import TamisError
from tamis.base.files import write_atomically
from tamis.base.posting import Webhook
from tamis.store.digests import canonical_digest
from tamis.store.home import Home

TRIES = 5
PAUSE_SECONDS = 10.0
KEPT = 100


@dataclass(kw_only=True)
class Message:
    """A message, when it was put, how often it was refused, and when it is tried again."""

    body: dict[str, Any]
    put: int
    tries: int = 0
    not_before: float = 0.0


def put(home: Home, body: Mapping[str, Any]) -> None:
    """Let a message be sent by the next tick of the notifications."""
    known = json.dumps({name: value for name, value in body.items() if name != "at"}, sort_keys=True)
    path = _folder(home) / f"{canonical_digest(known)}.json"
    if not path.exists():
        _write(path, Message(body=dict(body), put=time.time_ns()))


def deliver(context: dg.SensorEvaluationContext, hook: Webhook, home: Home) -> str:
    """Send what is due in order, until one fails, and keep what is left; return what was done in a line.

    Of too many, the oldest are dropped.
    """
    sent, left, problem = 0, 0, ""
    waiting = _waiting(context, home)
    for old, _ in waiting[:-KEPT]:
        old.unlink(missing_ok=True)
    for path, message in waiting[-KEPT:]:
        if problem or message.not_before > time.time():
            left += 1
            continue
        try:
            hook.send(message.body)
            sent += 1
        except TamisError as error:
            problem, message.tries = str(error), message.tries + 1
            context.log.warning(problem)
            if message.tries < TRIES:
                left += 1
                message.not_before = time.time() + PAUSE_SECONDS * 2**message.tries
                _write(path, message)
                continue
            context.log.error(
                f"gave up sending a message to the webhook after {TRIES} attempts: {message.body}"
            )
        path.unlink(missing_ok=True)
    parts = [
        *([f"{sent} delivered"] if sent else []),
        *([f"{left} waiting: {problem or 'will be tried again shortly'}"] if left else []),
    ]
    return "; ".join(parts) or problem or "nothing to send"


def _folder(home: Home) -> Path:
    return home.cache / "outbox"


def _waiting(context: dg.SensorEvaluationContext, home: Home) -> list[tuple[Path, Message]]:
    """Messages with their files, in the order in which they were put; what cannot be read is put aside."""
    found = []
    for path in _folder(home).glob("*.json"):
        try:
            found.append((path, TypeAdapter(Message).validate_json(path.read_bytes())))
        except (OSError, ValueError) as error:
            aside = path.rename(path.with_suffix(".unreadable"))
            context.log.warning(
                f"a message for the webhook cannot be read ({type(error).__name__}); it is kept as {aside}"
            )
    return sorted(found, key=lambda entry: entry[1].put)


def _write(path: Path, message: Message) -> None:
    write_atomically(path, json.dumps(asdict(message)).encode())
