"""Errors of tuning: each says how much is needed of what there is too little of."""

from tamis.base.errors import PermanentError, UnknownNameError
from tamis.base.numbers import counted, significant


class RecipesError(PermanentError, ValueError):
    """Recipes that cannot be compared: too few, too many, of the same name, or without the reference."""


class UnknownRecipeError(UnknownNameError, ValueError):
    """A recipe that is not searched; the message lists those that are."""


class BudgetTooSmallError(PermanentError, ValueError):
    """The budget does not pay for the guard's runs and a search of two recipes, in FLOP."""

    def __init__(self, budget: float, guard: float, search: float, arms: int, seeds: int, pairs: int) -> None:
        self.budget, self.needed = budget, guard + search
        runs = f"{counted(2 * pairs, 'run')} of the guard"
        recipes = f"{counted(arms, 'recipe')} with {counted(seeds, 'seed')} each"
        super().__init__(
            f"the budget of {significant(budget)} FLOP is too small; the smallest search takes "
            f"{significant(self.needed)} FLOP: {significant(guard)} for the {runs}, and "
            f"{significant(search)} for {recipes}"
        )


class TooFewExamplesError(PermanentError, ValueError):
    """A part of a target's examples is too small to be measured on."""

    def __init__(self, part: str, examples: int, needed: int, in_all: int | None = None) -> None:
        self.part, self.examples, self.needed = part, examples, needed
        target = "" if in_all is None else f"; a target of {in_all} examples or more has enough"
        super().__init__(
            f"{counted(examples, 'example')} for {part} {'is' if examples == 1 else 'are'} too few: at least "
            f"{needed} are needed{target}"
        )


class TooFewPairsError(PermanentError, ValueError):
    """Too few pairs of runs, winner and random, ended with a loss."""

    def __init__(self, pairs: int, needed: int) -> None:
        self.pairs, self.needed = pairs, needed
        super().__init__(
            f"only {counted(pairs, 'pair')} of winner and random ended with a loss; the guard needs at least "
            f"{needed}"
        )


class NoLooksLeftError(PermanentError, ValueError):
    """The examples of the guard were used as often as they may be."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        super().__init__(
            f"the guard has read these held-out examples {looks} times, which is the most that its error "
            "rate allows; add new examples to the target"
        )
