"""Chosen documents as rows to train on: texts, prompts with completions, or conversations, as they were read.

The turns of a conversation are read again from the columns of its row; they have to give the document's text.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from tamis.base.errors import PermanentError
from tamis.base.numbers import counted
from tamis.corpus.sources import with_corpora
from tamis.interchange.own_columns import read_own_rows
from tamis.interchange.trainers import JOINED, REPETITIONS, TAKES_PREFERENCES, Shape
from tamis.project import Project
from tamis.readers.conversations import (
    SEPARATOR,
    Conversation,
    Preference,
    Turn,
    read_conversation,
    read_preference,
    turns_of,
)
from tamis.readers.text_columns import find, names_of
from tamis.selection.pool import training_order
from tamis.settings.sections import COLUMN_OF_FORMAT, CorpusSection, RowFormat

PLAIN: RowFormat = "text"
INSTRUCTIONS: frozenset[RowFormat] = frozenset({"alpaca", "problem"})
PREFERENCES: RowFormat = "preference"
SPOKEN_TO = ("user", "tool")
_AS_TEXT = "with --text the documents are written as plain text"


class UnfitRowsError(PermanentError):
    """Chosen documents that cannot be written as one kind of rows, or that a trainer does not take."""

    def __init__(self, selection: str, problem: str, cure: str = _AS_TEXT) -> None:
        super().__init__(f"nothing was written: {problem} (selection {selection!r}); {cure}")


@dataclass(frozen=True, kw_only=True)
class TrainingRows:
    """Chosen documents in one shape, in the order of training.

    order: doc_id, repetitions, in the order of the rows. contents: of each document the columns of its rows.
    """

    shape: Shape
    order: pl.DataFrame
    contents: Mapping[str, Mapping[str, Any]]
    counted: bool

    def objects(self) -> Iterator[dict[str, Any]]:
        """Yield the rows: the document's id, its content and, where these are counted, its repetitions."""
        for doc_id, repetitions in self.order.iter_rows():
            number = {REPETITIONS: repetitions} if self.counted else {}
            yield {"doc_id": doc_id, **self.contents[doc_id], **number}


def training_rows(
    project: Project, selection: str, trainer: str, chosen: pl.DataFrame, *, as_text: bool, counted: bool
) -> TrainingRows:
    """Return the rows of chosen documents (doc_id, text, training_count?, shard and row of the first place).

    `as_text`: conversations as the texts that they are as documents. `counted`: a row each, with a column of
    its repetitions. Raises `UnfitRowsError`.
    """
    counts = pl.col("training_count") if "training_count" in chosen.columns else pl.lit(1)
    repeated = chosen.select("doc_id", count=counts.cast(pl.Int64))
    order = training_order(repeated, project.seed).join(repeated, on="doc_id", maintain_order="left")
    order = order.select("doc_id", pl.col("count").alias(REPETITIONS))
    if counted:
        order = order.unique("doc_id", keep="first", maintain_order=True)
    shape, contents = _contents(project, selection, trainer, chosen, as_text)
    if shape == Shape.PAIR and trainer in JOINED:
        contents = {key: row | {"prompt": row["prompt"] + SEPARATOR} for key, row in contents.items()}
    if shape == Shape.MESSAGES and trainer == "llama-factory":
        _require_alternation(selection, contents)
    return TrainingRows(shape=shape, order=order, contents=contents, counted=counted)


def _contents(
    project: Project, selection: str, trainer: str, chosen: pl.DataFrame, as_text: bool
) -> tuple[Shape, dict[str, dict[str, Any]]]:
    texts = dict(chosen.select("doc_id", "text").iter_rows())
    sections = {section.name: section for section in project.settings.corpus}
    placed = with_corpora(project.home.store, chosen.select("doc_id", "shard", "row"))
    formats = {name: section.format for name, section in sections.items()}
    form = pl.col("corpus").replace_strict(formats, default=PLAIN, return_dtype=pl.String)
    placed = placed.with_columns(form=form)
    corpora: dict[str, list[str]] = {}
    for corpus, name in placed.select("corpus", "form").unique().sort("corpus").iter_rows():
        corpora.setdefault(name, []).append(corpus)
    if as_text or corpora.keys() <= {PLAIN}:
        return Shape.TEXT, {doc_id: {"text": text} for doc_id, text in texts.items()}
    if PLAIN in corpora:
        talks = sorted(name for form, names in corpora.items() if form != PLAIN for name in names)
        raise UnfitRowsError(
            selection,
            f"documents of {', '.join(corpora[PLAIN])} are plain texts, those of {', '.join(talks)} "
            "conversations, and a trainer's file has rows of one kind",
        )
    if PREFERENCES in corpora and (trainer != TAKES_PREFERENCES or len(corpora) > 1):
        others = sorted(name for form, names in corpora.items() if form != PREFERENCES for name in names)
        raise UnfitRowsError(
            selection,
            f"documents of {', '.join(corpora[PREFERENCES])} are preference pairs, "
            + (
                f"those of {', '.join(others)} are not, and a trainer's file has rows of one kind"
                if others
                else f"for which Tamis writes no configuration of {trainer}"
            ),
            f"export for {TAKES_PREFERENCES}, from a selection of pairs alone; or {_AS_TEXT}",
        )
    turns = _turns(project, sections, placed, texts)
    if missing := Counter(
        corpus for doc_id, corpus in placed.select("doc_id", "corpus").iter_rows() if doc_id not in turns
    ):
        raise UnfitRowsError(
            selection,
            f"the turns of {counted(missing.total(), 'document')} of {', '.join(sorted(missing))} are not "
            "stored, because keep_columns leaves them out or their files have changed",
            f"keep these columns and run `tamis materialize`; or {_AS_TEXT}",
        )
    if PREFERENCES in corpora:
        return Shape.PREFERENCE, _pairs({doc_id: pair for doc_id, (_talk, pair) in turns.items()})
    said = {doc_id: talk for doc_id, (talk, _pair) in turns.items()}
    if corpora.keys() <= INSTRUCTIONS:
        return Shape.PAIR, {
            doc_id: {"prompt": SEPARATOR.join(text for _role, text in talk[:-1]), "completion": talk[-1][1]}
            for doc_id, talk in said.items()
        }
    return Shape.MESSAGES, {doc_id: {"messages": _messages(_joined(talk))} for doc_id, talk in said.items()}


def _messages(turns: Iterable[Turn]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in turns]


def _pairs(pairs: Mapping[str, Preference | None]) -> dict[str, dict[str, Any]]:
    """Return prompt, chosen and rejected of each document: texts if all are single turns, else messages."""
    known = {doc_id: pair for doc_id, pair in pairs.items() if pair is not None}
    plain = all(
        len(pair.chosen) == len(pair.rejected) == 1
        and [role for role, _text in pair.prompt] in ([], ["user"])
        for pair in known.values()
    )
    if plain:
        return {
            doc_id: {
                "prompt": "".join(f"{text}{SEPARATOR}" for _role, text in pair.prompt),
                "chosen": pair.chosen[0][1],
                "rejected": pair.rejected[0][1],
            }
            for doc_id, pair in known.items()
        }
    return {
        doc_id: {
            "prompt": _messages(pair.prompt),
            "chosen": _messages(pair.chosen),
            "rejected": _messages(pair.rejected),
        }
        for doc_id, pair in known.items()
    }


def _turns(
    project: Project, sections: Mapping[str, CorpusSection], placed: pl.DataFrame, texts: Mapping[str, str]
) -> dict[str, tuple[tuple[Turn, ...], Preference | None]]:
    """Return the turns of each document whose row is stored, or can be read again, and gives its text.

    With them, of preference pairs, the pair.
    """
    own = read_own_rows(project, placed)
    turns: dict[str, tuple[tuple[Turn, ...], Preference | None]] = {}
    for doc_id, shard, row, corpus in placed.select("doc_id", "shard", "row", "corpus").iter_rows():
        values, section = own.values.get((shard, row), {}), sections[corpus]
        for name in names_of(section.text_column) or (COLUMN_OF_FORMAT[section.format],):
            if (place := find(values, name)) is None:
                continue
            row_values = {**values, name: place[1]}
            talk = read_conversation(row, row_values, section.format, name)
            if isinstance(talk, Conversation) and talk.text == texts[doc_id]:
                pair = read_preference(row_values, name) if section.format == PREFERENCES else None
                turns[doc_id] = turns_of(talk.text, talk.starts), pair
                break
    return turns


def _joined(turns: tuple[Turn, ...]) -> list[Turn]:
    """Return the turns with those of one speaker in a row as one, as an instruction and its input are."""
    joined: list[Turn] = []
    for role, text in turns:
        if joined and joined[-1][0] == role != "tool":
            joined[-1] = role, f"{joined[-1][1]}{SEPARATOR}{text}"
        else:
            joined.append((role, text))
    return joined


def _require_alternation(selection: str, contents: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise `UnfitRowsError` for conversations that LLaMA-Factory would leave out, with a warning alone."""
    skipped = 0
    for row in contents.values():
        roles = [message["role"] for message in row["messages"]]
        roles = roles[1:] if roles[:1] == ["system"] else roles
        fits = len(roles) % 2 == 0 and all(
            role in SPOKEN_TO if place % 2 == 0 else role == "assistant" for place, role in enumerate(roles)
        )
        skipped += not fits
    if skipped:
        raise UnfitRowsError(
            selection,
            f"llama-factory takes conversations whose turns alternate between user (or tool) and assistant, "
            f"and would skip {skipped:,} of the {len(contents):,} chosen",
            f"export for trl or axolotl; or {_AS_TEXT}",
        )
