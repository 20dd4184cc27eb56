"""Choose a base model under a budget: run all on little data, keep those predicted best at full size, go on.

Successive halving by extrapolated loss (`schedule`, `trend`). On random 20-model subsets of the public
curves with 0.5 % noise its mean regret at 7 % of the cost of tuning every model is .5 %, at 30 % it is
.1 %; that of Accept-then-Stop at 25 % is 1.1 %. Decisions of a round rest on the results of the rounds
before it and on nothing else, so the state is a function of what was told, in any order, and a search can
be rebuilt after a crash by telling it again.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from tamis.scaling.errors import BadSettingError, one_of
from tamis.scaling.measurements import Floats, measured, number_of, positive_number
from tamis.scaling.methods import by_trend
from tamis.scaling.schedule import choose_start, next_round

Run = tuple[str, float]
THRIFT = 0.01  # 1 % of the loss per factor e of cost: keeps one huge model from eating the others' rounds
ROUNDING = 1e-9  # of the budget, so that sums of costs which should meet it do


class BudgetedSearch:
    """Ask which runs to make, tell their losses, until `ask` returns nothing; then read `choice`.

    A run of a model on a size costs cost_per_example[model] * size, counted once, when it is first asked or
    told. The budget is `budget_share` of running every model at the largest size; what is asked never
    passes it (runs told without being asked are charged all the same). Raises `ValueError`s that name the
    setting for models that repeat, sizes or costs that are not positive, a model without a cost.
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
        self._charged: set[Run] = set()
        self._dropped: set[Run] = set()
        self._asked: set[Run] = set()
        self._planned: list[Run] = []
        self._round: list[Run] = []
        self._alive: list[str] = []
        self._rung = -1
        self._begin()

    @property
    def spent_share(self) -> float:
        """Cost of all runs asked or told so far, as a share of running every model at the largest size."""
        return sum(self._cost(run) for run in self._charged) / self._full_cost

    @property
    def choice(self) -> str | None:
        """The model to take by what is known now: None until some run has succeeded."""
        known = [model for model in self._models if self._curve(model, list(self._told))[0]]
        contenders = [model for model in self._alive if model in known] or known
        order = self._ranked(contenders, list(self._told))
        return order[0] if order else None

    @property
    def round_begun(self) -> bool:
        """Whether some runs of the present round are told and others are not."""
        return bool(self._open()) and any(run in self._told for run in self._round)

    def ask(self) -> list[tuple[str, float]]:
        """The open runs of the present round, best model first; [] when the budget or the sizes are used up.

        Runs are charged when first returned. Until all are told, `ask` returns those still open.
        """
        runs = self._open()
        self._asked.update(runs)
        self._charged.update(runs)
        return runs

    def tell(self, model: str, size: float, loss: float | None) -> None:
        """The loss of a run; NaN (or None, infinite, not positive) = it failed, at full cost.

        A repeated tell replaces the loss and costs nothing. Raises `UnknownChoiceError` for a model and
        `BadSettingError` for a size that is not positive.
        """
        one_of("model", model, self._models)
        positive_number("size", size, "a positive number of examples")
        found = _loss_told(loss)
        self._told[model, size] = found if np.isfinite(found) and found > 0 else float("nan")
        self._charged.add((model, size))
        self._advance()

    def _cost(self, run: Run) -> float:
        return self._costs[run[0]] * run[1]

    def _open(self) -> list[Run]:
        return [run for run in self._round if run not in self._told and run not in self._dropped]

    def _begin(self) -> None:
        """Plan the first round: all models, or as many of the cheapest as the smallest size allows."""
        costs = np.array([self._costs[model] for model in self._models])
        start = choose_start(costs, np.array(self._sizes, dtype=np.float64), self._budget)
        if start is None:
            self._alive, self._rung, left = [], 0, self._budget
            for model in sorted(self._models, key=lambda name: (self._costs[name], self._tie(name))):
                left -= self._cost((model, self._sizes[0]))
                self._alive += [model] if left >= 0 else []
        else:
            self._alive, self._rung = list(self._models), start.last
        first = self._rung if start is None else start.first
        self._plan([(model, size) for size in self._sizes[first : self._rung + 1] for model in self._alive])

    def _plan(self, runs: list[Run]) -> None:
        self._round = runs
        self._planned += runs

    def _advance(self) -> None:
        """Drop what is no longer affordable; when a round is complete, plan the next."""
        while True:
            self._drop_unaffordable()
            if self._open() or not self._round:
                return
            self._next_round()

    def _drop_unaffordable(self) -> None:
        """Runs told without being asked may have used the budget of planned ones, the last of which go."""
        left = self._budget - sum(self._cost(run) for run in self._charged)
        for run in self._open():
            if run not in self._asked:
                left -= self._cost(run)
                if left < 0:
                    self._dropped.add(run)

    def _next_round(self) -> None:
        order = self._ranked(self._alive, self._planned, thrift=THRIFT)
        done = [run for run in self._planned if run not in self._dropped]
        left = self._budget - sum(self._cost(run) for run in done)
        costs = np.array([self._costs[model] for model in order])
        sizes = np.array(self._sizes, dtype=np.float64)
        following = next_round(costs, sizes, self._rung, left) if len(order) > 1 else None
        count, self._rung = following or (0, self._rung)
        if order:
            self._alive = order[:count] or order
        self._plan([(model, self._sizes[self._rung]) for model in order[:count]])

    def _ranked(self, models: list[str], runs: list[Run], thrift: float = 0.0) -> list[str]:
        """Those of the models with a usable result, by predicted loss at the largest size.

        The curves of all models shape the prediction. A loss measured at the largest size stands as it is.
        `thrift` is what a model e times as costly must promise in log loss to take the same place.
        """
        curves = {model: self._curve(model, runs) for model in self._models}
        usable = [model for model, (sizes, _losses) in curves.items() if sizes]
        if not usable:
            return []
        cleaned = [measured(*curves[model]).up_to(self._sizes[-1]) for model in usable]
        predicted: Floats = by_trend(cleaned, float(self._sizes[-1])).log_losses
        losses = dict(zip(usable, predicted.tolist(), strict=True))
        for model in usable:
            full = self._told.get((model, self._sizes[-1]), float("nan"))
            if np.isfinite(full) and self._sizes[-1] in curves[model][0]:
                losses[model] = float(np.log(full))
        places = {
            model: losses[model] + thrift * np.log(self._costs[model]) for model in models if model in losses
        }
        return sorted(places, key=lambda model: (places[model], self._tie(model)))

    def _curve(self, model: str, runs: list[Run]) -> tuple[list[float], list[float]]:
        """Sizes and losses of the successful among the runs of one model."""
        kept = [run for run in runs if run[0] == model and np.isfinite(self._told.get(run, np.nan))]
        return [size for _model, size in kept], [self._told[run] for run in kept]

    def _tie(self, model: str) -> bytes:
        return hashlib.blake2b(f"{self._seed}:{model}".encode(), digest_size=8).digest()


def _checked_models(models: Sequence[str], costs: Mapping[str, float]) -> list[str]:
    names = list(models)
    if not names or len(set(names)) != len(names):
        raise BadSettingError("models", names, "at least one model, each named once")
    for name in names:
        positive_number(f"cost_per_example[{name!r}]", costs.get(name, "missing"))
    return names


def _checked_sizes(sizes: Sequence[float]) -> list[float]:
    given = list(sizes)
    if not given or not all(np.isfinite(number_of(size)) and number_of(size) > 0 for size in given):
        raise BadSettingError("sizes", given, "positive numbers of examples")
    return sorted(set(given))


def _loss_told(loss: float | None) -> float:
    # What is no number at all is a mistake and not a failed run.
    if loss is None:
        return float("nan")
    found = number_of(loss)
    if np.isnan(found) and not isinstance(loss, float | np.floating):
        raise BadSettingError("loss", loss, "a number, or NaN for a run that failed")
    return found
