"""Surfaces that tuning is tried on: true losses of recipes by share of the tokens, and runs with noise.

Scale: points of docs/real-tasks.md, where a difference of means over so many pairs has the variance
.0065 + .168 / pairs, of examples and of seeds. Smaller is better here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from benchmarks._scaling_data import full_size, load
from benchmarks._texts import read_table
from tamis.tuning.guard import Pairs
from tamis.tuning.search import RANDOM, SHARES, Recipe

Floats = np.ndarray
NOISES = ("normal", "t3", "lucky")
OF_EXAMPLES, OF_SEEDS = 0.0065, 0.168
EXAMPLES = 40
FIXED = (RANDOM, "got-d", "knn", "none")
RECIPES = 12
LUCK = 3.0
"""Deviations by which the one lucky seed is better."""
GRID_NOISE = 0.005


@dataclass(frozen=True, kw_only=True)
class Surface:
    """True losses [recipe, share of SHARES], deviation of a run over seeds, and names in order.

    The first name is the reference. `failing`: share of the runs of each recipe that end without a loss.
    """

    names: tuple[str, ...]
    loss_as: Floats
    deviation: float
    noise: str = "normal"
    failing: tuple[float, ...] = ()

    @property
    def recipes(self) -> list[Recipe]:
        """Recipes of equal cost, 1 a run at full tokens; those of FIXED, or the first two, are fixed."""
        fixed = FIXED if FIXED[1] in self.names else self.names[:2]
        return [Recipe(name=name, flop=1.0, fixed=name in fixed) for name in self.names]

    @property
    def full_a(self) -> Floats:
        """True losses at full tokens."""
        return self.loss_as[:, 0]

    def regret(self, name: str) -> float:
        """Return how much worse a recipe is than the best, at full tokens."""
        return float(self.full_a[self.names.index(name)] - self.full_a.min())


def luck(draw: np.random.Generator, noise: str, shape: tuple[int, ...]) -> Floats:
    """Noise of mean 0 and variance 1; of "lucky", one of twelve runs is better by a fixed amount."""
    if noise == "t3":
        return np.asarray(draw.standard_t(3, shape) / 3**0.5)
    values = draw.normal(size=shape)
    if noise == "lucky":
        share = 1 / RECIPES
        lucky = draw.random(shape) < share
        values = (values - LUCK * (lucky - share)) / (1 + LUCK**2 * share * (1 - share)) ** 0.5
    return np.asarray(values)


def luck_of_pairs(draw: np.random.Generator, noise: str, pairs: int) -> Floats:
    """Noise of differences in pairs; of "lucky", one run of all is better, the winner's or random's."""
    if noise != "lucky":
        return luck(draw, noise, (pairs,))
    values = draw.normal(size=pairs)
    values[draw.integers(pairs)] += draw.choice([-LUCK, LUCK])
    return np.asarray(values / (1 + LUCK**2 / pairs) ** 0.5)


class Trainer:
    """Runs of a surface: a seed moves all recipes alike, each run has noise of its own, some fail."""

    def __init__(self, surface: Surface, draw: np.random.Generator) -> None:
        self._surface, self._draw = surface, draw
        self._seeds: dict[tuple[int, float], float] = {}

    def loss(self, name: str, seed: int, share: float) -> float:
        """Return the loss of a run, NaN of one that failed."""
        surface = self._surface
        place = surface.names.index(name)
        if surface.failing and self._draw.random() < surface.failing[place]:
            return float("nan")
        common = self._seeds.setdefault((seed, share), float(surface.deviation * self._draw.normal()))
        own = float(luck(self._draw, surface.noise, ()))
        return float(surface.loss_as[place, SHARES.index(share)]) + common + surface.deviation * own


def guard_pairs(
    draw: np.random.Generator,
    effect: float,
    *,
    pairs: int,
    noise: str = "normal",
    of_seeds: float = OF_SEEDS,
    of_examples: float = OF_EXAMPLES,
    examples_d: Floats | None = None,
) -> Pairs:
    """Return runs of a winner with a true difference to random, on examples of unequal lengths.

    Half as much noise as of examples is of single examples in single runs. `examples_d`: what the examples
    do to the difference, where looks share it.
    """
    bytes_d = np.round(
        np.exp(draw.normal(6, 0.5, EXAMPLES)) if examples_d is None else np.full(EXAMPLES, 400.0)
    )
    weight_d = bytes_d / bytes_d.mean()
    if examples_d is None:
        examples_d = example_effects(draw, of_examples)
    own_pd = (of_examples * EXAMPLES / 2) ** 0.5 * draw.normal(size=(pairs, EXAMPLES))
    seed_p = of_seeds**0.5 * luck_of_pairs(draw, noise, pairs)
    difference_pd = effect + seed_p[:, None] + (examples_d + own_pd) / weight_d**0.5
    reference_pd = 100 + draw.normal(size=(pairs, EXAMPLES))
    return Pairs(
        winner_pd=(reference_pd + difference_pd) * bytes_d,
        reference_pd=reference_pd * bytes_d,
        bytes_d=bytes_d,
    )


def example_effects(draw: np.random.Generator, of_examples: float = OF_EXAMPLES) -> Floats:
    """Return what each example does to a difference; the mean has the variance of examples."""
    return np.asarray((of_examples * EXAMPLES) ** 0.5 * draw.normal(size=EXAMPLES))


def without_effect(noise: str, failing: tuple[float, ...] = ()) -> Surface:
    """Return twelve recipes that are equal."""
    return Surface(
        names=_names(),
        loss_as=np.zeros((RECIPES, len(SHARES))),
        deviation=(OF_SEEDS / 2) ** 0.5,
        noise=noise,
        failing=failing,
    )


def with_effects(
    draw: np.random.Generator,
    *,
    spread: float = 0.5,
    agree: float = 0.9,
    noise: str = "normal",
    failing: tuple[float, ...] = (),
) -> Surface:
    """Return recipes with normal effects.

    `agree`: correlation of the effects at a share with those at twice the share, so low values reverse ranks
    between sizes. GOT-D and kNN are better than random by .3 on average, no chosen text is worse by .3.
    """
    loss_as = np.empty((RECIPES, len(SHARES)))
    loss_as[:, 0] = draw.normal(size=RECIPES)
    for place in range(1, len(SHARES)):
        loss_as[:, place] = agree * loss_as[:, place - 1] + (1 - agree**2) ** 0.5 * draw.normal(size=RECIPES)
    shift_a = np.array([0.0, -0.3, -0.3, 0.3, *[0.0] * (RECIPES - len(FIXED))])
    loss_as = spread * loss_as + shift_a[:, None]
    loss_as -= loss_as[:1]
    return Surface(
        names=_names(), loss_as=loss_as, deviation=(OF_SEEDS / 2) ** 0.5, noise=noise, failing=failing
    )


def published(seed: int) -> Iterator[tuple[str, Surface]]:
    """Yield surfaces of twelve recipes drawn from a published grid, without end.

    Models by size of the training set (`scaling_laws`), with .5 % noise a run, since each was run once;
    mixtures (`mixtures`), of 1M parameters below full tokens and of 60M at full tokens. The first two drawn
    have the places of random and GOT-D. Exits where the tables are absent.
    """
    grids = [(name, *_of_models(name)) for name in ("flan", "gigaword")] + [("mixtures", *_of_mixtures())]
    draw = np.random.default_rng(seed)
    while True:
        for name, names, loss_as in grids:
            chosen = draw.permutation(len(names))[:RECIPES]
            surface = Surface(
                names=tuple(names[place] for place in chosen),
                loss_as=loss_as[chosen],
                deviation=float(GRID_NOISE * loss_as[:, 0].mean()),
            )
            yield name, surface


def _names() -> tuple[str, ...]:
    return (*FIXED, *(f"recipe {place}" for place in range(1, RECIPES - len(FIXED) + 1)))


def _of_models(table: str) -> tuple[Sequence[str], Floats]:
    curves, _ = load(table)
    full = full_size(curves)
    loss_as = [
        np.interp(np.log([full * share for share in SHARES]), np.log(sizes), losses)
        for sizes, losses in curves.values()
    ]
    return list(curves), np.array(loss_as)


def _of_mixtures() -> tuple[Sequence[str], Floats]:
    losses = []
    for size in ("60m", "1m"):
        table = read_table("mixtures", f"test_pile_loss_{size}", "index").sort("index")
        losses.append(table.select(pl.mean_horizontal(pl.exclude("index"))).to_series().to_numpy())
    large_a, small_a = losses
    return [f"mixture {place}" for place in range(len(large_a))], np.stack(
        [large_a, *[small_a] * (len(SHARES) - 1)], axis=1
    )
