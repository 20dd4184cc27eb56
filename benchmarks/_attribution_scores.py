"""Scores that may predict what a training on a document does: larger is better, for a goal and by example."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache as cached
from pathlib import Path

import numpy as np

from tamis.embedding.encoder import load_encoder
from tamis.quality import AskLLM
from tamis.samplers.classifier import classifier_log_odds
from tamis.samplers.target_path import warm_up
from tamis.training import document_bits_per_byte
from tamis.transport.scoring import nearest_cost
from tamis.transport.solve import solve_potential

K1, B = 1.2, 0.75
"""Of BM25."""
MAX_TOKENS = 128
"""Of a document that are judged, or whose loss is measured."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Scores of documents for a goal [n], and for each of its examples [n, e] where the method has them."""

    goal: np.ndarray
    by_example: np.ndarray | None = None


Method = Callable[[list[str], list[str], list[str], Path], Asked]
"""Takes texts of the pool, texts of the task to read, those of the goal, and the folder of the base model."""


@cached
def _vectors(encoder: str, texts: tuple[str, ...], cache: Path) -> np.ndarray:
    vectors_nd = np.asarray(load_encoder(encoder, cache=cache).encode(list(texts)), dtype=np.float32)
    centred_nd = vectors_nd / np.linalg.norm(vectors_nd, axis=1, keepdims=True)
    return centred_nd


def _knn(encoder: str) -> Method:
    def score(pool: list[str], target: list[str], goal: list[str], base: Path) -> Asked:
        pool_nd, target_md, goal_ed = (
            _vectors(encoder, tuple(texts), base.parent / "cache") for texts in (pool, target, goal)
        )
        centre_d = pool_nd.mean(0)
        near_nd, near_ed = (
            part / np.linalg.norm(part, axis=1, keepdims=True)
            for part in (pool_nd - centre_d, goal_ed - centre_d)
        )
        return Asked(goal=-nearest_cost(target_md, pool_nd), by_example=near_nd @ near_ed.T)

    return score


def _got_d(encoder: str) -> Method:
    def score(pool: list[str], target: list[str], goal: list[str], base: Path) -> Asked:
        pool_nd, target_md = (
            _vectors(encoder, tuple(texts), base.parent / "cache") for texts in (pool, target)
        )
        return Asked(goal=-solve_potential(target_md, pool_nd).gradient(pool_nd))

    return score


def _bm25(pool: list[str], target: list[str], goal: list[str], base: Path) -> Asked:
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(token_pattern=r"(?u)\b\w+\b")
    counts_nw = counter.fit_transform(pool).astype(np.float64)
    in_pool_w = np.asarray((counts_nw > 0).sum(0)).ravel()
    rarity_w = np.log(1 + (len(pool) - in_pool_w + 0.5) / (in_pool_w + 0.5))
    length_n = np.asarray(counts_nw.sum(1)).ravel()
    weights_nw = counts_nw.tocoo()
    longer = K1 * (1 - B + B * length_n[weights_nw.row] / length_n.mean())
    weights_nw.data = weights_nw.data * (K1 + 1) / (weights_nw.data + longer) * rarity_w[weights_nw.col]
    by_word = weights_nw.tocsr()
    asked_mw, asked_ew = ((counter.transform(texts) > 0).astype(np.float64) for texts in (target, goal))
    return Asked(
        goal=np.asarray((by_word @ asked_mw.T).mean(1)).ravel(), by_example=(by_word @ asked_ew.T).toarray()
    )


def _classifier(pool: list[str], target: list[str], goal: list[str], base: Path) -> Asked:
    return Asked(goal=classifier_log_odds(target, pool, [f"{place}" for place in range(len(pool))]))


@cached
def _judged(texts: tuple[str, ...]) -> np.ndarray:
    margin = AskLLM("smollm2-135m", max_tokens=MAX_TOKENS, dtype="bfloat16").score(list(texts))["margin"]
    return margin.fill_null(margin.min()).to_numpy()


def _ask_llm(pool: list[str], target: list[str], goal: list[str], base: Path) -> Asked:
    return Asked(goal=_judged(tuple(pool)))


@cached
def initial_bits(texts: tuple[str, ...], base: Path) -> np.ndarray:
    """Return bits per byte of each document before any training on the pool."""
    return document_bits_per_byte(base, list(texts), max_tokens=MAX_TOKENS).astype(np.float64)


def _initial_loss(pool: list[str], target: list[str], goal: list[str], base: Path) -> Asked:
    return Asked(goal=initial_bits(tuple(pool), base))


def _target_path(pool: list[str], target: list[str], goal: list[str], base: Path) -> Asked:
    warmed = warm_up(base, target, base.parent / "resume-path", max_tokens=MAX_TOKENS)
    return Asked(goal=warmed.drops(pool).score_n)


def _length(pool: list[str], target: list[str], goal: list[str], base: Path) -> Asked:
    return Asked(goal=np.array([len(text.encode()) for text in pool], dtype=np.float64))


def _random(pool: list[str], target: list[str], goal: list[str], base: Path) -> Asked:
    return Asked(goal=np.random.default_rng(0).random(len(pool)))


METHODS: dict[str, Method] = {
    "got-d, static": _got_d("static"),
    "got-d, minilm": _got_d("minilm"),
    "knn, static": _knn("static"),
    "knn, minilm": _knn("minilm"),
    "bm25": _bm25,
    "classifier": _classifier,
    "target path": _target_path,
    "ask-llm": _ask_llm,
    "initial loss": _initial_loss,
    "length": _length,
    "drawn": _random,
}
