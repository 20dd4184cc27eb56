"""Conversations and instructions as documents: chat messages, ShareGPT and Alpaca columns.

The document is what was said, turn by turn, with an empty line between turns, as in that of a prompt and its
response; so the same question and answer are one document in whatever form they come. It ends with the
last answer: what nobody answered teaches nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tamis.corpus.records import Defect, Reason
from tamis.corpus.text import excerpt, normalise_text
from tamis.settings.sections import RowFormat

SEPARATOR = "\n\n"
ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
"""What the speakers are called, and who they are."""
_KEYS = {"messages": ("role", "content"), "sharegpt": ("from", "value")}
_ROLES_SHOWN = 20


Turn = tuple[str, str]
"""Who speaks, and what is said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """A document that is a conversation: its text, and of each turn who speaks and where it begins."""

    text: str
    starts: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, turns: Sequence[Turn]) -> "Conversation":
        """Return the conversation of these turns, none of which is empty."""
        starts, at = [], 0
        for role, text in turns:
            starts.append((role, at))
            at += len(text) + len(SEPARATOR)
        return cls(text=SEPARATOR.join(text for _role, text in turns), starts=tuple(starts))


def system_turn_end(starts: Sequence[tuple[str, int]]) -> int:
    """Return the number of characters before the first turn that is not the system's."""
    return next((at for role, at in starts if role != "system"), 0)


def turns_of(text: str, starts: Sequence[tuple[str, int]]) -> tuple[Turn, ...]:
    """Return the turns of the text of a conversation."""
    ends = [*(start - len(SEPARATOR) for _role, start in starts[1:]), len(text)]
    return tuple((role, text[start:end]) for (role, start), end in zip(starts, ends, strict=True))


class _UnusableError(Exception):
    """A row that is no conversation; says why, without quoting it."""


def read_conversation(
    row: int, values: Mapping[str, Any], form: RowFormat, column: str
) -> Conversation | Defect:
    """Return the conversation of a row, or why it has none; `column` is where it is, of Alpaca the answer."""
    try:
        if form == "alpaca":
            turns = _instruction(values, column)
        else:
            turns = _turns(values[column], *_KEYS[form])
        return Conversation.of(_answered(turns))
    except _UnusableError as error:
        return Defect(row=row, reason=Reason.NON_TEXT, detail=str(error), excerpt=excerpt(values[column]))


def columns_of(form: RowFormat, column: str) -> frozenset[str]:
    """Return the columns that a row's text is made of."""
    return frozenset({column, "instruction", "input"} if form == "alpaca" else {column})


def _answered(turns: list[Turn]) -> list[Turn]:
    while turns and turns[-1][0] != "assistant":
        turns.pop()
    if not turns:
        raise _UnusableError("no turn of the assistant has any text")
    return turns


def _instruction(values: Mapping[str, Any], column: str) -> list[Turn]:
    asked = [("user", _text_of(values.get(name), name)) for name in ("instruction", "input")]
    if not asked[0][1]:
        raise _UnusableError("the instruction is missing or empty")
    answer = _text_of(values[column], column)
    return [turn for turn in (*asked, ("assistant", answer)) if turn[1]]


def _turns(value: Any, speaker: str, said: str) -> list[Turn]:
    """Return the turns with any text: who speaks, and what is said."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise _UnusableError("a list of turns is expected, found a text") from None
    if not isinstance(value, list):
        found = "null" if value is None else type(value).__name__
        raise _UnusableError(f"a list of turns is expected, found {found}")
    turns = []
    for number, turn in enumerate(value, 1):
        if not isinstance(turn, dict) or speaker not in turn or said not in turn:
            raise _UnusableError(f"turn {number} is not an object with {speaker!r} and {said!r}")
        role = ROLES.get(turn[speaker].strip().lower()) if isinstance(turn[speaker], str) else None
        if role is None:
            shown = excerpt(turn[speaker])[:_ROLES_SHOWN]
            raise _UnusableError(f"turn {number} has the unknown role {shown!r}; valid: {', '.join(ROLES)}")
        if text := _text_of(turn[said], f"turn {number}"):
            turns.append((role, text))
    return turns


def _text_of(value: Any, where: str) -> str:
    """Return a content in normal form, "" of none; parts of text are joined."""
    if isinstance(value, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in value]
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) < len(parts):
            raise _UnusableError(f"{where} has a part that is not text")
        value = "\n".join(texts)
    if value is not None and not isinstance(value, str):
        raise _UnusableError(f"{where} is of type {type(value).__name__}, not a text")
    return normalise_text(value or "")
