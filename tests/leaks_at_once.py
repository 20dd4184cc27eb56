"""Contaminated documents of a whole pool at once, with the run that each shares: what updates come to."""

import numpy as np
import polars as pl

from tamis.duplicates.minhash import split_words, word_windows
from tamis.selection.leaks import _FEW_DOCUMENTS, _HITS, Runs, _hits, _rarest


def find_contaminated(doc_ids, texts, held_out_texts, ngram=20, maximum_share=0.01):
    """The documents that share a run of `ngram` words with a held-out text: doc_id, ngram; by doc_id.

    The n-gram shown is the rarest one shared.
    """
    return find_contaminated_in_batches([(doc_ids, texts)], held_out_texts, ngram, maximum_share)


def find_contaminated_in_batches(batches, held_out_texts, ngram=20, maximum_share=0.01):
    """`find_contaminated` over a pool that comes as batches of (doc_ids, texts), each document once."""
    held_out = word_windows(held_out_texts, ngram)
    runs, example = np.unique(held_out.hashes, return_index=True)
    hits, documents = [pl.DataFrame(schema=_HITS)], 0
    for doc_ids, texts in batches:
        hits.append(_hits(doc_ids, texts, Runs(hashes=runs, sizes=(ngram,))))
        documents += len(doc_ids)
    rarest = _rarest(pl.concat(hits), max(maximum_share * documents, _FEW_DOCUMENTS))
    places = example[rarest["run"].to_numpy()]
    words = split_words(pl.Series(held_out_texts, dtype=pl.String)).gather(held_out.document[places])
    shown = pl.DataFrame({"words": words, "first": held_out.first_word[places]})
    ngrams = shown.select(ngram=pl.col("words").list.slice("first", ngram).list.join(" "))["ngram"]
    return rarest.select("doc_id", ngrams)
