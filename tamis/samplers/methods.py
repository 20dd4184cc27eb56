"""Samplers that compute their score for one selection: rounds of GOT-D, rivals, SemDeDup, prototypes.

They look at the whole eligible pool and at the budget, so their score belongs to a selection and is no asset
of its own. 5,000 documents take seconds; the modules of tamis/samplers say what larger pools cost.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from tamis.base.progress import Advance, ignore
from tamis.samplers import RIVALS
from tamis.samplers.classifier import classifier_log_odds
from tamis.samplers.dsir import last, least_tokens, token_counts
from tamis.samplers.prototypes import fit_prototypes
from tamis.samplers.rounds import select_in_rounds
from tamis.samplers.semdedup import semantic_redundancy

Floats = npt.NDArray[np.float64]
SHORT_TOKENS = 8
"""Tokens, as budgets count them, under which texts come last where what is like nothing else comes first."""


@dataclass(frozen=True, kw_only=True)
class MethodProblem:
    """What a method chooses from: target and candidates, vectors or texts, in the order of `ids`.

    `k`: documents that the budget comes to. `quality` [n] or None. `tokens` [n] of the candidates, if known.
    `settings`: relative_epsilon, tolerance, rounds, mixing, quality_weight.
    """

    target: Any
    candidates: Any
    k: int
    ids: Sequence[str]
    seed: int
    settings: Mapping[str, float]
    quality: Floats | None = None
    tokens: npt.NDArray[np.int64] | None = None
    advance: Advance = ignore


Method = Callable[[MethodProblem], Floats]
"""Scores [n] whose order, smallest first, is the choice."""


def _rival(name: str, problem: MethodProblem) -> Floats:
    return RIVALS[name](
        problem.target,
        problem.candidates,
        problem.k,
        seed=problem.seed,
        ids=problem.ids,
        advance=problem.advance,
    ).score


def _rounds(problem: MethodProblem) -> Floats:
    return select_in_rounds(
        problem.target,
        problem.candidates,
        problem.k,
        rounds=int(problem.settings["rounds"]),
        mixing=problem.settings["mixing"],
        quality=problem.quality,
        quality_weight=problem.settings["quality_weight"],
        relative_epsilon=problem.settings["relative_epsilon"],
        tolerance=problem.settings["tolerance"],
        ids=problem.ids,
        seed=problem.seed,
        advance=problem.advance,
    ).rank


def _semantic_redundancy(problem: MethodProblem) -> Floats:
    found = semantic_redundancy(
        problem.ids, _matrix(problem.candidates), seed=problem.seed, advance=problem.advance
    )
    asked = pl.DataFrame({"doc_id": problem.ids})
    cosine = asked.join(found, on="doc_id", how="left", maintain_order="left")["cosine"]
    return _short_last(cosine.cast(pl.Float64).to_numpy(), problem)


def _prototypes(problem: MethodProblem) -> Floats:
    vectors_nd = _matrix(problem.candidates)
    fitted = fit_prototypes(problem.ids, vectors_nd, seed=problem.seed)
    return _short_last(-fitted.distance(vectors_nd, problem.advance).astype(np.float64), problem)


def _short_last(score_n: Floats, problem: MethodProblem) -> Floats:
    """Put texts under `SHORT_TOKENS` last: one word is like nothing else, and teaches next to nothing."""
    return score_n if problem.tokens is None else last(score_n, problem.tokens < SHORT_TOKENS)


def _classifier(problem: MethodProblem) -> Floats:
    odds_n = classifier_log_odds(
        problem.target, problem.candidates, problem.ids, seed=problem.seed, advance=problem.advance
    )
    return last(-odds_n, token_counts(problem.candidates) < least_tokens(problem.target))


def _matrix(blocks: Any) -> npt.NDArray[np.float32]:
    return np.concatenate(list(blocks))


METHODS: dict[str, Method] = {
    "semdedup": _semantic_redundancy,
    "prototypes": _prototypes,
    "rounds": _rounds,
    "round-robin": partial(_rival, "round-robin"),
    "dsir": partial(_rival, "dsir"),
    "classifier": _classifier,
    "tsds": partial(_rival, "tsds"),
    "unbalanced": partial(_rival, "unbalanced"),
}
