"""Decisions on a pool of random scores, as every sampler makes them."""

import numpy as np
import polars as pl

from tamis.selection import select

N = 400
SCORES = (
    "transport_gradient",
    "quality",
    "judge_margin_predicted",
    "density",
    "nearest_cost",
    "bits_per_byte",
    "gradient_away",
)


def pool():
    random = np.random.default_rng(5)
    scores = {name: random.random(N) * 3 + 0.2 for name in SCORES}
    scores["quality"] = random.random(N)
    return pl.DataFrame({"doc_id": [f"{i:032x}" for i in range(N)], **scores})


def decided(sampler, budget=40):
    """Decisions of a sampler, of which seven documents are excluded, and its settings."""
    exclusions = pl.DataFrame(
        {
            "doc_id": [f"{i:032x}" for i in range(7)],
            "reason": ["near_duplicate"] * 4 + ["withdrawn", "contaminated", "target_example"],
            "duplicate_of": [f"{N - 1:032x}"] * 4 + [None] * 3,
        }
    )
    options = {"quality_weight": 0.7}
    decisions = select(pool(), sampler, budget, exclusions=exclusions, options=options)
    return decisions, {"sampler": sampler, "budget": str(budget), "quality_weight": "0.7"}
