"""Passages of long documents, where their length is counted in tokens, words or characters."""

from collections.abc import Sequence
from pathlib import Path

from tamis.passages.cutting import Cutter
from tamis.project import Project
from tamis.settings.sections import CorpusSection
from tamis.settings.tokenizer import BYTES_PER_TOKEN, counting_tokenizer
from tamis.settings.values import CHARACTERS, WORDS, split_length
from tamis.tokens.counting import NOT_COUNTED, TokenCounter


def cutter_of(project: Project, corpus: CorpusSection, cache: Path) -> Cutter | None:
    """Return what splits the documents of a corpus, None where they stay whole.

    `cache`: as `TokenCounter` takes it. A tokenizer is loaded when the first text is counted.
    """
    if corpus.split is None:
        return None
    length = split_length(corpus.split)
    if length.unit == WORDS:
        return Cutter(limit=length.amount, sizes=_words)
    if length.unit == CHARACTERS:
        return Cutter(limit=length.amount, sizes=_characters)
    found = counting_tokenizer(project.settings)
    if found is None:
        return Cutter(limit=length.amount * BYTES_PER_TOKEN, sizes=_bytes)
    assert found.path is not None, "settings refuse a tokenizer that the graph trains on the documents"
    counter = TokenCounter(project.model(found.path), cache)

    def tokens(texts: Sequence[str]) -> list[int]:
        counts, _refused = counter.count(texts)
        return [
            -(-len(text.encode()) // BYTES_PER_TOKEN) if count == NOT_COUNTED else count
            for text, count in zip(texts, counts.tolist(), strict=True)
        ]

    return Cutter(limit=length.amount, sizes=tokens)


def _words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def _characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def _bytes(texts: Sequence[str]) -> list[int]:
    return [len(text.encode()) for text in texts]
