"""A run of a mixture from and into the store: what it trains on, and how well it predicts the targets."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from tamis.corpus.intake import texts_of
from tamis.corpus.stage import DOCUMENTS
from tamis.mixture.stage import MIXTURE_DOCUMENTS
from tamis.mixture.swarm import PlannedRun
from tamis.selection.allocation import TargetShares, allocate
from tamis.selection.decide import Ranking
from tamis.selection.pool import training_order
from tamis.settings.samplers import Sampler
from tamis.store.tables import Store, one_of
from tamis.training import evaluate
from tamis.training.storing import split_texts

_AS_RANKED = Sampler(
    name="as ranked",
    description="The order that is stored.",
    rule="top_k",
    direction="lowest",
    score_columns=("method_score",),
)
_ANY_REPETITION = 1e6
TEXT_BLOCK = 512


def run_documents(store: Store, run: PlannedRun) -> pl.DataFrame:
    """Return source, doc_id and count (1 and more) of a run's training set.

    Of each source it takes as `[[selection]] mixture = true` does: whole passes, then the best documents.
    """
    where = f"{one_of('source', sorted(run.weights))} AND rank IS NOT NULL"
    drawn = store.read(MIXTURE_DOCUMENTS.name, ["source", "doc_id", "n_tokens", "rank"], where)
    candidates = drawn.join(store.read(DOCUMENTS.name, ["doc_id"]), on="doc_id", how="semi").select(
        "doc_id", "n_tokens", group="source", method_score="rank"
    )
    shares = TargetShares(shares=run.weights, maximum_repetition=_ANY_REPETITION)
    decisions = allocate(candidates, f"{run.tokens}tok", shares, Ranking(sampler=_AS_RANKED)).decisions
    chosen = decisions.filter(pl.col("count") > 0)
    return chosen.select("doc_id", "count", source="budget_group").sort("doc_id")


def texts_in_order(store: Store, documents: pl.DataFrame, seed: int) -> Iterator[str]:
    """Yield the texts of a training set (doc_id, count), each as often as it is in it, shuffled."""
    ids = training_order(documents, seed)["doc_id"].to_list()
    for start in range(0, len(ids), TEXT_BLOCK):
        block = ids[start : start + TEXT_BLOCK]
        texts = texts_of(store, sorted(set(block)))
        yield from (texts[doc_id] for doc_id in block if doc_id in texts)


def held_out_texts(store: Store, targets: Sequence[str]) -> dict[str, list[str]]:
    """Return the texts of each target that runs are measured on, by target.

    Held-out examples that runs may have been trained on, of a target that came later, do not count.
    """
    seen = store.read(MIXTURE_DOCUMENTS.name, ["doc_id"], "rank IS NOT NULL")
    return {
        target: split_texts(store, target, "held_out").join(seen, on="doc_id", how="anti")["text"].to_list()
        for target in targets
    }


def evaluated(
    store: Store, checkpoint: Path, targets: Sequence[str], sequence_length: int
) -> list[tuple[str, float | None, int]]:
    """Return target, bits per byte and number of examples for each target."""
    found: list[tuple[str, float | None, int]] = []
    for target, texts in held_out_texts(store, targets).items():
        bits = evaluate(checkpoint, texts, sequence_length=sequence_length).bits_per_byte if texts else None
        found.append((target, bits, len(texts)))
    return found
