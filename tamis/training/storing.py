"""Training from and into the store: the documents that a model is trained on, and its numbers.

Base models train on one half of the pool (fold 0, a twin on fold 1) in keyed-hash order until their token
budget is reached, so the documents they saw are known before they are trained and listed in `trained_on`.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.base.progress import Advance, ignore
from tamis.base.unfit import Refusal, finite_each
from tamis.corpus import set_aside
from tamis.corpus.intake import texts_of
from tamis.corpus.quarantine import note_refused
from tamis.corpus.stage import DOCUMENTS, TARGET_ANSWERS, TARGET_EXAMPLES
from tamis.corpus.targets import near_groups
from tamis.engine import current_engine
from tamis.project import Project
from tamis.readers.conversations import Conversation, split_pair, turns_of
from tamis.settings.references import named
from tamis.store.retained import take_back
from tamis.store.tables import Store, quoted
from tamis.training import count_tokens, document_bits_per_byte, fold_of
from tamis.training.device import choose_device
from tamis.training.examples import Chat, Example, Labelled, Pair, text_of
from tamis.training.models import LoadedModel, load_model
from tamis.training.stage import CONTAMINATION, KEPT_OUT

BATCH, TEXT_BLOCK = 1_024, 512


def keyed_order(doc_ids: Sequence[str], seed: int) -> list[str]:
    """Documents in an order that depends on seed and id alone."""
    return sorted(doc_ids, key=lambda doc_id: hashlib.sha256(f"{seed}:{doc_id}".encode()).digest())


def pretraining_documents(store: Store, tokenizer: Path, fold: int, tokens: int, seed: int) -> list[str]:
    """Documents of a fold in keyed order, up to the one that fills the token budget.

    Training and held-out examples of the targets, and what shares long n-grams with the held-out ones, are
    left out: a base model that had seen them would make every held-out loss look better than it is. So are
    documents that give rows of benchmarks away.
    """
    examples = store.read(TARGET_EXAMPLES.name, ["doc_id"], "split != 'unused'")
    excluded = pl.concat([examples, *(store.read(table, ["doc_id"]) for table in (CONTAMINATION, KEPT_OUT))])
    pool = store.read(DOCUMENTS.name, ["doc_id"]).join(excluded, on="doc_id", how="anti")["doc_id"].to_list()
    folds = fold_of(pool)
    ordered = keyed_order([doc_id for doc_id, found in zip(pool, folds, strict=True) if found == fold], seed)
    taken: list[str] = []
    total = 0
    for batch in text_batches(store, ordered):
        for doc_id, count in zip(batch, count_tokens(tokenizer, batch.values()), strict=True):
            if total >= tokens:
                return taken
            taken.append(doc_id)
            total += int(count) + 1
    return taken


def record_training_documents(
    store: Store,
    checkpoint: str,
    by_data: Mapping[str, Sequence[str]],
    repeated: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Record the documents that a checkpoint is trained on; one of several stages counts once.

    `repeated`: times of those documents that its training set holds several times.
    """
    seen: dict[str, str] = {}
    for data, doc_ids in by_data.items():
        seen |= {doc_id: data for doc_id in doc_ids if doc_id not in seen}
    rows = {
        "checkpoint": [checkpoint] * len(seen),
        "doc_id": list(seen),
        "data": list(seen.values()),
        "training_count": [repeated.get(doc_id) for doc_id in seen],
    }
    store.put("trained_on", rows, f"checkpoint = {quoted(checkpoint)}")


def score_perplexity(
    store: Store,
    project: Project,
    folders: Mapping[str, Path],
    versions: Mapping[str, str],
    doc_ids: Sequence[str],
    advance: Advance = ignore,
) -> set[str]:
    """Score documents that these models have not scored, each by one that did not see it; which ones.

    A model is loaded once a call, so callers hand over the documents of many shards.
    """
    section = project.settings.perplexity
    assert section.model is not None
    model, twin = section.model, f"{section.model}-twin"
    scored: set[str] = set()
    for scorer, wanted in _scorers(model, twin, folders, doc_ids):
        fingerprint = f"{versions[scorer][:32]}:{section.max_tokens}"
        advance(take_back(store, "scores_perplexity", wanted, fingerprint))
        known = {
            row["doc_id"]
            for block in store.by_ids("scores_perplexity", wanted, ["doc_id", "fingerprint"])
            for row in block.to_pylist()
            if row["fingerprint"] == fingerprint
        }
        missing = [doc_id for doc_id in wanted if doc_id not in known]
        source = named(project.settings.base_model, model).path or folders[scorer]
        reader = _Reader(str(source), section.max_tokens)
        for texts, (bits_n, failed) in current_engine().map(
            _bits, reader, text_batches(store, missing), advance
        ):
            ids = list(texts)
            note_refused(
                store, "perplexity_scores", fingerprint, {ids[place]: why for place, why in failed.items()}
            )
            bits = pa.array(bits_n.astype(np.float32), from_pandas=True)  # NaN is null
            columns = {"doc_id": ids, "bits_per_byte": bits, "fingerprint": [fingerprint] * len(ids)}
            store.put("scores_perplexity", columns)
        scored.update(missing)
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


