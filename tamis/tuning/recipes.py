"""Recipes to train by: a sampler with its share, a base model and a learning rate, as [tune] lists them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from tamis.settings.budget import Budget, parse_budget
from tamis.settings.samplers import weighs_quality
from tamis.settings.training_sections import TuneSection
from tamis.store.digests import canonical_digest
from tamis.tuning.search import RANDOM

EXAMPLES = "examples alone"
"""Name of the recipe that learns the target's own training examples, and no documents."""
ALWAYS = (RANDOM, "got-d", "knn")
"""Samplers that reach the last round of a search, at the first of everything else."""


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """A way to train; `sampler` None: on the training examples of the target, without documents."""

    sampler: str | None
    share: int | str | None
    quality_weight: float | None
    model: str
    learning_rate: float

    @property
    def values(self) -> dict[str, Any]:
        """The columns of tables that describe it."""
        return {
            "sampler": self.sampler,
            "share": None if self.share is None else str(self.share),
            "quality_weight": self.quality_weight,
            "model": self.model,
            "learning_rate": self.learning_rate,
        }


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """Recipes by name, those that always reach the last round, and every recipe of [tune]."""

    by_name: Mapping[str, TrainingRecipe]
    fixed: frozenset[str]
    every: Sequence[TrainingRecipe]

    @property
    def left_out(self) -> int:
        """Number of the recipes that are not searched."""
        return len(self.every) - len(self.by_name)

    @property
    def reference(self) -> str:
        """Name of the recipe with random documents that the search compares with."""
        return next(name for name, recipe in self.by_name.items() if recipe.sampler == RANDOM)

    def reference_of(self, winner: str) -> tuple[str, TrainingRecipe]:
        """Return what a winner is tested against: random documents, trained in the same way."""
        recipe, first = self.by_name[winner], self.by_name[self.reference]
        if recipe.sampler == RANDOM:
            return self.reference, first
        share = first.share if recipe.share is None else recipe.share
        against = replace(recipe, sampler=RANDOM, share=share, quality_weight=None)
        return _name(against, self.every), against


def recipes_of(section: TuneSection, rates: Mapping[str, Sequence[float]], seed: int) -> Recipes:
    """Return the recipes of [tune]: every combination, or as many as `recipes` allows.

    `rates`: learning rates by base model. The first of everything comes first, with each of the samplers that
    always reach the last round; of the others a hash of seed and recipe decides.
    """
    samplers = dict.fromkeys((RANDOM, *section.samplers))
    shares: dict[Budget, int | str] = {}
    for share in section.shares:
        shares.setdefault(parse_budget(share), share)
    weights = section.quality_weights or (1.0,)
    every: list[TrainingRecipe] = []
    for model in dict.fromkeys(section.models):
        for rate in dict.fromkeys(rates[model]):
            every += [
                TrainingRecipe(
                    sampler=sampler, share=share, quality_weight=weight, model=model, learning_rate=rate
                )
                for share, sampler in product(shares.values(), samplers)
                for weight in (dict.fromkeys(weights) if weighs_quality(sampler) else (None,))
            ]
            every.append(
                TrainingRecipe(sampler=None, share=None, quality_weight=None, model=model, learning_rate=rate)
            )
    first = every[0]
    fixed = [
        recipe
        for recipe in every
        if (recipe.model, recipe.learning_rate) == (first.model, first.learning_rate)
        and recipe.share in (first.share, None)
        and recipe.sampler in (None, *ALWAYS)
    ][: section.recipes]
    others = sorted(
        (recipe for recipe in every if recipe not in fixed),
        key=lambda recipe: canonical_digest(f"{seed}|{recipe.values}"),
    )
    kept = {*fixed, *others[: section.recipes - len(fixed)]}
    named = {_name(recipe, every): recipe for recipe in every if recipe in kept}
    return Recipes(
        by_name=named,
        fixed=frozenset(name for name, recipe in named.items() if recipe in fixed),
        every=every,
    )


def _name(recipe: TrainingRecipe, every: Sequence[TrainingRecipe]) -> str:
    """Return the sampler, and what else of the recipe differs between recipes."""

    def differs(key: str) -> bool:
        return len({getattr(other, key) for other in every} - {None}) > 1

    parts = [recipe.sampler or EXAMPLES]
    if recipe.share is not None and differs("share"):
        parts.append(str(recipe.share))
    if recipe.quality_weight is not None and differs("quality_weight"):
        parts.append(f"quality x {_exact(recipe.quality_weight)}")
    if differs("model"):
        parts.append(recipe.model)
    if differs("learning_rate"):
        parts.append(f"rate {_exact(recipe.learning_rate)}")
    return ", ".join(parts)


def _exact(value: float) -> str:
    """Return a number in few characters, with all digits where six would name another number."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
