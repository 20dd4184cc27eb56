"""Choose a base model under a budget: run all on little data, keep those predicted best at full size, go on.

Successive halving by extrapolated loss (`schedule`, `trend`). On random 20-model subsets of the public
curves with 0.5 % noise its mean regret at 7 % of the cost of tuning every model is .5 %, at 30 % it is
.1 %; that of Accept-then-Stop at 25 % is 1.1 %. The plan is made again from all reported losses whenever it
is asked for: the runs after a size depend on the losses up to that size, whoever ran them, and on the rest of
the budget. So the state is a function of the set of reported runs, whatever their order, and a search can be
rebuilt after a crash, or continued under another budget, by reporting the runs again.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tamis.base.arguments import as_list, as_number
from tamis.scaling.errors import BadSettingError, require_one_of
from tamis.scaling.measurements import measured, positive_number
from tamis.scaling.methods import by_trend
from tamis.scaling.schedule import FEWEST, choose_start, next_round

Run = tuple[str, float]
THRIFT = 0.01  # 1 % of the loss per factor e of cost: keeps one huge model from eating the others' rounds
SHARES_TRIED = 16  # between a spent share and 1, evenly in their logarithm, before the gap is halved
ROUNDING = 1e-9  # of the budget, so that sums of costs which should meet it do


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """The plan after the reported runs: its last round, and the models that are still in the running."""

    round: tuple[Run, ...]
    alive: tuple[str, ...]


class BudgetedSearch:
    """Ask which runs to make, tell their losses, until `ask` returns nothing; then read `choice`.

    A run of a model on a size costs cost_per_example[model] * size, counted once, however often it is asked
    or reported. The budget is `budget_share` of running every model at the largest size; together with all
    reported runs, those asked for never exceed it. Runs reported unasked are charged and used like others.
    Raises `ValueError`s that name the setting for models that repeat, sizes or costs that are not positive,
    a model without a cost.
    """

    def __init__(
        self,
        models: Sequence[str],
        sizes: Sequence[float],
        cost_per_example: Mapping[str, float],
        budget_share: float,
        seed: int = 0,
    ) -> None:
        self._models = _checked_models(models, cost_per_example)
        self._sizes = _checked_sizes(sizes)
        share = positive_number("budget_share", budget_share)
        self._costs = {model: float(cost_per_example[model]) for model in self._models}
        self._full_cost = sum(self._costs.values()) * float(self._sizes[-1])
        if not np.isfinite(self._full_cost):
            raise BadSettingError("cost_per_example", dict(self._costs), "costs whose sum is finite")
        self._budget, self._seed = share * self._full_cost * (1 + ROUNDING), seed
        self._told: dict[Run, float] = {}
        self._asked: set[Run] = set()
        self._plan: _Plan | None = None

    @property
    def spent_share(self) -> float:
        """Return the cost of all reported runs, and of open ones asked for, as a share of the full cost.

        The full cost is that of running every model at the largest size.
        """
        return self._cost([*self._told, *self._asked.intersection(self._open())]) / self._full_cost

    @property
    def least_share(self) -> float:
        """Return the smallest budget_share that buys a run of every model, at the smallest size."""
        return self._sizes[0] / self._sizes[-1]

    def next_share(self) -> float | None:
        """Return a larger budget_share that buys further runs, to three digits; None where not even 1 does.

        The least one but for gaps: a larger share may begin with other runs, and need more for them.
        """
        share = self._budget / self._full_cost
        tried = [rounded_up(share ** (1 - step / SHARES_TRIED)) for step in range(1, SHARES_TRIED + 1)]
        high = next((one for one in tried if one > share and self._buys(one)), None)
        if high is None:
            return None
        low = max([one for one in tried if one < high], default=share)
        while low < (middle := rounded_up(math.sqrt(low * high))) < high:
            low, high = (low, middle) if self._buys(middle) else (middle, high)
        return high

    def _buys(self, share: float) -> bool:
        """Return whether a share pays for further runs."""
        other = BudgetedSearch(self._models, self._sizes, self._costs, share, self._seed)
        other._told = self._told
        return bool(other._open())

    @property
    def choice(self) -> str | None:
        """Return the model to take by what is known now: None until some run has succeeded."""
        known = [model for model in self._models if self._curve(model)[0]]
        order = self._ranked([model for model in self._planned().alive if model in known] or known)
        return order[0] if order else None

    @property
    def round_begun(self) -> bool:
        """Return whether some runs of the present round are reported and others are not."""
        return bool(self._open()) and any(run in self._told for run in self._planned().round)

    def ask(self) -> list[tuple[str, float]]:
        """Return the open runs of the present round, best model first; [] when budget or sizes are used up.

        Until all are reported, `ask` returns those still open.
        """
        runs = self._open()
        self._asked.update(runs)
        return runs

    def tell(self, model: str, size: float, loss: float | None) -> None:
        """Report the loss of a run; NaN (or None, infinite, not positive) = it failed, at full cost.

        A repeated tell replaces the loss and costs nothing. Raises `UnknownChoiceError` for a model and
        `BadSettingError` for a size that is not positive.
        """
        require_one_of("model", model, self._models)
        positive_number("size", size, "a positive number of examples")
        found = as_number(loss)
        # What is no number at all is a mistake and not a failed run.
        if np.isnan(found) and not (loss is None or isinstance(loss, float | np.floating)):
            raise BadSettingError("loss", loss, "a number, or NaN for a run that failed")
        self._told[model, size] = found if np.isfinite(found) and found > 0 else float("nan")
        self._plan = None

    def _cost(self, runs: Iterable[Run]) -> float:
        # Summed exactly, for a sum that depends on the order of its terms would depend on that of the tells.
        try:
            return math.fsum(self._costs[model] * size for model, size in set(runs))
        except OverflowError:  # beyond the largest float
            return math.inf

    def _open(self) -> list[Run]:
        return [run for run in self._planned().round if run not in self._told]

    def _affordable(self, runs: Iterable[Run]) -> bool:
        """Return whether the budget pays for runs on top of those reported, which are paid for already."""
        wanted = set(runs)
        return wanted <= set(self._told) or self._cost([*self._told, *wanted]) <= self._budget

    def _planned(self) -> _Plan:
        """Return the plan by all reported runs, made again after each `tell`."""
        if self._plan is None:
            self._plan = self._made_plan()
        return self._plan

    def _made_plan(self) -> _Plan:
        """Plan round after round, until one has open runs or no further one can be paid."""
        alive, rung, first = self._first_round()
        plan = _Plan(round=tuple(first), alive=tuple(alive))
        planned = dict.fromkeys(first)
        while plan.round and all(run in self._told for run in plan.round):
            order = self._ranked(list(plan.alive), up_to=self._sizes[rung], thrift=THRIFT)
            count, rung = self._next_round(order, rung, self._budget - self._cost(planned))
            runs = [(model, self._sizes[rung]) for model in order[:count]]
            plan = _Plan(round=tuple(runs), alive=tuple(order[:count] or order or plan.alive))
            planned |= dict.fromkeys(runs)
        return plan

    def _first_round(self) -> tuple[list[str], int, list[Run]]:
        """Return all models, or as many cheap ones as the smallest size allows; the last size; the runs."""
        sizes = self._sizes
        start = choose_start(
            np.array([self._costs[model] for model in self._models]),
            np.array(sizes, dtype=np.float64),
            self._budget,
            lambda found: self._affordable(_grid(self._models, sizes[found.first : found.last + 1])),
        )
        if start is not None:
            return self._models, start.last, _grid(self._models, sizes[start.first : start.last + 1])
        alive: list[str] = []
        for model in sorted(self._models, key=lambda name: (self._costs[name], self._tie(name))):
            alive += [model] if self._affordable(_grid([*alive, model], sizes[:1])) else []
        return alive, 0, _grid(alive, sizes[:1])

    def _next_round(self, order: list[str], rung: int, left: float) -> tuple[int, int]:
        """Return how many of the models, best first, run which size next; none where no further run helps."""
        if len(order) < FEWEST:
            return 0, rung
        return next_round(
            np.array([self._costs[model] for model in order]),
            np.array(self._sizes, dtype=np.float64),
            rung,
            left,
            lambda count, size: self._affordable(_grid(order[:count], [self._sizes[size]])),
        ) or (0, rung)

    def _ranked(self, models: list[str], up_to: float = math.inf, thrift: float = 0.0) -> list[str]:
        """Rank the models with a usable result by predicted loss at the largest size.

        The curves of all models, up to a size, shape the prediction. A loss measured at the largest size
        is taken as it is. `thrift`: the gain in log loss that a model e times as costly must promise to
        rank as high.
        """
        curves = {model: self._curve(model, up_to) for model in self._models}
        usable = [model for model, (sizes, _losses) in curves.items() if sizes]
        if not usable:
            return []
        cleaned = [measured(*curves[model]).up_to(self._sizes[-1]) for model in usable]
        losses = dict(zip(usable, by_trend(cleaned, float(self._sizes[-1])).log_losses.tolist(), strict=True))
        for model in usable:
            full = self._told.get((model, self._sizes[-1]), float("nan"))
            if np.isfinite(full) and self._sizes[-1] in curves[model][0]:
                losses[model] = float(np.log(full))
        places = {
            model: losses[model] + thrift * np.log(self._costs[model])
            for model in models
            if np.isfinite(losses.get(model, np.nan))
        }
        return sorted(places, key=lambda model: (places[model], self._tie(model)))

    def _curve(self, model: str, up_to: float = math.inf) -> tuple[list[float], list[float]]:
        """Return sizes, ascending, and losses of the runs of one model that succeeded."""
        kept = sorted(
            (size, loss)
            for (name, size), loss in self._told.items()
            if name == model and size <= up_to and np.isfinite(loss)
        )
        return [size for size, _loss in kept], [loss for _size, loss in kept]

    def _tie(self, model: str) -> bytes:
        return hashlib.blake2b(f"{self._seed}:{model}".encode(), digest_size=8).digest()


def rounded_up(share: float) -> float:
    """Round up to three digits, to at most 1."""
    step = 10.0 ** (math.floor(math.log10(share)) - 2)
    return min(1.0, math.ceil(share / step - 1e-6) * step)


def _grid(models: Sequence[str], sizes: Iterable[float]) -> list[Run]:
    """Return every model at every size, the small sizes first."""
    return [(model, size) for size in sizes for model in models]


def _checked_models(models: Sequence[str], costs: Mapping[str, float]) -> list[str]:
    names = as_list("models", models, "names of models")
    if not isinstance(costs, Mapping):
        raise BadSettingError("cost_per_example", costs, "a cost for each model by its name")
    if not names or len(set(names)) != len(names):
        raise BadSettingError("models", names, "at least one model, each named once")
    for name in names:
        positive_number(f"cost_per_example[{name!r}]", costs.get(name, "missing"))
    return names


def _checked_sizes(sizes: Sequence[float]) -> list[float]:
    given = as_list("sizes", sizes.tolist() if hasattr(sizes, "tolist") else sizes, "numbers of examples")
    if not given or not all(np.isfinite(as_number(size)) and as_number(size) > 0 for size in given):
        raise BadSettingError("sizes", given, "positive numbers of examples")
    return sorted(set(given))
