"""Errors of runs, caps and settings of a mixture. All are `ValueError` too."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tamis.base.arguments import NO_NUMBERS, dense, is_whole
from tamis.base.errors import PermanentError, UnknownNameError


class BadWeightsError(PermanentError, ValueError):
    """Weights that are no mixture; `row` is the first offending row, None when the whole does not fit."""

    def __init__(self, problem: str, row: int | None = None) -> None:
        self.problem, self.row = problem, row
        super().__init__(problem if row is None else f"row {row}: {problem}")


class TooFewRunsError(PermanentError, ValueError):
    """A law needs more finished runs than there are; `target` is the column of the losses.

    `name`: of the target, in the graph.
    """

    def __init__(self, target: int, runs: int, needed: int, name: str | None = None) -> None:
        self.target, self.runs, self.needed, self.name = target, runs, needed, name
        law = f"a law over {needed - 2} sources needs at least {needed}"
        if name is None:
            super().__init__(f"target {target} has only {runs} finished runs, but {law}")
            return
        super().__init__(
            f"only {runs} runs have a loss on target {name}, but {law}; if runs diverged (see column failure "
            "of table mixture_runs), lower learning_rate in [pretraining], otherwise raise runs in [mixture]"
        )


class InfeasibleCapsError(PermanentError, ValueError):
    """No mixture fits under the caps; `total` is their sum, `caps` what each source may take."""

    def __init__(self, caps: Iterable[float], advice: str) -> None:
        self.caps = [float(cap) for cap in caps]
        self.total = sum(self.caps)
        shown = ", ".join(f"{cap:.3g}" for cap in self.caps[:12]) + (", ..." if len(self.caps) > 12 else "")
        super().__init__(
            f"no mixture is possible: the largest allowed shares of the sources, [{shown}], add up to "
            f"{self.total:.3g}, below 1; {advice}"
        )


class BadMixtureSettingError(PermanentError, ValueError):
    """A setting is outside its range; names the setting, what was found and what is valid."""

    def __init__(self, setting: str, found: object, expected: str) -> None:
        self.setting, self.found, self.expected = setting, found, expected
        super().__init__(f"{setting} = {found!r} is not valid; expected {expected}")


class UnknownMethodError(UnknownNameError, ValueError):
    """A method that does not exist; the message lists those that do."""


def setting_numbers(setting: str, values: ArrayLike, expected: str) -> NDArray[np.float64]:
    """Return values of a setting as float64; raise `BadMixtureSettingError` for what are no numbers."""
    try:
        return np.asarray(dense(values), dtype=float)
    except NO_NUMBERS:
        raise BadMixtureSettingError(setting, values, expected) from None


def checked_seed(seed: int) -> int:
    """Return a seed as an int; raise `BadMixtureSettingError` for what is no whole number of 0 or more."""
    if not is_whole(seed, 0):
        raise BadMixtureSettingError("seed", seed, "a whole number of 0 or more")
    return int(seed)
