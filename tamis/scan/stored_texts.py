"""Look at stored texts of each corpus: markup with all its tags, and mistaken encodings that nobody counted.

Encodings are counted when files with columns are read, so not of text files, nor of files that an earlier
version read.
"""

from collections.abc import Iterator, Sequence

import polars as pl

from tamis.corpus.sources import with_corpora
from tamis.corpus.stage import DOCUMENTS, OCCURRENCES
from tamis.readers.repair import is_mistaken
from tamis.scan.markup import stored_markup_line
from tamis.scan.quarantine import encoding_lines, encoding_remedy
from tamis.settings.config import CorpusSection
from tamis.store.tables import Store

LOOKED_AT, CHARACTERS = 1_000, 20_000
"""Documents of a corpus that are looked at, those with the smallest ids (a draw by content alone), and their
leading characters."""
AT_ONCE = 50


def stored_text_lines(store: Store, corpora: Sequence[CorpusSection]) -> Iterator[str]:
    """Yield a line for each corpus with markup among its stored documents, or with mistaken encodings."""
    places = with_corpora(store, store.read(OCCURRENCES.name, ["doc_id", "shard"]))
    counted = encoding_lines(store)
    for corpus in corpora:
        own = places.filter(pl.col("corpus") == corpus.name)["doc_id"].unique()
        texts, is_cut = _heads(store, own.bottom_k(LOOKED_AT).to_list()), len(own) > LOOKED_AT
        yield from stored_markup_line(corpus, texts, is_cut)
        if not corpus.repair and not any(line.startswith(f"corpus {corpus.name}: ") for line in counted):
            yield from _encoding_line(corpus, texts, is_cut)


def _heads(store: Store, doc_ids: Sequence[str]) -> list[str]:
    """Return the beginnings of the texts of documents; few whole texts are in memory at a time."""
    head = pl.col("text").str.slice(0, CHARACTERS)
    blocks = store.by_ids(DOCUMENTS.name, sorted(doc_ids), ["doc_id", "text"], AT_ONCE)
    return [text for block in blocks for text in pl.DataFrame(pl.from_arrow(block)).select(head)["text"]]


def _encoding_line(corpus: CorpusSection, texts: Sequence[str], is_cut: bool) -> Iterator[str]:
    mistaken = sum(map(is_mistaken, texts))
    if mistaken:
        looked_at = " that were looked at" if is_cut else ""
        can_mend = corpus.format == "text" and corpus.kind != "python-docs"
        remedy = encoding_remedy(corpus.name) if can_mend else ""
        count = f"{mistaken:,} of {len(texts):,} texts{looked_at}"
        yield f"corpus {corpus.name}: the encoding of {count} was mistaken (UTF-8 read as another){remedy}"
