"""Conversations as a model reads them: through its tokenizer's chat template, the assistant's turns learnt.

What the template puts around a turn is read as special tokens, what was said is not, even where it spells
one. A tokenizer without a template gets the turns as a prompt and its response are given: an empty line
between them, and its end token behind each answer.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from tamis.base.errors import MissingPackageError, TamisError
from tamis.readers.conversations import SEPARATOR, Turn, turns_of
from tamis.readers.rows import Defect, Reason, quarantine_frame
from tamis.readers.text import excerpt
from tamis.training.errors import BadTemplateError
from tamis.training.models import tokenizer_of
from tamis.training.tokenizer import boundary_tokens, encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ASSISTANT = "assistant"
READ, SAID, AROUND = 0, 1, 2
"""Of a token: only read; of an answer; of what a template puts behind an answer."""
_MARK = "\ue000"


@dataclass(frozen=True, kw_only=True, slots=True)
class Chat:
    """A conversation, whose answers are to be learnt."""

    turns: tuple[Turn, ...]

    @property
    def answers(self) -> tuple[str, ...]:
        """Turns of the assistant."""
        return tuple(text for role, text in self.turns if role == ASSISTANT)


class _RefusedError(Exception):
    """A conversation that a template does not take; says why, without quoting it."""


def chat_tokens(
    tokenizer: "PreTrainedTokenizerBase", model: str, chats: Sequence[Chat]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the tokens [T] of each conversation, and what each of them is.

    Raises `BadTemplateError`.
    """
    begin, found = boundary_tokens(tokenizer)[0], []
    if refused := refused_by(tokenizer, chats):
        raise BadTemplateError(model, len(refused), len(chats), next(iter(refused.values())))
    for chat in chats:
        pieces = list(_templated(tokenizer, chat) if tokenizer.chat_template else _plain(tokenizer, chat))
        ids = [token for tokens, _kind in pieces for token in tokens]
        kinds = [kind for tokens, kind in pieces for _token in tokens]
        before = [] if ids[:1] == [begin] else [begin]
        found.append((np.asarray([*before, *ids]), np.asarray([READ] * len(before) + kinds)))
    return found


def refused_by(tokenizer: "PreTrainedTokenizerBase", chats: Sequence[Chat]) -> dict[int, str]:
    """Return why a tokenizer's template does not take conversations, by their position."""
    refused = {}
    for position, chat in enumerate(chats if tokenizer.chat_template else ()):
        try:
            list(_templated(tokenizer, chat))
        except _RefusedError as error:
            refused[position] = str(error)
    return refused


def refused_rows(examples: pl.DataFrame, models: Sequence[str]) -> dict[int, str]:
    """Return which conversations (text, turns) a template of these models does not take, and why.

    A model that cannot be loaded refuses none here: training on it says what is wrong. Raises
    `MissingPackageError`.
    """
    chats = [
        Chat(turns=turns_of(text, json.loads(turns)))
        for text, turns in examples.select("text", "turns").iter_rows()
    ]
    refused: dict[int, str] = {}
    for model in models:
        try:
            tokenizer = tokenizer_of(model)
        except MissingPackageError:  # once it is installed, nothing would ask again
            raise
        except (OSError, ValueError, TamisError):
            continue
        for position, reason in refused_by(tokenizer, chats).items():
            refused.setdefault(position, f"the chat template of {model} rejects it: {reason}")
    return refused


def without_refused(examples: pl.DataFrame, models: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the conversations (shard, row, text, turns) that the templates of all these models take.

    With them: rows of the quarantine for the others.
    """
    refused = refused_rows(examples, models)
    places = examples[list(refused)]
    defects = [
        Defect(row=row, reason=Reason.NON_TEXT, detail=detail, excerpt=excerpt(text))
        for row, text, detail in zip(places["row"], places["text"], refused.values(), strict=True)
    ]
    taken = [position for position in range(len(examples)) if position not in refused]
    return examples[taken], quarantine_frame(defects).with_columns(places["shard"])


def chat_windows(
    tokens: np.ndarray, kinds: np.ndarray, length: int, ending: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of at most `length` targets, and which of these count; rows without any are left out."""
    scored = kinds == SAID if not ending else kinds != READ
    for start in range(0, len(tokens) - 1, length):
        row, counts = tokens[start : start + length + 1], scored[start + 1 : start + length + 1]
        if counts.any():
            yield row.astype(np.int64), counts


def _plain(tokenizer: "PreTrainedTokenizerBase", chat: Chat) -> Iterator[tuple[list[int], int]]:
    end = boundary_tokens(tokenizer)[1]
    for role, text in chat.turns:
        answer = role == ASSISTANT
        (ids,) = encode(tokenizer, [text if answer else text + SEPARATOR])
        yield ids, SAID if answer else READ
        if answer:
            yield [end], AROUND


def _templated(tokenizer: "PreTrainedTokenizerBase", chat: Chat) -> Iterator[tuple[list[int], int]]:
    """Yield what the template writes: it gets a mark in place of each turn, so that turns are found again."""
    marks = [f"{_MARK}{number}{_MARK}" for number in range(len(chat.turns))]
    turns = zip(chat.turns, marks, strict=True)
    messages = [{"role": role, "content": mark} for (role, _text), mark in turns]
    try:
        written = str(tokenizer.apply_chat_template(messages, tokenize=False))
    except Exception as error:  # templates raise what they like
        raise _RefusedError(str(error) or type(error).__name__) from None
    gaps = []
    for mark in marks:
        gap, found, written = written.partition(mark)
        if not found:
            raise _RefusedError("it does not write all turns in order")
        gaps.append(gap)
    if any(_MARK in gap for gap in (*gaps, written)):
        raise _RefusedError("it writes a turn more than once")
    end = written
    yield _special(tokenizer, gaps[0]), READ
    for (role, text), behind in zip(chat.turns, [*gaps[1:], end], strict=True):
        answer = role == ASSISTANT
        yield encode(tokenizer, [text])[0], SAID if answer else READ
        closing = end if answer and behind.startswith(end) else ""
        yield _special(tokenizer, closing), AROUND
        yield _special(tokenizer, behind[len(closing) :]), READ


def _special(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []
