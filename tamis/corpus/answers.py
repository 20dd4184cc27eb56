"""Answers that examples teach: the response to a prompt, or a label.

A prompt and its response are one document, with an empty line between them; its content id, its vector and
its near-duplicates are those of that text. The offset of the response is stored in a column of its own, so no
text is stored twice.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from tamis.corpus.arrow_values import Undecoded
from tamis.corpus.conversations import columns_of, read_conversation
from tamis.corpus.records import Defect, Item, Reason, Row, require_column, wrong_encoding
from tamis.corpus.text import excerpt, normalise_text
from tamis.corpus.text_columns import find
from tamis.settings.config import TargetSection

SEPARATOR = "\n\n"
COLUMNS = {"response_at": pl.UInt32, "label": pl.Utf8, "turns": pl.Utf8}
LABEL_CHARACTERS = 100


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
    rows: list[int] = field(default_factory=list)
    responses: list[int | None] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    turns: list[str | None] = field(default_factory=list)

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
        columns = {"row": self.rows, "response_at": self.responses, "label": self.labels, "turns": self.turns}
        return pl.DataFrame(columns, schema={"row": pl.UInt32, **COLUMNS})

    def _pair(self, item: Row) -> Item:
        prompt_column, column = (
            str(self.target.prompt_column),
            _column(item, str(self.target.response_column)),
        )
        prompt, response = _value(item, prompt_column), item.values[column]
        if isinstance(prompt, Undecoded):
            return wrong_encoding(item.row, "", prompt.data)
        if not isinstance(prompt, str):
            kind = f"of type {type(prompt).__name__}, not a string"
            detail = f"the prompt is {'null' if prompt is None else kind}"
            return Defect(row=item.row, reason=Reason.NON_TEXT, detail=detail, excerpt=excerpt(prompt))
        if not isinstance(response, str) or not (answer := normalise_text(response)):
            return item
        question = normalise_text(prompt)
        text = pair_text(question, answer)
        self._note(item.row, len(text) - len(answer), None)
        others = {name: value for name, value in item.values.items() if name != prompt_column}
        return replace(item, values={**others, column: text})

    def _labelled(self, item: Row) -> Item:
        column = str(self.target.label_column)
        label = _label(_value(item, column))
        if label is None:
            detail = f"no label in column {column!r}: text, a whole number or true/false is expected"
            shown = excerpt(_value(item, column))
            return Defect(row=item.row, reason=Reason.MALFORMED_ROW, detail=detail, excerpt=shown)
        self._note(item.row, None, label)
        return item

    def _conversation(self, item: Row) -> Item:
        form, column = self.target.format, _column(item, str(self.target.text_column))
        found = read_conversation(item.row, item.values, form, column)
        if isinstance(found, Defect):
            return found
        self._note(item.row, None, None, json.dumps(found.starts))
        texts = columns_of(form, column)
        others = {name: value for name, value in item.values.items() if name not in texts}
        return replace(item, values={**others, column: found.text})

    def _note(self, row: int, response_at: int | None, label: str | None, turns: str | None = None) -> None:
        self.rows.append(row)
        self.responses.append(response_at)
        self.labels.append(label)
        self.turns.append(turns)


def _column(item: Row, name: str) -> str:
    """Return the column that has the text of a row: the named one, unless the row says another."""
    return item.text.name if item.text else name


def _value(item: Row, path: str) -> Any:
    """Return the value of a column, or of a nested field by its path, that the row has."""
    found = find(item.columns, path)
    return found and found[1]


def _label(value: Any) -> str | None:
    if not isinstance(value, str | int | bool):
        return None
    return normalise_text(str(value))[:LABEL_CHARACTERS] or None
