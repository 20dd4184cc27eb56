"""The share of each source to train on: laws from small runs, the mixture that is best under caps, reuse."""

from tamis.mixture.errors import (
    BadMixtureSettingError,
    BadWeightsError,
    InfeasibleCapsError,
    TooFewRunsError,
    UnknownMethodError,
)
from tamis.mixture.law import MixtureLaw, fit_mixture_law
from tamis.mixture.optimum import Mixture, best_mixture, marginal_values, unimax, worth_of_repeats
from tamis.mixture.proposing import propose_runs, runs_needed
from tamis.mixture.reuse import Reuse, plan_reuse

CODE_VERSION = (
    "3"  # 2: runs that are outliers count in no interval or deviation; 3: wider intervals of few runs
)

__all__ = [
    "CODE_VERSION",
    "BadMixtureSettingError",
    "BadWeightsError",
    "InfeasibleCapsError",
    "Mixture",
    "MixtureLaw",
    "Reuse",
    "TooFewRunsError",
    "UnknownMethodError",
    "best_mixture",
    "fit_mixture_law",
    "marginal_values",
    "plan_reuse",
    "propose_runs",
    "runs_needed",
    "unimax",
    "worth_of_repeats",
]
