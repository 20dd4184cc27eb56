"""Loss curves of a known form, and what runs cost."""

import math

import numpy as np

from tamis.scaling.costs import Cost, ModelCosts

SIZES = [0, *(100 * 2**i for i in range(8))]
HARDLY = [6, 12, 24]


def curve(floor, scale, seed, sizes=SIZES):
    noise = np.random.default_rng(seed).normal(0, 0.002, len(sizes))
    losses = (floor + scale / (30 + np.maximum(np.array(sizes, dtype=float), 0) ** 0.6)) * np.exp(noise)
    return list(sizes), losses.tolist()


def costing(flops, seconds=None, run=0.0):
    """Costs by FLOP and seconds of training on an example, and of evaluating a run."""
    return {
        model: ModelCosts(
            example=Cost(examples=1.0, flops=one, seconds=(seconds or {}).get(model, math.nan)),
            run=Cost(examples=0.0, flops=run * one, seconds=run * (seconds or {}).get(model, math.nan)),
        )
        for model, one in flops.items()
    }


def steep_and_level():
    """Two models: the large one is better, and by more with more data."""
    return {"small": curve(1.2, 90, 1), "large": curve(0.8, 80, 2)}
