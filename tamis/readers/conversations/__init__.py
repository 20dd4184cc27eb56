"""Conversations and instructions as documents: chat messages, ShareGPT, Alpaca, problems and preferences.

The document is what was said, turn by turn, with an empty line between turns, as in that of a prompt and its
response; so the same question and answer are one document in whatever form they come. It ends with the
last answer: what nobody answered teaches nothing. A call of a tool is said by its JSON, `{"name": ...,
"arguments": ...}`, a line each, below the text of its turn. Of a preference pair the document is the prompt
with the chosen answer; the rejected one stays in its column.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, takewhile
from typing import Any

import polars as pl

from tamis.readers.arrow_values import Undecoded
from tamis.readers.json_rows import Reader
from tamis.readers.rows import Defect, Item, Reason, Row, malformed, require_column, wrong_encoding
from tamis.readers.text import excerpt, normalise_text
from tamis.readers.text_columns import PROBLEMS, find
from tamis.settings.config import TargetSection
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
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool_calls": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "tool_result": "tool",
    "ipython": "tool",
}
"""Roles by the names of speakers."""
_KEYS = {"messages": ("role", "content"), "sharegpt": ("from", "value")}
_ASKED_IN = {"alpaca": ("instruction", "input"), "problem": PROBLEMS, "preference": ("prompt",)}
"""Columns of what is asked, by format."""
_ROLES_SHOWN = 20
_CALL_KEYS = ("toolcalls", "toolcall", "functioncalls", "functioncall", "tooluse", "tooluses")
"""Keys of a turn that hold calls of tools, in lower case and without underscores."""
_CALLS = ("tool_use", "server_tool_use", "tool_call", "function_call")
"""Types of the parts of a turn that are calls of tools; their results are texts."""
_UNSAID = ("audio", "reasoning_content", "reasoning", "thinking")
"""Keys that may stand in a turn in place of its text, and are no part of it."""
_RESULTS = ("tool_result", "web_search_tool_result", "function_call_output")
Turn = tuple[str, str]
"""Speaker and text."""
COLUMNS = {"response_at": pl.UInt32, "label": pl.Utf8, "turns": pl.Utf8}
LABEL_CHARACTERS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """A document that is a conversation: its text, and of each turn who speaks and where it begins."""

    text: str
    starts: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, turns: Sequence[Turn]) -> "Conversation":
        """Return the conversation of these turns, none of which is empty."""
        roles, texts = [role for role, _text in turns], [text for _role, text in turns]
        starts = accumulate((len(text) + len(SEPARATOR) for text in texts), initial=0)
        return cls(text=SEPARATOR.join(texts), starts=tuple(zip(roles, starts, strict=False)))


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
        turns = _turns_of(values, form, column)
        while turns and turns[-1][0] != "assistant":
            turns.pop()
        if not turns:
            raise _UnusableError("no turn of the assistant has any text")
        return Conversation.of(turns)
    except _UnusableError as error:
        return Defect(row=row, reason=Reason.NON_TEXT, detail=str(error), excerpt=excerpt(values[column]))


def columns_of(form: RowFormat, column: str) -> frozenset[str]:
    """Return the columns that a row's text is made of."""
    return frozenset({column, *_ASKED_IN.get(form, ())})


def _turns_of(values: Mapping[str, Any], form: RowFormat, column: str) -> list[Turn]:
    if form == "alpaca":
        return _instruction(values, column)
    if form == "problem":
        return _problem(values, column)
    if form == "preference":
        pair = _preference(values, column)
        return [*pair.prompt, *pair.chosen]
    return _turns(values[column], *_KEYS[form])


def _instruction(values: Mapping[str, Any], column: str) -> list[Turn]:
    asked = [("user", _text_of(values.get(name), name)) for name in ("instruction", "input")]
    if not asked[0][1]:
        raise _UnusableError("the instruction is missing or empty")
    return [turn for turn in (*asked, ("assistant", _text_of(values[column], column))) if turn[1]]


