"""Which documents are chosen, and why each of the others is not."""

from tamis.selection.decide import EXCLUSIONS, Reason, select, selection_digest
from tamis.selection.errors import BadColumnError, BudgetExceedsPool, MissingColumnsError, RepeatedIdsError
from tamis.settings.budget import BadBudgetError, Budget, parse_budget
from tamis.settings.samplers import SAMPLERS, Sampler, find_sampler

# 2: decisions have a detail, ties of rivals follow ids; 3: characters of scripts without spaces are words
CODE_VERSION = "3"
SERVING_CODE_VERSION = "1"
KEEP_OUT_CODE_VERSION = "1"

__all__ = [
    "CODE_VERSION",
    "EXCLUSIONS",
    "KEEP_OUT_CODE_VERSION",
    "SAMPLERS",
    "SERVING_CODE_VERSION",
    "BadBudgetError",
    "BadColumnError",
    "Budget",
    "BudgetExceedsPool",
    "MissingColumnsError",
    "Reason",
    "RepeatedIdsError",
    "Sampler",
    "find_sampler",
    "parse_budget",
    "select",
    "selection_digest",
]
