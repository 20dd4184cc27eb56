"""Look at stored texts of each corpus: markup with all its tags."""

from collections.abc import Iterator, Sequence

import polars as pl

from tamis.corpus.sources import with_corpora
from tamis.corpus.stage import DOCUMENTS, OCCURRENCES
from tamis.scan.markup import stored_markup_line
from tamis.settings.config import CorpusSection
from tamis.store.tables import Store

LOOKED_AT, CHARACTERS = 1_000, 20_000
"""Documents of a corpus that are looked at, those with the smallest ids (a draw by content alone), and their
leading characters."""
AT_ONCE = 50


def stored_text_lines(store: Store, corpora: Sequence[CorpusSection]) -> Iterator[str]:
    """Yield a line for each corpus with markup among its stored documents."""
    places = with_corpora(store, store.read(OCCURRENCES.name, ["doc_id", "shard"]))
    for corpus in corpora:
        own = places.filter(pl.col("corpus") == corpus.name)["doc_id"].unique()
        texts, is_cut = _heads(store, own.bottom_k(LOOKED_AT).to_list()), len(own) > LOOKED_AT
        yield from stored_markup_line(corpus, texts, is_cut)


def _heads(store: Store, doc_ids: Sequence[str]) -> list[str]:
    """Return the beginnings of the texts of documents; few whole texts are in memory at a time."""
    head = pl.col("text").str.slice(0, CHARACTERS)
    blocks = store.by_ids(DOCUMENTS.name, sorted(doc_ids), ["doc_id", "text"], AT_ONCE)
    return [text for block in blocks for text in pl.DataFrame(pl.from_arrow(block)).select(head)["text"]]