def _problem(values: Mapping[str, Any], column: str) -> list[Turn]:
    asked = next(filter(None, (_text_of(values.get(name), name) for name in PROBLEMS)), "")
    if not asked:
        raise _UnusableError(
            f"the problem is missing or empty: a text in {' or '.join(PROBLEMS)} is expected"
        )
    return [turn for turn in (("user", asked), ("assistant", _text_of(values[column], column))) if turn[1]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preference:
    """A preference pair: the turns before the answers, and the turns of each answer."""

    prompt: tuple[Turn, ...]
    chosen: tuple[Turn, ...]
    rejected: tuple[Turn, ...]


def read_preference(values: Mapping[str, Any], column: str) -> Preference | None:
    """Return the pair of a row, whose chosen answer is in `column`; None where the row is none."""
    with contextlib.suppress(_UnusableError):
        return _preference(values, column)
    return None


def _preference(values: Mapping[str, Any], column: str) -> Preference:
    """Return the pair of a row: its prompt and its answers are texts or lists of turns.

    A list of turns may begin with those of the prompt; without a prompt, what both have in common is it.
    """
    prompt, chosen, rejected = (
        _said(values.get(name), name, role)
        for name, role in (("prompt", "user"), (column, "assistant"), ("rejected", "assistant"))
    )
    if not prompt:
        pairs = zip(chosen[:-1], rejected[:-1], strict=False)
        prompt = [one for one, other in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    chosen, rejected = (
        said[len(prompt) :] if said[: len(prompt)] == prompt else said for said in (chosen, rejected)
    )
    for name, said in (("chosen", chosen), ("rejected", rejected)):
        if not said or said[-1][0] != "assistant":
            raise _UnusableError(f"the {name} answer is missing or empty")
    if chosen == rejected:
        raise _UnusableError("the chosen and the rejected answer are the same")
    return Preference(prompt=tuple(prompt), chosen=tuple(chosen), rejected=tuple(rejected))


def _said(value: Any, name: str, role: str) -> list[Turn]:
    """Return the turns of a prompt or an answer, a list of messages or the text of one turn."""
    if isinstance(value, list):
        speaker = (
            _KEYS["sharegpt"] if any("from" in turn for turn in value if isinstance(turn, dict)) else None
        )
        return _turns(value, *(speaker or _KEYS["messages"]))
    text = _text_of(value, name)
    return [(role, text)] if text else []


def _turns(value: Any, speaker: str, said: str) -> list[Turn]:
    """Return the turns with any text: who speaks, and what is said."""
    if isinstance(value, str):
        reader = Reader()
        try:
            value = reader.read(value)
        except (ValueError, RecursionError):
            raise _UnusableError("a list of turns is expected, found a text") from None
        if problem := reader.problem():
            raise _UnusableError(problem)
    if not isinstance(value, list):
        found = "null" if value is None else type(value).__name__
        raise _UnusableError(f"a list of turns is expected, found {found}")
    turns = []
    for number, turn in enumerate(value, 1):
        if not isinstance(turn, dict) or speaker not in turn or not (said in turn or _calls_of(turn)):
            raise _UnusableError(f"turn {number} is not an object with {speaker!r} and {said!r}")
        role = ROLES.get(turn[speaker].strip().lower()) if isinstance(turn[speaker], str) else None
        if role is None:
            shown = excerpt(turn[speaker])[:_ROLES_SHOWN]
            raise _UnusableError(f"turn {number} has the unknown role {shown!r}; valid: {', '.join(ROLES)}")
        where = f"turn {number}"
        text = _text_of(turn.get(said), where) or _text_of(turn.get("refusal"), where)
        calls = [_call_text(call, where) for call in _calls_of(turn)]
        if text := normalise_text("\n".join([text, *calls] if text else calls)):
            turns.append((role, text))
        elif unsaid := next(filter(turn.get, _UNSAID), None):
            raise _UnusableError(f"{where} has no text, only {unsaid!r}")
    return turns


def _calls_of(turn: Mapping[str, Any]) -> list[Any]:
    """Return the calls of tools that a turn has beside its text."""
    calls: list[Any] = []
    for key, found in turn.items():
        if key.replace("_", "").lower() not in _CALL_KEYS or isinstance(found, bool):  # whether there are any
            continue
        if isinstance(found, str):
            with contextlib.suppress(ValueError, RecursionError):
                found = json.loads(found)
        calls += found if isinstance(found, list) else [found]
    # Parquet writes every key in every turn.
    return [call for call in calls if (any(call.values()) if isinstance(call, dict) else call)]


def _call_text(call: Any, where: str) -> str:
    """Return the JSON of a call: its name and arguments, also where these are JSON text."""
    inner = call
    for key in ("function", "custom"):
        if isinstance(call, dict) and isinstance(call.get(key), dict):
            inner = call[key]
    name = inner.get("name") if isinstance(inner, dict) else None
    if not isinstance(name, str) or not name:
        raise _UnusableError(f"{where} has a call of a tool without a name")
    arguments = next((inner[key] for key in ("arguments", "input", "parameters") if key in inner), None)
    if isinstance(arguments, str):
        with contextlib.suppress(ValueError, RecursionError):
            arguments = json.loads(arguments)
    return json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False, default=str)


def _part_text(part: Any, where: str) -> str:
    """Return the text of a part of a turn: a text, a call of a tool, or what it answered."""
    if isinstance(part, dict) and not isinstance(part.get("text"), str):
        kind = part.get("type")
        if kind in _CALLS:
            return _call_text(part, where)
        if kind in _RESULTS:
            return _text_of(part.get("content", part.get("output")), where)
        if kind == "refusal":
            return _text_of(part.get("refusal"), where)
    text = part.get("text") if isinstance(part, dict) else part
    if not isinstance(text, str):
        raise _UnusableError(f"{where} has a part that is not text")
    return text


def _text_of(value: Any, where: str) -> str:
    """Return a content in normal form, "" of none; its parts are joined."""
    if isinstance(value, list):
        value = "\n".join(_part_text(part, where) for part in value)
    if isinstance(value, Undecoded):
        raise _UnusableError(f"{where} has bytes that are not UTF-8")
    if value is not None and not isinstance(value, str):
        raise _UnusableError(f"{where} is of type {type(value).__name__}, not a text")
    return normalise_text(value or "")


def pair_text(prompt: str, response: str) -> str:
    """Join a prompt and its response into one document."""
    return f"{prompt}{SEPARATOR}{response}" if prompt else response


def split_pair(text: str, response_at: int) -> tuple[str, str]:
    """Return prompt and response of a document that `pair_text` made."""
    return text[: max(0, response_at - len(SEPARATOR))], text[response_at:]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Passes the rows of a shard on as documents and notes by row what is to be learnt of each."""

    target: TargetSection
    notes: list[tuple[int, int | None, str | None, str | None]] = field(default_factory=list)
    """Of each row what `frame` returns."""

    def read(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, their text that of prompt and response; a row without a prompt or label is a defect.

        Of a file that has no such column there is one defect, as of one without the column of the text.
        """
        column = self.target.prompt_column if self.target.response_column else self.target.label_column
        for item in require_column(items, column) if column else items:
            if isinstance(item, Row) and self.target.format != "text":
                yield self._conversation(item)
            elif isinstance(item, Row) and self.target.response_column:
                yield self._pair(item)
            elif isinstance(item, Row) and self.target.label_column:
                yield self._labelled(item)
            else:
                yield item

    def frame(self) -> pl.DataFrame:
        """row, response_at, label and turns of every row that was passed on."""
        return pl.DataFrame(self.notes, schema={"row": pl.UInt32, **COLUMNS}, orient="row")

    def _pair(self, item: Row) -> Item:
        prompt_column, column = self.target.prompt_column, _column(item, str(self.target.response_column))
        prompt, response = _value(item, str(prompt_column)), item.values[column]
        if isinstance(prompt, Undecoded):
            return wrong_encoding(item.row, "", prompt.data)
        if not isinstance(prompt, str):
            kind = "null" if prompt is None else f"of type {type(prompt).__name__}, not a string"
            return Defect(
                row=item.row,
                reason=Reason.NON_TEXT,
                detail=f"the prompt is {kind}",
                excerpt=excerpt(prompt),
            )
        if not isinstance(response, str) or not (answer := normalise_text(response)):
            return item
        text = pair_text(normalise_text(prompt), answer)
        self.notes.append((item.row, len(text) - len(answer), None, None))
        others = {name: value for name, value in item.values.items() if name != prompt_column}
        return replace(item, values={**others, column: text})

    def _labelled(self, item: Row) -> Item:
        column = str(self.target.label_column)
        value = _value(item, column)
        label = normalise_text(str(value))[:LABEL_CHARACTERS] if isinstance(value, str | int | bool) else ""
        if not label:
            expected = "text, a whole number or true/false is expected"
            return malformed(item.row, f"no label in column {column!r}: {expected}", value)
        self.notes.append((item.row, None, label, None))
        return item

    def _conversation(self, item: Row) -> Item:
        form, column = self.target.format, _column(item, str(self.target.text_column))
        found = read_conversation(item.row, item.columns, form, column)
        if isinstance(found, Defect):
            return found
        self.notes.append((item.row, None, None, json.dumps(found.starts)))
        texts = columns_of(form, column)
        others = {name: value for name, value in item.values.items() if name not in texts}
        return replace(item, values={**others, column: found.text})


def _column(item: Row, name: str) -> str:
    """Return the column that has the text of a row: the named one, unless the row says another."""
    return item.text.name if item.text else name


def _value(item: Row, path: str) -> Any:
    """Return the value of a column, or of a nested field by its path, that the row has."""
    found = find(item.columns, path)
    return found and found[1]
