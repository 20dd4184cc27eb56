"""Synthetic tables of a large project, in a real store: every source that the SQL models read.

Ids are SHA-256 of numbers; scores are drawn by seed; 1,000 documents a shard, 40 sources, four licences, a
third of the documents without one. The texts are empty: no model reads them.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tamis.store.schemas import schema_of
from tamis.store.tables import Store

IN_A_SHARD, AT_ONCE = 1_000, 250_000
LICENCES = np.array(["CC0-1.0", "CC-BY-4.0", "MIT", "Apache-2.0", None, None], dtype=object)
TARGETS, SELECTIONS = ("law", "statistics"), ("near-law", "near-statistics")
Columns = dict[str, object]


def write_tables(store: Store, documents: int, seed: int) -> int:
    """Write them; returns how many rows there are."""
    return sum(_write(store, table, columns) for table, columns in _Made(documents, seed).tables())


def _write(store: Store, table: str, columns: Columns) -> int:
    schema = schema_of(table)
    rows = len(columns["doc_id"] if "doc_id" in columns else next(iter(columns.values())))  # type: ignore[arg-type]
    arrays = [
        pa.array(columns[field.name], field.type, from_pandas=True)
        if field.name in columns
        else pa.nulls(rows, field.type)
        for field in schema
    ]
    whole = pa.Table.from_arrays(arrays, schema=schema)
    for start in range(0, rows, AT_ONCE):
        store.append(table, whole.slice(start, AT_ONCE))
    return rows


@dataclass(frozen=True)
class _Made:
    """The columns of each table for that many documents."""

    documents: int
    seed: int

    def tables(self) -> Iterator[tuple[str, Columns]]:
        draw = np.random.default_rng(self.seed)
        ids_n = np.array([hashlib.sha256(str(n).encode()).hexdigest()[:32] for n in range(self.documents)])
        yield from self._corpus(ids_n, draw)
        yield from self._scores(ids_n, draw)
        yield from self._decisions(ids_n, draw)
        yield from self._training(ids_n, draw)

    def _corpus(self, ids_n: np.ndarray, draw: np.random.Generator) -> Iterator[tuple[str, Columns]]:
        n = len(ids_n)
        size_n = draw.integers(200, 20_000, n)
        yield "documents", {"doc_id": ids_n, "text": [""] * n, "n_chars": size_n, "n_bytes": size_n}
        # Every twentieth text is in a second place.
        place_m = np.concatenate([np.arange(n), draw.choice(n, n // 20, replace=False)])
        m = len(place_m)
        yield (
            "occurrences",
            {
                "doc_id": ids_n[place_m],
                "shard": [f"web__{place // IN_A_SHARD:05d}.jsonl" for place in range(m)],
                "row": np.arange(m) % IN_A_SHARD,
                "source": [f"site-{source}.example" for source in draw.integers(0, 40, m)],
                "licence": LICENCES[draw.integers(0, len(LICENCES), m)],
            },
        )
        repeats = draw.choice(n, n // 30, replace=False)
        kept = ids_n[(repeats + 1) % n]
        yield "near_duplicates", {"doc_id": ids_n[repeats], "kept": kept, "jaccard": np.full(len(kept), 0.9)}
        shards = [f"web__{shard:05d}.jsonl" for shard in range(n // IN_A_SHARD)]
        yield (
            "quarantine",
            {"shard": shards, "row": np.zeros(len(shards), int), "reason": ["missing_text"] * len(shards)},
        )

    def _scores(self, ids_n: np.ndarray, draw: np.random.Generator) -> Iterator[tuple[str, Columns]]:
        n, judged = len(ids_n), ids_n[: max(len(ids_n) // 200, 1)]
        yield "scores_density", {"doc_id": ids_n, "density": draw.gamma(2.0, 10.0, n)}
        predicted_n = draw.normal(size=n)
        quality_n = 1 / (1 + np.exp(-predicted_n))
        yield (
            "scores_quality",
            {"doc_id": ids_n, "judge_margin_predicted": predicted_n, "quality": quality_n},
        )
        yield "scores_perplexity", {"doc_id": ids_n, "bits_per_byte": draw.normal(2.0, 0.3, n)}
        yield "scores_judge", {"doc_id": judged, "margin": draw.normal(size=len(judged))}
        for target in TARGETS:
            columns = {"target": [target] * n, "doc_id": ids_n, "transport_gradient": draw.normal(size=n)}
            yield f"transport_{target}", columns | {"nearest_cost": draw.random(n)}

    def _decisions(self, ids_n: np.ndarray, draw: np.random.Generator) -> Iterator[tuple[str, Columns]]:
        n = len(ids_n)
        for selection in SELECTIONS:
            gradient_n = draw.normal(size=n)
            eligible_n = draw.random(n) < 0.9
            order_n = np.argsort(np.where(eligible_n, gradient_n, np.inf), kind="stable")
            rank_n = np.empty(n, dtype=np.int64)
            rank_n[order_n] = np.arange(1, n + 1)
            selected_n = eligible_n & (rank_n <= n // 10)
            reason_n = np.where(eligible_n, "over_budget", "near_duplicate")
            yield (
                "decisions",
                {
                    "selection": [selection] * n,
                    "doc_id": ids_n,
                    "verdict": np.where(selected_n, "selected", "rejected"),
                    "reason": np.where(selected_n, "within_budget", reason_n),
                    "rank": pa.array(rank_n, mask=~eligible_n),
                    "margin": gradient_n[order_n[n // 10]] - gradient_n,
                    "transport_gradient": gradient_n,
                },
            )

    def _training(self, ids_n: np.ndarray, draw: np.random.Generator) -> Iterator[tuple[str, Columns]]:
        n, models = len(ids_n), [f"base-{place}" for place in range(3)]
        trials = [(f"warm-up__{model}__{selection}", model) for model in models for selection in SELECTIONS]
        names, count = [name for name, _model in trials], len(trials)
        yield (
            "trials",
            {
                "trial": names,
                "model": [model for _name, model in trials],
                "kind": ["warm_up"] * count,
                "data": [name.rpartition("__")[2] for name in names],
                "size": np.full(count, n // 10),
                "zero_shot_bits_per_byte": np.full(count, 2.0),
                "held_out_bits_per_byte": draw.normal(1.7, 0.05, count),
                "seconds": np.full(count, 60.0),
            },
        )
        for name, share in [*((model, 5) for model in models), *((name, 10) for name in names)]:
            chosen = np.sort(draw.choice(n, n // share, replace=False))
            columns = {"checkpoint": [name] * len(chosen), "doc_id": ids_n[chosen]}
            yield "trained_on", columns | {"data": ["pool"] * len(chosen)}
        gone = [hashlib.sha256(f"gone {place}".encode()).hexdigest()[:32] for place in range(1_000)]
        receipts = [f"receipt-{place // 10}" for place in range(len(gone))]
        yield (
            "withdrawals",
            {
                "doc_id": gone,
                "withdrawn_at": np.full(len(gone), np.datetime64("2026-01-01", "us")),
                "reason": ["asked"] * len(gone),
                "scope": ["documents"] * len(gone),
                "receipt": receipts,
            },
        )