def _bits(reader: _Reader, texts: dict[str, str], advance: Advance) -> tuple[np.ndarray, dict[int, Refusal]]:
    """Bits per byte [n], NaN where the model gives none, and by position why it gives none."""
    loaded = reader.loaded
    return finite_each(
        lambda some: document_bits_per_byte(loaded, some, max_tokens=reader.max_tokens, advance=advance),
        list(texts.values()),
    )


def text_batches(store: Store, doc_ids: Sequence[str], size: int = BATCH) -> Iterator[dict[str, str]]:
    """Yield the texts of documents by id, in order, read as far as they are needed."""
    for start in range(0, len(doc_ids), size):
        ids = doc_ids[start : start + size]
        texts = texts_of(store, ids)
        yield {doc_id: texts[doc_id] for doc_id in ids}


def training_texts(store: Store, doc_ids: Sequence[str], seed: int) -> Iterator[str]:
    """Yield the texts of a training set in the order of a seed, read as far as they are needed."""
    for batch in text_batches(store, keyed_order(doc_ids, seed), TEXT_BLOCK):
        yield from batch.values()


def texts_in_order(store: Store, doc_ids: Sequence[str]) -> Iterator[str]:
    """Yield the texts of documents in this order, copies included; those that are gone are left out."""
    for start in range(0, len(doc_ids), TEXT_BLOCK):
        block = doc_ids[start : start + TEXT_BLOCK]
        texts = texts_of(store, sorted(set(block)))
        yield from (texts[doc_id] for doc_id in block if doc_id in texts)


def _scorers(
    model: str, twin: str, folders: Mapping[str, Path], doc_ids: Sequence[str]
) -> list[tuple[str, list[str]]]:
    """Pair models with the documents they score: the one trained on fold 0 scores fold 1, its twin fold 0."""
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
    return store.read(TARGET_EXAMPLES.name, ["doc_id", "text"], where).sort("doc_id")


def split_examples(store: Store, target: str, split: str) -> dict[str, Example]:
    """The same as they are learnt, by id: pairs and labelled texts where the target has them."""
    texts = split_texts(store, target, split)
    columns = ["doc_id", "response_at", "label", "turns"]
    answers = store.read(TARGET_ANSWERS.name, columns, f"target = {quoted(target)}")
    joined = texts.join(answers, on="doc_id", how="left").sort("doc_id")
    return {
        doc_id: _example(text, response_at, label, turns)
        for doc_id, text, response_at, label, turns in joined.iter_rows()
    }


def _example(text: str, response_at: int | None, label: str | None, turns: str | None) -> Example:
    if turns is not None:
        return Chat(turns=turns_of(text, json.loads(turns)))
    if label is not None:
        return Labelled(text=text, label=label)
    if response_at is None:
        return text
    prompt, response = split_pair(text, response_at)
    return Pair(prompt=prompt, response=response)


def without_validation(
    examples: Mapping[str, Example], count: int, threshold: float, seed: int
) -> tuple[dict[str, Example], dict[str, Example]]:
    """`count` of the examples to validate on, and the others less what is a near-duplicate of those."""
    if not count:
        return {}, dict(examples)
    starts = [
        json.dumps(Conversation.of(one.turns).starts) if isinstance(one, Chat) else None
        for one in examples.values()
    ]
    frame = pl.DataFrame(
        {
            "doc_id": list(examples),
            "text": [text_of(example) for example in examples.values()],
            "turns": pl.Series(starts, dtype=pl.String),
        }
    )
    aside, others = set_aside(frame.select("doc_id"), near_groups(frame, threshold), count, seed)
    return tuple({i: examples[i] for i in part["doc_id"]} for part in (aside, others))  # type: ignore[return-value]
