"""Examples to learn from: plain text, a prompt with its response, a conversation, a text with its label.

Of a pair the loss is over the response alone, the end of the prompt is read before it; the text that names a
pair and becomes its vector is the prompt, an empty line, and the response.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import cast

import numpy as np

from tamis.readers.conversations import SEPARATOR, Conversation, pair_text
from tamis.training.chats import Chat, chat_tokens, chat_windows
from tamis.training.errors import EmptyTextError
from tamis.training.models import Kind, LoadedModel
from tamis.training.packing import Batch, filled
from tamis.training.tokenizer import boundary_tokens, encode

__all__ = ["SEPARATOR", "Chat", "Example", "Labelled", "Pair", "classes_of", "text_of"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A prompt and the response to learn."""

    prompt: str
    response: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """A text and the class it belongs to."""

    text: str
    label: str


Example = str | Pair | Chat | Labelled


def text_of(example: Example) -> str:
    """The document that an example is."""
    if isinstance(example, Pair):
        return pair_text(example.prompt, example.response)
    if isinstance(example, Chat):
        return Conversation.of(example.turns).text
    return example.text if isinstance(example, Labelled) else example


def classes_of(examples: Sequence[Example]) -> tuple[str, ...]:
    """Return the labels of the examples, sorted; plain texts and pairs have none."""
    return tuple(sorted({one.label for one in examples if isinstance(one, Labelled)}))


@dataclass(frozen=True, kw_only=True, eq=False)
class ExampleRows:
    """Rows of tokens, those of an example one after the other; a `TrainingSet`.

    owner: [r], the example of each row, ascending. first_scored: [r], and scored: of each row; see `Batch`.
    sources: what the encoder reads of each example. classes: [n], the class of each.
    """

    tokens: list[np.ndarray]
    owner: np.ndarray
    first_scored: np.ndarray | None = None
    scored: list[np.ndarray] | None = None
    sources: list[np.ndarray] | None = None
    classes: np.ndarray | None = None

    @property
    def targets(self) -> int:
        """Tokens that an epoch reads, by encoder and decoder."""
        return int(self.lengths.sum() + self.source_lengths.sum())

    @property
    def lengths(self) -> np.ndarray:
        """Tokens that the model reads of each row [r]: of a labelled text all, else all but the last."""
        sizes = np.fromiter(map(len, self.tokens), dtype=np.int64, count=len(self.tokens))
        return sizes if self.classes is not None else sizes - 1

    @property
    def source_lengths(self) -> np.ndarray:
        """Tokens that the encoder reads for each row [r]."""
        if self.sources is None:
            return np.zeros(len(self.owner), dtype=np.int64)
        return np.fromiter(map(len, self.sources), dtype=np.int64, count=len(self.sources))[self.owner]

    def rows(self, sequence_length: int) -> int:
        """Rows an epoch; their length was fixed when they were cut."""
        return len(self.tokens)

    def batch(self, sequence_length: int, seed: int, epoch: int, part: slice) -> Batch:
        """Some rows of an epoch."""
        return self.chosen(_order(self, seed, epoch)[part])

    def chosen(self, rows: np.ndarray) -> Batch:
        """A batch of these rows."""
        owners = self.owner[rows]
        tokens = filled([self.tokens[row] for row in rows], self._longest, behind=self.classes is None)
        return Batch(
            rows=tokens,
            scored=None if self.scored is None else _wide(self.scored, rows, tokens.shape[1] - 1),
            first_scored=None if self.first_scored is None else self.first_scored[rows],
            sources=None
            if self.sources is None
            else filled([self.sources[one] for one in owners], self._longest_source),
            classes=None if self.classes is None else self.classes[owners],
        )

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.tokens))

    @cached_property
    def _longest_source(self) -> int:
        return max(map(len, self.sources or ()))

    def tokens_in(self, sequence_length: int, seed: int, epoch: int, rows: int) -> tuple[int, int]:
        """Tokens in the first rows of an epoch, and those that the encoder reads for them."""
        some = _order(self, seed, epoch)[:rows]
        return int(self.lengths[some].sum()), int(self.source_lengths[some].sum())

    def content(self) -> bytes:
        """Tokens, borders and what is scored."""
        sizes = [len(row) for row in (*self.tokens, *(self.sources or ()))]
        parts = [
            *(np.asarray(sizes), self.owner, *self.tokens, *(self.sources or ())),
            *(self.first_scored, self.classes, *(self.scored or ())),
        ]
        return b"".join(part.astype(np.int64).tobytes() for part in parts if part is not None)


def _wide(scored: list[np.ndarray], rows: np.ndarray, width: int) -> np.ndarray:
    """Return what is scored of some rows as one array [b, width]."""
    return np.stack([np.pad(scored[row], (0, width - len(scored[row]))) for row in rows])


