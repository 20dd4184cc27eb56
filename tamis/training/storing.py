"""Training from and into the store: which documents a model is trained on, and where its numbers go.

Base models train on one half of the pool (fold 0, a twin on fold 1) in keyed-hash order until their token
budget is reached, so the documents they saw are known before they are trained and listed in `trained_on`.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.config import PerplexitySection
from tamis.engine import current_engine
from tamis.progress import Advance, ignore
from tamis.project import Project
from tamis.quality.storing import texts_of
from tamis.references import named
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, quoted
from tamis.training import count_tokens, document_bits_per_byte, fold_of
from tamis.training.device import choose_device
from tamis.training.models import LoadedModel, load_model

BATCH = 1_024


def keyed_order(doc_ids: Sequence[str], seed: int) -> list[str]:
    """Documents in an order that depends on seed and id alone."""
    return sorted(doc_ids, key=lambda doc_id: hashlib.sha256(f"{seed}:{doc_id}".encode()).digest())


def pretraining_documents(store: Store, tokenizer: Path, fold: int, tokens: int, seed: int) -> list[str]:
    """Documents of a fold in keyed order, up to the one that fills the token budget.

    Training and held-out examples of the targets, and what shares long n-grams with the held-out ones, are
    left out: a base model that had seen them would make every held-out loss look better than it is.
    """
    examples = store.read("target_examples", ["doc_id"], "split != 'unused'")
    excluded = pl.concat([examples, store.read("contamination", ["doc_id"])])
    pool = store.read("documents", ["doc_id"]).join(excluded, on="doc_id", how="anti")["doc_id"].to_list()
    folds = fold_of(pool)
    ordered = keyed_order([doc_id for doc_id, found in zip(pool, folds, strict=True) if found == fold], seed)
    taken: list[str] = []
    total = 0
    for start in range(0, len(ordered), BATCH):
        batch = ordered[start : start + BATCH]
        texts = texts_of(store, batch)
        for doc_id, count in zip(batch, count_tokens(tokenizer, [texts[i] for i in batch]), strict=True):
            if total >= tokens:
                return taken
            taken.append(doc_id)
            total += int(count) + 1
    return taken


def record_training_documents(store: Store, checkpoint: str, data: str, doc_ids: Sequence[str]) -> None:
    """Write down which documents a checkpoint is trained on."""
    columns: list[Any] = [[checkpoint] * len(doc_ids), list(doc_ids), [data] * len(doc_ids)]
    rows = pa.table(columns, schema=schema_of("trained_on"))
    store.replace("trained_on", rows, f"checkpoint = {quoted(checkpoint)}")


def score_perplexity(
    store: Store,
    project: Project,
    folders: Mapping[str, Path],
    versions: Mapping[str, str],
    section: PerplexitySection,
    doc_ids: Sequence[str],
    advance: Advance = ignore,
) -> int:
    """Score documents that have no score by these models yet, each by a model that did not see it."""
    assert section.model is not None
    model, twin = section.model, f"{section.model}-twin"
    scored = 0
    for scorer, wanted in _scorers(model, twin, folders, doc_ids):
        fingerprint = f"{versions[scorer][:32]}:{section.max_tokens}"
        known = {
            row["doc_id"]
            for block in store.by_ids("scores_perplexity", wanted, ["doc_id", "fingerprint"])
            for row in block.to_pylist()
            if row["fingerprint"] == fingerprint
        }
        missing = [doc_id for doc_id in wanted if doc_id not in known]
        source = named(project.settings.base_model, model).path or folders[scorer]
        reader = _Reader(str(source), section.max_tokens)
        for texts, bits_n in current_engine().map(_bits, reader, _batches(store, missing), advance):
            columns: list[Any] = [list(texts), bits_n.astype(np.float32), [fingerprint] * len(texts)]
            store.merge("scores_perplexity", pa.table(columns, schema=schema_of("scores_perplexity")))
        scored += len(missing)
    return scored


class _Reader:
    """A model that reads documents, loaded when it first does; another process loads it itself."""

    def __init__(self, source: str, max_tokens: int) -> None:
        # Workers have other working folders.
        self.source = str(Path(source).absolute()) if Path(source).is_dir() else source
        self.max_tokens = max_tokens

    def __reduce__(self) -> tuple[Any, ...]:
        return _Reader, (self.source, self.max_tokens)

    @cached_property
    def loaded(self) -> LoadedModel:
        return load_model(self.source, choose_device("auto"), self.max_tokens)


def _bits(reader: _Reader, texts: dict[str, str], advance: Advance) -> np.ndarray:
    return document_bits_per_byte(
        reader.loaded, list(texts.values()), max_tokens=reader.max_tokens, advance=advance
    )


def _batches(store: Store, doc_ids: list[str]) -> Iterator[dict[str, str]]:
    for start in range(0, len(doc_ids), BATCH):
        ids = doc_ids[start : start + BATCH]
        texts = texts_of(store, ids)
        yield {doc_id: texts[doc_id] for doc_id in ids}


def _scorers(
    model: str, twin: str, folders: Mapping[str, Path], doc_ids: Sequence[str]
) -> list[tuple[str, list[str]]]:
    """Which model scores which documents: the one trained on fold 0 scores fold 1, its twin fold 0."""
    if twin not in folders:
        return [(model, list(doc_ids))]
    folds = fold_of(list(doc_ids))
    return [
        (twin, [doc_id for doc_id, fold in zip(doc_ids, folds, strict=True) if fold == 0]),
        (model, [doc_id for doc_id, fold in zip(doc_ids, folds, strict=True) if fold == 1]),
    ]


def split_texts(store: Store, target: str, split: str) -> pl.DataFrame:
    """Examples of one split of a target in order of id: doc_id, text."""
    where = f"target = {quoted(target)} AND split = {quoted(split)}"
    return store.read("target_examples", ["doc_id", "text"], where).sort("doc_id")
