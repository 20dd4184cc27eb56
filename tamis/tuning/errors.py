"""Errors of tuning: each says how much is needed of what there is too little of."""

from tamis.base.errors import PermanentError, UnknownNameError
from tamis.base.numbers import counted, significant


class RecipesError(PermanentError, ValueError):
    """Recipes that cannot be compared: too few, too many, of the same name, or without the reference."""


class UnknownRecipeError(UnknownNameError, ValueError):
    """A recipe that is not searched; the message lists those that are."""


class BudgetTooSmallError(PermanentError, ValueError):
    """The budget does not pay for the guard's runs and a search of two recipes, in FLOP.

    `before`: spent before the search begins, on choosing and on the runs that measure the speed; `measured`:
    whether all of it is known. `enough`: a budget that would do, in the unit of tamis.toml; "" if unknown.
    """

    def __init__(
        self,
        budget: float,
        guard: float,
        search: float,
        arms: int,
        seeds: int,
        pairs: int,
        before: float = 0.0,
        enough: str = "",
        measured: bool = True,
    ) -> None:
        self.budget, self.needed, self.enough = budget, guard + search + before, enough
        self.guard, self.search = guard, search
        self.arms, self.seeds, self.pairs = arms, seeds, pairs
        runs = f"{counted(2 * pairs, 'run')} of the guard"
        recipes = f"{counted(arms, 'recipe')} with {counted(seeds, 'seed')} each"
        choosing = f"{significant(before)} for choosing and the measured speed, " if before else ""
        cure = "is enough" if measured else "is the least, without all costs of choosing"
        super().__init__(
            f"the budget of {significant(budget)} FLOP is too small; the smallest search takes "
            f"{significant(self.needed)} FLOP: {significant(guard)} for the {runs}, {choosing}and "
            f"{significant(search)} for {recipes}" + (f'; budget = "{enough}" {cure}' if enough else "")
        )


class TooFewExamplesError(PermanentError, ValueError):
    """A part of a target's examples is too small to be measured on.

    `key`, `value`: what would do in the [[target]].
    """

    def __init__(self, part: str, examples: int, needed: int, key: str = "", value: int = 0) -> None:
        self.part, self.examples, self.needed = part, examples, needed
        target = f"; the target needs {key} = {value} or more" if key else ""
        super().__init__(
            f"{counted(examples, 'example')} for {part} {'is' if examples == 1 else 'are'} too few: at least "
            f"{needed} are needed{target}"
        )


class TooFewPairsError(PermanentError, ValueError):
    """Too few pairs of runs, winner and reference, ended with a loss.

    `failed`: runs that the next call makes again. `diverged`: runs that it does not. `reason`: of the last
    failure. `more`: whether a larger budget lets other pairs take the place of failed ones.
    """

    def __init__(
        self,
        pairs: int,
        needed: int,
        *,
        failed: int = 0,
        diverged: int = 0,
        reason: str = "",
        more: bool = False,
    ) -> None:
        self.pairs, self.needed = pairs, needed
        said = [
            f"only {counted(pairs, 'pair')} of runs ended with a loss in both; at least {needed} are needed"
        ]
        said += [f"The last failure: {reason}"] if reason else []
        if failed:
            said.append(f"The next call makes {counted(failed, 'failed run')} again")
        if diverged:
            said.append(f"{counted(diverged, 'run')} diverged and would again: lower the learning rate")
        if more:
            said.append("A larger budget lets other pairs take the place of failed ones")
        super().__init__(". ".join(said))


class NoLooksLeftError(PermanentError, ValueError):
    """The examples of the guard were used as often as they may be."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        super().__init__(
            f"the guard has read these held-out examples {looks} times, which is the most that its error "
            "rate allows; add new examples to the target"
        )


class NothingLearntError(PermanentError):
    """No run of the search has a loss, or none of the first that measure the speed; says why."""

    def __init__(self, runs: int, reason: str) -> None:
        super().__init__(f"none of {counted(runs, 'run')} ended with a loss; the last: {reason}")


class UnknownSpeedError(PermanentError):
    """A budget in time where the trainer's results state no seconds."""

    def __init__(self, budget: str) -> None:
        super().__init__(
            f'the results of [trainer] state 0 seconds, so budget = "{budget}" is no number of operations; '
            'state the seconds of each run, or give a budget such as "20%" or "1e15flop"'
        )


class UnknownSizeError(PermanentError):
    """A base model whose number of parameters nothing states, so its compute cannot be counted."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"the number of parameters of base model {model} is unknown, so [tune] cannot count its compute; "
            "name a folder with its weights as path"
        )


class LabelledTargetError(PermanentError):
    """A target with labels, of which runs on documents learn none."""

    def __init__(self, target: str) -> None:
        super().__init__(
            f"target {target} has labels, and runs of [tune] are measured by their loss on texts or answers; "
            "name another target"
        )