@lru_cache(maxsize=1)
def _order(examples: ExampleRows, seed: int, epoch: int) -> np.ndarray:
    """Rows in the order of an epoch [r]: examples shuffled, the rows of each together."""
    place = np.random.default_rng((seed, epoch)).permutation(int(examples.owner.max()) + 1)
    return np.argsort(place[examples.owner], kind="stable")


def chat_rows(
    loaded: LoadedModel, chats: Sequence[Chat], sequence_length: int, *, ending: bool = True
) -> ExampleRows:
    """Conversations as rows for a causal model; an encoder-decoder learns the last answer of each.

    `ending`: whether what a template puts behind an answer is to be learnt, too. Raises `BadTemplateError`,
    and `EmptyTextError` when no answer holds a token.
    """
    if loaded.kind == Kind.ENCODER_DECODER:
        pairs = [
            Pair(prompt=Conversation.of(chat.turns[:-1]).text, response=chat.turns[-1][1]) for chat in chats
        ]
        return pair_rows(loaded, pairs, sequence_length, ending=ending)
    encoded = chat_tokens(loaded.tokenizer, loaded.name, chats)
    cut = [list(chat_windows(tokens, kinds, sequence_length, ending)) for tokens, kinds in encoded]
    if not any(cut):
        raise EmptyTextError("training and evaluation on answers")
    return ExampleRows(
        tokens=[tokens for rows in cut for tokens, _scored in rows],
        owner=np.repeat(np.arange(len(cut)), [len(rows) for rows in cut]),
        scored=[scored for rows in cut for _tokens, scored in rows],
    )


def pair_rows(
    loaded: LoadedModel, pairs: Sequence[Pair], sequence_length: int, *, ending: bool = True
) -> ExampleRows:
    """Pairs as rows for a causal model or an encoder-decoder; `ending`: whether the end is to be learnt too.

    Raises `EmptyTextError` when no response holds a token.
    """
    begin, end = boundary_tokens(loaded.tokenizer)
    prompts = encode(loaded.tokenizer, [pair.prompt + SEPARATOR if pair.prompt else "" for pair in pairs])
    answers = encode(loaded.tokenizer, [pair.response for pair in pairs])
    answers = [[*answer, end] if ending and answer else answer for answer in answers]
    sources = None
    if loaded.kind == Kind.ENCODER_DECODER:
        begin = int(loaded.model.config.decoder_start_token_id)
        sources = [np.asarray([*ids[-(sequence_length - 1) :], end], dtype=np.int64) for ids in prompts]
        prompts = [[] for _ in pairs]
    cut = [
        list(_windows(begin, prompt, answer, sequence_length))
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    if not any(cut):
        raise EmptyTextError("training and evaluation on responses")
    return ExampleRows(
        tokens=[tokens for rows in cut for tokens, _first in rows],
        owner=np.repeat(np.arange(len(cut)), [len(rows) for rows in cut]),
        first_scored=np.asarray([first for rows in cut for _tokens, first in rows], dtype=np.int64),
        sources=sources,
    )


Answered = Sequence[Pair] | Sequence[Chat]


def answer_rows(
    loaded: LoadedModel, examples: Answered, sequence_length: int, *, ending: bool = True
) -> ExampleRows:
    """Pairs or conversations as rows."""
    if isinstance(examples[0], Chat):
        return chat_rows(loaded, cast(Sequence[Chat], examples), sequence_length, ending=ending)
    return pair_rows(loaded, cast(Sequence[Pair], examples), sequence_length, ending=ending)


def _windows(
    begin: int, prompt: list[int], answer: list[int], length: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Rows of at most `length` targets, and which of these is the first that counts."""
    kept = min(len(prompt), max(length // 2, length - len(answer)))
    stream = np.asarray([begin, *prompt[len(prompt) - kept :], *answer], dtype=np.int64)
    for start in range(0, len(stream) - 1 if answer else 0, length):
        yield stream[start : start + length + 1], max(0, kept - start)


def labelled_rows(loaded: LoadedModel, examples: Sequence[Labelled], sequence_length: int) -> ExampleRows:
    """Labelled texts as rows, the beginning of each; a text without a token counts as its special tokens.

    Raises `EmptyTextError` when there is no text.
    """
    if not examples:
        raise EmptyTextError("training and evaluation on labels")
    encoded = loaded.tokenizer(
        [one.text for one in examples],
        truncation=True,
        max_length=sequence_length,
        split_special_tokens=True,
        return_attention_mask=False,
        return_token_type_ids=False,
    )["input_ids"]
    empty = boundary_tokens(loaded.tokenizer)[:1] if not all(encoded) else ()
    numbers = {name: number for number, name in enumerate(loaded.classes)}
    return ExampleRows(
        tokens=[np.asarray(ids or empty, dtype=np.int64) for ids in encoded],
        owner=np.arange(len(examples)),
        classes=np.asarray([numbers[one.label] for one in examples], dtype=np.int64),
    )
