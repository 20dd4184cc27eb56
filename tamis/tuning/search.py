"""Search over recipes under a budget in FLOP: sequential halving on means over paired seeds.

Karnin, Koren and Somekh (ICML 2013) divide a budget equally among rounds, and drop the worse half after each.
A round is more seeds. Where the budget asks for it, rounds begin at a share of the guard's tokens, which
grows to that of the last round: ranks may turn between sizes. No law extrapolates: eight of them predicted no
better than ranks at one size (DataDecide, arXiv 2504.11393).

All recipes of a round run the same seeds. An additive fit of recipes and seeds takes off what a seed does to
all, also where runs are missing; its residuals, pooled over recipes, are the noise of a run. Runs at smaller
shares count the less, the more the recipes that ran at both sizes differ beyond that noise. The plan is made
again from all reported runs whenever it is asked for, so a search is rebuilt after a crash by reporting the
runs again, in any order.
"""

import hashlib
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tamis.base.arguments import as_number, as_whole
from tamis.base.errors import BadArgumentError
from tamis.comparison.statistics import quantile
from tamis.tuning.errors import BudgetTooSmallError, RecipesError, UnknownRecipeError

Floats = NDArray[np.float64]
RANDOM = "random"
MOST_RECIPES = 24
SHARES = (1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16)
"""Of the tokens of the guard's runs, for the last round and for the first."""
SEEDS, MOST_SEEDS = 2, 8
"""A round; each has at least so many where the budget is not used up."""
FINALISTS = 2
"""Recipes in the last round, next to the fixed ones."""
PAIRS = 3
DROPPED_AT = 0.01
"""One-sided level at which a recipe that is worse than the best is dropped, though of the better half."""
MOST_FAILURES = 6
"""Runs after which a recipe that never had a loss is given up."""
THRIFT = 0.05
"""A recipe is cheaper than another where it saves more than this share of its compute."""
LEAST_SPREAD = 0.01
"""Least variance between recipes, in that of a run: shrinkage then orders equal recipes by their means."""
LEAST_IN_BOTH = 3
"""Recipes that ran at two shares, from which something is said about their orders."""
ROUNDING = 1e-9
GRID = 4_001


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A way to train: `flop` of a run at full tokens, `scoring`: of scoring the pool for it, before the run.

    `start`: the part of that which precedes the first document, such as fitting a classifier. `fixed`:
    reaches the last round.
    """

    name: str
    flop: float
    scoring: float = 0.0
    start: float = 0.0
    fixed: bool = False

    def cost(self, share: float = 1.0) -> float:
        """FLOP of a run with its scores, at a share of tokens and pool."""
        return self.start + share * (self.flop + self.scoring - self.start)


class Asked(NamedTuple):
    """A training of the search, at a share of the tokens of the guard's runs."""

    recipe: str
    seed: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Variance of the loss of a run over seeds, beyond what a seed does to all recipes; its freedom."""

    variance: float
    freedom: int


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A recipe after the reported runs.

    loss: fitted mean at the largest share that was run, NaN without a run that has one. shrunken: towards
    the mean of all, by noise. error: standard error of `loss`. best: probability of being best. failed: runs
    without a loss. alive: in the present round.
    """

    recipe: str
    loss: float
    shrunken: float
    error: float
    best: float
    runs: int
    failed: int
    alive: bool


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Share of pairs of recipes in the same order at two shares of the tokens, with its 90 % interval."""

    share: float
    low: float
    high: float
    recipes: int


class SubPool(NamedTuple):
    """Rows of the pool and tokens of a run."""

    rows: int
    tokens: int


def sub_pool(rows: int, tokens: int, share: float) -> SubPool:
    """Return the part of a pool for a run with a share of the tokens, with equal tokens for each pool row.

    A choice is the stricter the fewer of its rows a run reads, so a recipe found at another ratio misleads.
    """
    rows, tokens = as_whole("rows", rows, 1), as_whole("tokens", tokens, 1)
    if not 0 < as_number(share) <= 1:
        raise BadArgumentError("share", repr(share), "a number above 0, at most 1")
    part = max(1, int(rows * share))
    return SubPool(part, max(1, round(tokens * part / rows)))


class Search:
    """Ask which runs to make, tell their losses, until `ask` returns nothing; then read `choice`.

    `budget`: FLOP of everything. `pairs`: of winner and `reference` in the guard, at full tokens; they are
    reserved first, for the dearest recipe. Recipes that the budget does not reach are in `left_out`. Raises
    `RecipesError` and `BudgetTooSmallError`.
    """

    def __init__(
        self,
        recipes: Sequence[Recipe],
        budget: float,
        *,
        pairs: int = PAIRS,
        reference: str = RANDOM,
        seed: int = 0,
    ) -> None:
        self._recipes = {
            recipe.name: replace(recipe, fixed=recipe.fixed or recipe.name == reference)
            for recipe in _checked(recipes, reference)
        }
        if not 0 < as_number(budget) < math.inf:
            raise BadArgumentError("budget", repr(budget), "FLOP, a number above 0")
        self._reference, self._seed, self.pairs = reference, seed, as_whole("pairs", pairs, 1)
        # The winner's runs share one choice; the reference is drawn for each.
        dearest = max(
            self.pairs * recipe.flop + recipe.scoring for recipe in recipes if recipe.name != reference
        )
        self.reserved = dearest + self.pairs * self._recipes[reference].flop
        self._budget = budget * (1 + ROUNDING)
        self._told: dict[Asked, float] = {}
        self._flop: dict[Asked, float] = {}
        self.shares, self._searched = self._reach(budget)

    @property
    def left_out(self) -> list[str]:
        """Names of recipes that the budget does not reach."""
        return sorted(set(self._recipes) - set(self._searched))

    @property
    def spent(self) -> float:
        """FLOP of the reported runs."""
        return self._cost(self._told)

    def ask(self) -> list[Asked]:
        """Return the open runs of the present round, seed by seed; [] when rounds or budget are used up.

        Runs are returned until they are reported, and stay within the budget with all that are.
        """
        return self._planned()[0]

    def tell(
        self, recipe: str, seed: int, share: float, loss: float | None, flop: float | None = None
    ) -> None:
        """Report the loss of a run; NaN (or None, infinite) = it failed or diverged.

        `flop`: of the run, where measured, charged instead of the recipe's. A repeated tell replaces.
        """
        if recipe not in self._recipes:
            raise UnknownRecipeError("recipe", recipe, self._recipes)
        value = as_number(loss)
        if math.isnan(value) and not (loss is None or isinstance(loss, float | np.floating)):
            raise BadArgumentError("loss", repr(loss), "a number, or NaN for a run that failed")
        if flop is not None and not 0 <= as_number(flop) < math.inf:
            raise BadArgumentError("flop", repr(flop), "a number, 0 or more")
        if not 0 < as_number(share) <= 1:
            raise BadArgumentError("share", repr(share), "a number above 0, at most 1")
        run = Asked(recipe, as_whole("seed", seed, 0), float(share))
        self._told[run] = value if math.isfinite(value) else math.nan
        self._flop.pop(run, None)
        if flop is not None:
            self._flop[run] = float(flop)

    @property
    def noise(self) -> Noise:
        """Noise of a run, pooled over recipes; variance NaN where no recipe has a second run."""
        fit = self._fit()
        return Noise(variance=fit.variance, freedom=fit.freedom)

    @property
    def agreement(self) -> Agreement | None:
        """Order of recipes at the largest and smallest share; None where fewer than three ran at both."""
        return self._fit().agreement()

    @property
    def choice(self) -> str | None:
        """Recipe for the guard: the cheapest within a standard error of the best, other than the reference.

        Among recipes of the present round; None while none of them has a loss.
        """
        alive = [name for name in self._planned()[1] if name != self._reference]
        fit = self._fit()
        order = self._ordered(fit, alive)
        if not order:
            return None
        best = order[0]
        near = [name for name in order if fit.behind(name, best) <= fit.error(name, best)]
        least = min(self._recipes[name].cost() for name in near)
        return next(name for name in near if self._recipes[name].cost() <= least / (1 - THRIFT))

    def alike(self, name: str) -> list[str]:
        """Return recipes of the present round within a standard error of one, best first.

        Neither the reference nor what is cheaper is among them.
        """
        fit = self._fit()
        if name not in fit.names:
            return []
        least = self._recipes[name].cost() * (1 - THRIFT)
        return [
            other
            for other in self._ordered(fit, self._planned()[1])
            if other not in (name, self._reference)
            and self._recipes[other].cost() >= least
            and abs(fit.behind(other, name)) <= fit.error(other, name)
        ]

    @property
    def standings(self) -> list[Standing]:
        """All recipes that are searched, best first, those without a loss last."""
        fit, alive = self._fit(), set(self._planned()[1])
        order = self._ordered(fit, self._searched)
        order += sorted(set(self._searched) - set(order), key=self._tie)
        best = dict(zip(fit.names, fit.best_a.tolist(), strict=True))
        standings = []
        for name in order:
            told = [loss for run, loss in self._told.items() if run.recipe == name]
            measured = name in fit.names
            place = fit.names.index(name) if measured else -1
            standings.append(
                Standing(
                    recipe=name,
                    loss=float(fit.loss_a[place]) if measured else math.nan,
                    shrunken=float(fit.shrunken_a[place]) if measured else math.nan,
                    error=float((fit.variance / fit.runs_a[place]) ** 0.5) if measured else math.nan,
                    best=best.get(name, 0.0),
                    runs=len(told),
                    failed=sum(map(math.isnan, told)),
                    alive=name in alive,
                )
            )
        return standings

    def _planned(self) -> tuple[list[Asked], list[str]]:
        """Return the open runs of the present round, and its recipes.

        The seeds of a round follow from what earlier rounds cost, its recipes from their losses: neither
        changes while its runs are reported.
        """
        alive, earlier, first = list(self._searched), set[Asked](), 0
        searched = [self._recipes[name] for name in alive]
        counts = _counts(sum(not recipe.fixed for recipe in searched))
        rows = _rows(searched, self.shares)
        for place, share in enumerate(self.shares[-len(counts) :]):
            left = self._budget - self.reserved - self._cost(earlier)
            row = math.fsum(self._recipes[name].cost(share) for name in alive)
            seeds = range(first, first + _seeds(left, [row, *rows[place + 1 :]]))
            runs = [Asked(name, seed, share) for seed in seeds for name in alive]
            if any(run not in self._told for run in runs):
                return self._affordable(alive, seeds, share), alive
            if not runs or place == len(counts) - 1:
                break
            first, earlier = seeds.stop, earlier | set(runs)
            alive = self._kept(alive, counts[place + 1], earlier)
        return [], alive

    def _affordable(self, alive: list[str], seeds: range, share: float) -> list[Asked]:
        """Return open runs, by whole seeds, as far as the budget pays for them on top of all reported."""
        left, runs = self._budget - self.reserved - self.spent, []
        for seed in seeds:
            row = [run for name in alive if (run := Asked(name, seed, share)) not in self._told]
            left -= self._cost(row)
            if left < 0:
                break
            runs += row
        return runs

    def _kept(self, alive: list[str], count: int, earlier: set[Asked]) -> list[str]:
        """Return the recipes of the next round, by the runs of earlier ones.

        The better half, without those that are proven worse than the best at the size of the last round.
        """
        fit = self._fit(earlier)
        free = [name for name in alive if not self._recipes[name].fixed]
        leader = self._ordered(fit, alive)[:1] if self.shares[0] == self.shares[-1] else []
        kept = {
            name
            for name in self._ordered(fit, free)[:count]
            if not any(fit.is_behind(name, best) for best in leader)
        }
        kept |= {
            name
            for name in free
            if name not in fit.names and sum(run.recipe == name for run in earlier) < MOST_FAILURES
        }
        return [name for name in alive if self._recipes[name].fixed or name in kept]

    def _ordered(self, fit: "_Fit", names: Collection[str]) -> list[str]:
        """Return those of the names that have a loss, best first."""
        return sorted(
            (name for name in names if name in fit.names),
            key=lambda name: (float(fit.shrunken_a[fit.names.index(name)]), self._tie(name)),
        )

    def _fit(self, runs: Collection[Asked] | None = None) -> "_Fit":
        return _Fit(
            {
                run: loss
                for run, loss in self._told.items()
                if math.isfinite(loss) and run.recipe in self._searched and (runs is None or run in runs)
            }
        )

    def _cost(self, runs: Iterable[Asked]) -> float:
        # Summed exactly: a sum that depended on the order of its terms would depend on that of the tells.
        return math.fsum(self._flop.get(run, self._recipes[run.recipe].cost(run.share)) for run in set(runs))

    def _tie(self, name: str) -> bytes:
        return hashlib.blake2b(f"{self._seed}:{name}".encode(), digest_size=8).digest()

    def _reach(self, budget: float) -> tuple[list[float], list[str]]:
        """Return the share of tokens of each round, and the recipes that the budget can pay for.

        The largest share at the end comes first, then the largest in the beginning.
        """
        left = self._budget - self.reserved
        by_tie = sorted(self._recipes.values(), key=lambda recipe: (not recipe.fixed, self._tie(recipe.name)))
        rounds = len(_counts(sum(not recipe.fixed for recipe in by_tie)))
        for last, first in combinations_with_replacement(range(len(SHARES)), 2):
            shares = [SHARES[round(place)] for place in np.linspace(first, last, rounds)]
            if _pays(by_tie, shares, left):
                return shares, list(self._recipes)
        shares = [SHARES[-1]] * rounds
        searched = [recipe for recipe in by_tie if recipe.fixed]
        free = by_tie[len(searched) :]
        if len(searched) < 2:
            searched.append(min(free, key=lambda recipe: recipe.cost()))
        if not _pays(searched, shares, left):
            least = SEEDS * math.fsum(recipe.cost(SHARES[-1]) for recipe in searched)
            raise BudgetTooSmallError(budget, self.reserved, least, len(searched), SEEDS, self.pairs)
        for recipe in free:
            if recipe not in searched and _pays([*searched, recipe], shares, left):
                searched.append(recipe)
        return shares, [name for name, recipe in self._recipes.items() if recipe in searched]


class _Fit:
    """Additive fits of recipes and seeds to losses by run, all finite: one for each share of the tokens.

    loss_a: at the largest share, with what the others say of it. runs_a: as many runs there say as much.
    """

    def __init__(self, losses: dict[Asked, float]) -> None:
        self.names = sorted({run.recipe for run in losses})
        self.shares = sorted({run.share for run in losses}, reverse=True)
        effects, runs, squares, self.freedom = [], [], 0.0, 0
        for share in self.shares:
            effect_a, runs_a, of_share, freedom = self._of_share(
                {run: loss for run, loss in losses.items() if run.share == share}
            )
            effects.append(effect_a)
            runs.append(runs_a)
            squares, self.freedom = squares + of_share, self.freedom + freedom
        self.variance = squares / self.freedom if self.freedom else math.nan
        self.effect_sa, self.runs_sa = np.array(effects), np.array(runs)
        self.loss_a, self.runs_a = self._joined()

    def _of_share(self, losses: dict[Asked, float]) -> tuple[Floats, Floats, float, int]:
        """Return effects, NaN without a run, and runs by recipe; squares of residuals, and their freedom."""
        runs = sorted(losses)
        names, seeds = sorted({run.recipe for run in runs}), sorted({run.seed for run in runs})
        recipe_r = np.array([names.index(run.recipe) for run in runs])
        seed_r = np.array([seeds.index(run.seed) for run in runs])
        loss_r = np.array([losses[run] for run in runs])
        design_rc = np.concatenate([np.eye(len(names))[recipe_r], np.eye(len(seeds))[seed_r]], axis=1)
        effect_c, _, rank, _ = np.linalg.lstsq(design_rc, loss_r, rcond=None)
        places = [self.names.index(name) for name in names]
        effect_a, runs_a = np.full(len(self.names), np.nan), np.zeros(len(self.names))
        effect_a[places] = effect_c[: len(names)] + effect_c[len(names) :].mean()
        runs_a[places] = np.bincount(recipe_r)
        squares = float(((loss_r - design_rc @ effect_c) ** 2).sum())
        return effect_a, runs_a, squares, len(runs) - int(rank)

    def _joined(self) -> tuple[Floats, Floats]:
        """Return the losses at the largest share by all shares, and the runs that would say as much."""
        if not len(self.shares):
            return np.empty(0), np.empty(0)
        loss_a, runs_a = self.effect_sa[0], self.runs_sa[0]
        for effect_a, own_a in zip(self.effect_sa[1:], self.runs_sa[1:], strict=True):
            both_a, has_a = (runs_a > 0) & (own_a > 0), own_a > 0
            apart_a = loss_a[both_a] - effect_a[both_a]
            shifted_a = effect_a + (apart_a.mean() if len(apart_a) else 0.0)
            if len(apart_a) < LEAST_IN_BOTH or not self.variance > 0:
                worth_a = np.where(runs_a > 0, 0.0, own_a)
            else:
                noise = self.variance * (1 / runs_a[both_a] + 1 / own_a[both_a]).mean()
                turned = max(float(apart_a.var(ddof=1)) - noise, 0.0)
                worth_a = self.variance / (turned + self.variance / np.maximum(own_a, 1)) * has_a
            total_a = runs_a + worth_a
            known_a = np.where(runs_a > 0, loss_a, 0.0) * runs_a + np.where(has_a, shifted_a, 0.0) * worth_a
            loss_a, runs_a = known_a / np.maximum(total_a, ROUNDING), total_a
        return loss_a, runs_a

    def agreement(self) -> Agreement | None:
        """Return how alike the orders at the largest and the smallest share are, by leaving recipes out."""
        if len(self.shares) < 2:
            return None
        both_a = np.isfinite(self.effect_sa[[0, -1]]).all(0)
        large_a, small_a = self.effect_sa[0, both_a], self.effect_sa[-1, both_a]
        count = len(large_a)
        if count < LEAST_IN_BOTH:
            return None
        same_ab = np.sign(large_a[:, None] - large_a) == np.sign(small_a[:, None] - small_a)
        same_a = same_ab.sum(1) - 1.0
        share = float(same_a.sum() / (count * (count - 1)))
        without_a = (same_a.sum() - 2 * same_a) / ((count - 1) * (count - 2))
        deviation = float(((without_a - without_a.mean()) ** 2).sum() * (count - 1) / count) ** 0.5
        spread = quantile(0.95, count - 1) * deviation
        return Agreement(
            share=share, low=max(share - spread, 0.0), high=min(share + spread, 1.0), recipes=count
        )

    @cached_property
    def _between(self) -> float:
        """Variance between recipes, beyond the noise of their means."""
        own = self.loss_a.var(ddof=1) if len(self.names) > 1 else 0.0
        return float(max(own - (self.variance / self.runs_a).mean(), LEAST_SPREAD * self.variance))

    @cached_property
    def shrunken_a(self) -> Floats:
        """Losses shrunken to their mean, the more the fewer runs a recipe has; as they are without noise."""
        if not self.variance > 0:
            return self.loss_a
        weight_a = self._between / (self._between + self.variance / self.runs_a)
        centre = float((weight_a * self.loss_a).sum() / weight_a.sum())
        return np.asarray(centre + weight_a * (self.loss_a - centre))

    @cached_property
    def best_a(self) -> Floats:
        """Probability of being best, of normal beliefs around the shrunken losses."""
        from scipy.special import log_ndtr

        if not self.variance > 0:
            least = self.loss_a == self.loss_a.min(initial=math.inf)
            return np.asarray(least / max(least.sum(), 1))
        deviation_a = (1 / (1 / self._between + self.runs_a / self.variance)) ** 0.5
        ends = self.shrunken_a - 8 * deviation_a, self.shrunken_a + 8 * deviation_a
        x_g = np.linspace(ends[0].min(), ends[1].min(), GRID)
        z_ag = (x_g - self.shrunken_a[:, None]) / deviation_a[:, None]
        above_ag = log_ndtr(-z_ag)
        density_ag = np.exp(-(z_ag**2) / 2 + above_ag.sum(0) - above_ag) / deviation_a[:, None]
        mass_a = density_ag.sum(1)
        return np.asarray(mass_a / mass_a.sum())

    def behind(self, name: str, other: str) -> float:
        """Return the shrunken loss of a recipe less that of another."""
        own, against = self.names.index(name), self.names.index(other)
        return float(self.shrunken_a[own] - self.shrunken_a[against])

    def error(self, name: str, other: str) -> float:
        """Return the standard error of a difference; 0 where no noise is known."""
        own, against = self.names.index(name), self.names.index(other)
        if name == other or not self.variance > 0:
            return 0.0
        return float((self.variance * (1 / self.runs_a[own] + 1 / self.runs_a[against])) ** 0.5)

    def is_behind(self, name: str, other: str) -> bool:
        """Return whether a recipe is worse than another beyond the noise."""
        error = self.error(name, other)
        if not error:
            return False
        own, against = self.names.index(name), self.names.index(other)
        distance = float(self.loss_a[own] - self.loss_a[against])
        return distance > quantile(1 - DROPPED_AT, self.freedom) * error


def _counts(free: int) -> list[int]:
    """Return the recipes that are not fixed in each round: halves, down to the finalists."""
    counts = [free]
    while counts[-1] > FINALISTS:
        counts.append(max(math.ceil(counts[-1] / 2), FINALISTS))
    return counts


def _rows(recipes: list[Recipe], shares: list[float]) -> list[float]:
    """Return the compute of a seed in each round, if the dearest recipes stay."""
    counts, rows = _counts(sum(not recipe.fixed for recipe in recipes)), []
    for count, share in zip(counts, shares[-len(counts) :], strict=True):
        fixed = math.fsum(recipe.cost(share) for recipe in recipes if recipe.fixed)
        free = sorted((recipe.cost(share) for recipe in recipes if not recipe.fixed), reverse=True)
        rows.append(fixed + math.fsum(free[:count]))
    return rows


def _seeds(left: float, rows: list[float]) -> int:
    """Return the seeds of a round, whose compute a seed is the first of `rows`; 0 where none can be paid.

    An equal part of what is left, and at least so many that every round has its least.
    """
    if rows[0] <= 0:
        return MOST_SEEDS if left >= 0 else 0
    equal, spare = left / len(rows), left - SEEDS * math.fsum(rows[1:])
    fewest, seeds = min(SEEDS, int(left / rows[0])), int(min(equal, spare) / rows[0])
    return max(0, min(MOST_SEEDS, max(fewest, seeds)))


def _pays(recipes: list[Recipe], shares: list[float], left: float) -> bool:
    """Return whether what is left pays for the least seeds of every round."""
    return SEEDS * math.fsum(_rows(recipes, shares)) <= left


def _checked(recipes: Sequence[Recipe], reference: str) -> list[Recipe]:
    names = [recipe.name for recipe in recipes]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise RecipesError(f"recipes with the same name: {', '.join(twice)}; each needs a name of its own")
    if reference not in names:
        raise RecipesError(
            f"no recipe {reference!r} among {', '.join(names) or 'none'}: it is what others are compared with"
        )
    if len(names) < 2:
        raise RecipesError(
            f"{reference} is the only recipe; at least 2 are needed: add a sampler, a base model or a rate"
        )
    if len(names) > MOST_RECIPES:
        raise RecipesError(f"{len(names)} recipes; at most {MOST_RECIPES} are searched")
    for recipe in recipes:
        for name in ("flop", "scoring", "start"):
            if not 0 <= as_number(value := getattr(recipe, name)) < math.inf:
                raise BadArgumentError(f"{name} of {recipe.name}", repr(value), "a number, 0 or more")
    if not math.fsum(recipe.flop for recipe in recipes) > 0:
        raise BadArgumentError("flop", "0 for all recipes", "a number above 0 for at least one")
    return list(recipes)
