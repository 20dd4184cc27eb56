"""Vectors that the graph of a benchmark's project has stored."""

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.embedding import encoder_identity
from tamis.embedding.storing import encoder_slug, table_name
from tamis.store.tables import Store, matrix_of, quoted


class Vectors:
    """Vectors of the pool and of the targets, from the store."""

    def __init__(self, store: Store, encoder: str) -> None:
        self.store = store
        self.pool_table = table_name(encoder, encoder_identity(encoder))
        self.target_table = f"target_embeddings_{encoder_slug(encoder)}"

    def of_documents(self, doc_ids: list[str]) -> np.ndarray:
        """[n, d] of documents of the pool, in the order of their ids."""
        blocks = self.store.by_ids(self.pool_table, doc_ids, ["doc_id", "vector"])
        rows = pa.concat_tables(blocks).sort_by("doc_id")  # they come as they were stored
        return matrix_of(rows["vector"]).astype(np.float32)

    def of_target(self, target: str, split: str) -> np.ndarray:
        """[m, d] of a part of a target, in the order of their ids."""
        where = f"target = {quoted(target)}"
        wanted = self.store.read("target_examples", ["doc_id"], f"{where} AND split = {quoted(split)}")
        rows = self.store.read_arrow(self.target_table, ["doc_id", "vector"], where)
        ids = pl.Series("doc_id", rows["doc_id"].to_pylist())
        mask = ids.is_in(wanted["doc_id"].implode()).to_numpy()
        return matrix_of(rows["vector"])[mask].astype(np.float32)
