"""Texts of documents, read by id."""

from collections.abc import Sequence

from tamis.store.tables import Store


def texts_of(store: Store, doc_ids: Sequence[str]) -> dict[str, str]:
    """Texts of documents by id."""
    texts: dict[str, str] = {}
    for block in store.by_ids("documents", doc_ids, ["doc_id", "text"]):
        texts.update(zip(block["doc_id"].to_pylist(), block["text"].to_pylist(), strict=True))
    return texts
