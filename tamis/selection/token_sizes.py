"""Tokens of documents as budgets count them: by the project's tokenizer, else estimated by their bytes."""

from dataclasses import dataclass

import polars as pl

from tamis.base.numbers import tokens_in_words
from tamis.corpus.stage import DOCUMENTS
from tamis.store.tables import Store
from tamis.tokens.stage import TOKEN_COUNTS

BYTES_PER_TOKEN = 4.0


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """The tokens of some documents; of how many of these they are estimated."""

    tokens: int
    documents: int
    estimated: int

    @property
    def words(self) -> str:
        """As every page and message says it."""
        return tokens_in_words(self.tokens, self.documents, self.estimated)


def estimated_tokens(n_bytes: pl.Expr) -> pl.Expr:
    """Return the tokens of texts of so many bytes of UTF-8, where no tokenizer has counted: at least one."""
    return (n_bytes.cast(pl.Float64) / BYTES_PER_TOKEN).ceil().cast(pl.Int64).clip(lower_bound=1)


def token_sizes(store: Store) -> pl.DataFrame:
    """Return doc_id, n_tokens and is_estimated of every document.

    The same counts serve all selections, so budgets of the same size are as many tokens in each.
    """
    sizes = store.read(DOCUMENTS.name, ["doc_id", "n_bytes"])
    counted = store.read(TOKEN_COUNTS.name, ["doc_id", "n_tokens"])
    return sizes.join(counted, on="doc_id", how="left", maintain_order="left").select(
        "doc_id",
        pl.coalesce("n_tokens", estimated_tokens(pl.col("n_bytes"))).alias("n_tokens"),
        pl.col("n_tokens").is_null().alias("is_estimated"),
    )


def tokens_of(sizes: pl.DataFrame, documents: pl.DataFrame) -> Tokens:
    """Return the tokens of these documents (doc_id), by the sizes of the pool.

    Those of a document that a training set has several times (training_count) count as often.
    """
    if "training_count" not in documents.columns:
        documents = documents.with_columns(training_count=pl.lit(1))
    times = pl.col("training_count").fill_null(1)
    found = sizes.join(documents.select("doc_id", times), on="doc_id")
    return Tokens(
        tokens=int((found["n_tokens"] * found["training_count"]).sum()),
        documents=len(found),
        estimated=int(found["is_estimated"].sum()),
    )
