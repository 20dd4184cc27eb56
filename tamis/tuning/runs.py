"""Runs of a search and of its guard, from and into the store: what comes next, and what came of it.

Which runs come next follows from the rows of those that have ended, so whoever asks, after a kill too, goes
on where the last one was. A run is named by all that decides its losses: none is made twice.
"""

import json
import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.base.numbers import brief, counted
from tamis.comparison.runs import bring_back, set_aside
from tamis.corpus.intake import texts_of
from tamis.coverage.sampling import keyed_uniform
from tamis.evaluation.controls import POOL
from tamis.selection import select
from tamis.selection.computing import ScoringOptions, method_scores
from tamis.selection.pool import candidates, exclusions
from tamis.settings.budget import Compute, compute_of, parse_compute, scaled
from tamis.settings.config import FiltersSection, SelectionSection, TransportSection
from tamis.settings.samplers import DEFAULT_OPTIONS, find_sampler
from tamis.settings.sections import ScoreSection
from tamis.settings.training_sections import TuneSection
from tamis.store.digests import canonical_digest
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, one_of, quoted
from tamis.store.vectors import VectorBlocks
from tamis.trainer.batches import DIVERGED, Batch, BatchRun
from tamis.training.examples import Example, Labelled
from tamis.training.followed import MeasuredOptions, MeasuredRun, Start
from tamis.training.stage import TRAINED_ON
from tamis.training.storing import keyed_order, split_examples, without_validation
from tamis.transport.prepare import FewTargetPoints
from tamis.transport.scoring import PoolScoring
from tamis.transport.solve import solve_potential
from tamis.transport.storing import target_vectors
from tamis.tuning.answer import Measured, answer
from tamis.tuning.errors import (
    BudgetTooSmallError,
    LabelledTargetError,
    NothingLearntError,
    TooFewPairsError,
    UnknownSpeedError,
)
from tamis.tuning.guard import Pairs, Verdict, judge, level_of
from tamis.tuning.net import Net, Spent, net
from tamis.tuning.parts import divide
from tamis.tuning.recipes import Recipes, TrainingRecipe
from tamis.tuning.search import PAIRS, RANDOM, SHARES, Asked, Recipe, Search, sub_pool
from tamis.tuning.stage import RECIPES, TUNE_ANSWERS, TUNE_LOOKS, TUNE_RUNS, TUNE_RUNS_LEFT

TABLE, LEFT = TUNE_RUNS.name, TUNE_RUNS_LEFT.name
RATE, SEARCH, GUARD = "rate", "search", "guard"
"""Parts of a tuning: a first run that measures the speed, runs that rank recipes, runs that test the best."""
MEASURES = {RATE: "the speed of this machine", GUARD: "the winner and random documents"}
VALIDATION, HELD_OUT, CONTROL = "validation", "held_out", "control"
OF_FIT = frozenset({"transport_gradient", "nearest_cost"})
"""Stored scores that follow from the training examples of the target."""
MOST_CONTROL, FEWEST_CONTROL = 150, 20
"""Documents of the pool that no run trains on, where tamis.toml has no [[control]]; at most a tenth of it."""
SPEED = ((0, SHARES[-1]), (1, SHARES[-1]), (0, SHARES[2]), (0, SHARES[0]))
"""Seeds and sizes of the runs that measure the speed, the next while each is too short."""
LEAST_SECONDS = 3.0
"""In less, the first steps and measuring hide the speed of training."""
FLOP_PER_TOKEN = 6.0
"""Of forward and backward passes, for each parameter."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """The examples of a target by id: what samplers fit, and what the search and the guard measure."""

    fit: Mapping[str, Example]
    validation: Mapping[str, Example]
    guard: Mapping[str, Example]

    @property
    def held_out(self) -> str:
        """Digest of the examples that the guard reads."""
        return canonical_digest("\n".join(sorted(self.guard)))


def goal_of(store: Store, target: str, threshold: float, seed: int) -> Goal:
    """Divide the examples of a target, near-duplicates never apart.

    `threshold`: similarity of near-duplicates. Raises `TooFewExamplesError` and `LabelledTargetError`.
    """
    train, held_out = (split_examples(store, target, split) for split in ("train", "held_out"))
    if any(isinstance(example, Labelled) for example in held_out.values()):
        raise LabelledTargetError(target)
    parts = divide(len(train), len(held_out))
    validation, fit = without_validation(train, parts.validation, threshold, seed)
    guard, _unread = without_validation(held_out, parts.guard, threshold, seed)
    return Goal(fit=fit, validation=validation, guard=guard)


@dataclass(frozen=True, kw_only=True)
class ControlTexts:
    """Texts off the goal that the guard's runs are measured on; `digest` identifies them."""

    name: str
    texts: Sequence[str]
    digest: str


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A configured tuning: what is searched, from which models, and how runs are trained and measured.

    `basis`: digest of all that a run of a recipe depends on besides the recipe, its seed and its size.
    `starts`, `parameters` and `options` are by base model. `scoring`: options by which a sampler scores.
    `choosing_seconds`: time of the steps that samplers need, which random documents do not.
    `control`: None for a part of the pool.
    """

    section: TuneSection
    recipes: Recipes
    basis: Callable[[TrainingRecipe], str]
    seed: int
    goal: Goal
    filters: FiltersSection
    transport: TransportSection
    starts: Mapping[str, Start]
    parameters: Mapping[str, float]
    options: Mapping[str, MeasuredOptions]
    scoring: Callable[[str], ScoringOptions]
    choosing_seconds: Callable[[Collection[str]], float]
    scores: Sequence[ScoreSection] = ()
    control: ControlTexts | None = None

    def flop(self, recipe: TrainingRecipe, tokens: float) -> float:
        """Return the operations of training on so many tokens."""
        return FLOP_PER_TOKEN * self.parameters[recipe.model] * tokens

    @property
    def dearest(self) -> float:
        """Operations of the dearest run at full size."""
        return max(self.flop(recipe, self.section.tokens) for recipe in self.recipes.by_name.values())


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """A run that is planned: the part of the tuning it is for, its recipe, seed and size."""

    part: str
    name: str
    recipe: TrainingRecipe
    seed: int
    portion: float = 1.0
    look: int = 0
    reference: bool = False

    @property
    def label(self) -> str:
        """For people."""
        size = "" if self.portion == 1 else f", {self.portion:g} of the tokens"
        look = f" of look {self.look}" if self.look else ""
        return f"{self.part} {self.name}, seed {self.seed}{look}{size}"


class Progress:
    """Progress of a tuning, by the rows of the runs that have ended.

    Raises `BudgetTooSmallError`, `NothingLearntError` and `NoLooksLeftError`.
    """

    def __init__(self, store: Store, tuning: Tuning) -> None:
        self.store, self.tuning = store, tuning
        self.section, self.recipes = tuning.section, tuning.recipes
        self.used: list[str] = []
        self._rows: dict[str, dict[str, Any]] = {}
        self._names: dict[str, str] = {}
        self.rate, self.winner, self.look = 0.0, "", 0
        self._scoring: dict[str, tuple[float, float]] = {}
        self.search: Search | None = None
        self.pairs: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._more_pairs = self._measured = False
        self._chosen: dict[tuple[Any, ...], list[str]] = {}

    def advance(self) -> Batch | None:
        """Return the runs that come next, by the rows that there are now; None once the winner is tested."""
        if batch := self._measure_rate():
            return batch
        self.search = search = self._searched()
        while asked := search.ask():
            planned = [self._asked(run) for run in asked]
            rows = self._read(planned)
            if missing := [run for run, row in zip(planned, rows, strict=True) if row is None]:
                return self._batch(missing)
            for run, row in zip(asked, rows, strict=True):
                assert row is not None
                # Runs that measure the speed have been taken off the budget before.
                flop = 0.0 if row["part"] == RATE else self._flop(row)
                search.tell(run.recipe, run.seed, run.share, row["bits_per_byte"], flop)
        winner = search.choice
        if winner is None:
            raise NothingLearntError(*self._forget_failures())
        self.winner = winner
        return self._guarded()

    def _measure_rate(self) -> Batch | None:
        """Return the run that measures the speed of this machine next; None once it is known.

        It stays 0 where a trainer states no seconds.
        """
        tried = set()
        for name, recipe in self.recipes.by_name.items():
            if recipe.sampler != RANDOM or (recipe.model, recipe.learning_rate) in tried:
                continue
            measured = []
            for seed, portion in SPEED:
                run = _Planned(part=RATE, name=name, recipe=recipe, seed=seed, portion=portion)
                (row,) = self._read([run])
                if row is None and not self._pays_for(run):
                    break
                if row is None:
                    return self._batch([run])
                if row["failure"] is None:
                    measured.append(row)
                    # Whatever else the machine does makes a run slower, never faster.
                    self.rate = max(_speed(row) for row in measured)
                elif not measured:
                    break
                is_long = len(measured) > 1 and (row["seconds"] or 0.0) >= LEAST_SECONDS
                if is_long or not self.rate:
                    break
            if measured:
                return self._measure_scoring()
            tried.add((recipe.model, recipe.learning_rate))
        raise NothingLearntError(*self._forget_failures())

    def _pays_for(self, run: _Planned) -> bool:
        """Return whether the budget pays for a run that measures the speed, and for all that must follow.

        A run that no smallest search makes has to fit in half of it, since costs of scores are unknown.
        Raises `BudgetTooSmallError` before the first run, unless the budget is a time.
        """
        budget, needed = self.section.budget, self.tuning.flop(run.recipe, self.section.tokens * run.portion)
        if budget is None:
            return True
        if run.portion == SHARES[-1]:
            if run.seed == 0 and parse_compute(budget).unit != "seconds":
                self._searched(2 * needed)
            return True
        try:
            self._searched(needed + self.budget / 2)
        except BudgetTooSmallError:
            return False
        return True

    def _measure_scoring(self) -> Batch | None:
        """Return a run of each sampler whose scores the search computes, unless their seconds are known."""
        first: dict[str, _Planned] = {}
        for name, recipe in self.recipes.by_name.items():
            if recipe.sampler is None or recipe.sampler in first:
                continue
            sampler = find_sampler(recipe.sampler)
            if sampler.method or not OF_FIT.isdisjoint(sampler.score_columns):
                run = _Planned(part=RATE, name=name, recipe=recipe, seed=0, portion=SHARES[-1])
                first[recipe.sampler] = run
        rows = self._read(list(first.values()))
        if missing := [run for run, row in zip(first.values(), rows, strict=True) if row is None]:
            if self.section.budget is not None:
                # Raises where the budget is too small whatever the scores cost.
                size = self.section.tokens * SHARES[-1]
                self._searched(math.fsum(self.tuning.flop(run.recipe, size) for run in missing))
            return self._batch(missing)
        for name, row in zip(first, rows, strict=True):
            assert row is not None
            # Scores by the examples to fit are computed once, for all runs of the search.
            if find_sampler(name).method:
                whole = row["pool_seconds"] or 0.0
                part = max((row["scoring_seconds"] or 0.0) - whole, 0.0)
                slope = max(whole - part, 0.0) / (1 - row["portion"])
                self._scoring[name] = whole, max(whole - slope, 0.0)
        self._measured = True
        return None

    def _scoring_flop(self, recipe: TrainingRecipe) -> tuple[float, float]:
        """Operations of scoring the whole pool for a recipe, and of what precedes the first document."""
        whole, start = self._scoring.get(recipe.sampler or "", (0.0, 0.0))
        return self.rate * whole, self.rate * start

    def _forget_failures(self) -> tuple[int, str]:
        """Delete the rows of runs that a person may have made again; return how many have failed, and why.

        A run that has diverged would diverge again.
        """
        reasons = {key: row["failure"] for key, row in self._rows.items() if row["failure"]}
        again = [key for key, reason in reasons.items() if not reason.startswith(DIVERGED)]
        if again:
            self.store.delete(TABLE, one_of("run", again))
        for key in again:
            del self._rows[key]
        return len(reasons), next(reversed(reasons.values()), "no recipe was searched")

    @property
    def choosing(self) -> float:
        """Operations of choosing for every sampler that is searched, from their seconds."""
        return self.rate * self._choosing_seconds

    @cached_property
    def _choosing_seconds(self) -> float:
        samplers = {recipe.sampler for recipe in self.recipes.by_name.values() if recipe.sampler}
        return self.tuning.choosing_seconds(samplers)

    @property
    def budget(self) -> float:
        """The budget in operations."""
        if self.section.budget is None:
            runs = 2 * self.section.pairs + len(self.recipes.by_name)
            scoring = [self._scoring_flop(recipe)[0] for recipe in self.recipes.by_name.values()]
            scores = math.fsum(scoring) + max(scoring)
            return runs * self.tuning.dearest + scores + self.choosing + self._spent(RATE)
        compute = parse_compute(self.section.budget)
        return compute.amount * self._unit(compute)

    def _unit(self, compute: Compute) -> float:
        """Return the operations of a FLOP, a second of this machine, or a percent of the dearest training."""
        if compute.unit == "flop":
            return 1.0
        if compute.unit == "seconds":
            if not self.rate:
                raise UnknownSpeedError(str(self.section.budget))
            return self.rate
        tokens = self.section.train_tokens or max(1, int(self._pool["n_tokens"].sum()))
        return self.tuning.dearest * tokens / self.section.tokens / 100

    def _budget_of(self, flop: float) -> str:
        """Return a budget of at least so many operations, in the unit of that of tamis.toml."""
        compute = parse_compute(str(self.section.budget))
        return compute_of(flop / self._unit(compute), compute.unit)

    def _searched(self, ahead: float = 0.0) -> Search:
        """Return the search under what is left of the budget; `ahead`: operations of runs that precede it.

        The guard tests the winner against random documents with the winner's model, which may be dearer than
        those that the search compares with.
        """
        section, reference = self.section, self.recipes.by_name[self.recipes.reference]
        dearer = section.pairs * (self.tuning.dearest - self.tuning.flop(reference, section.tokens))
        before = self.choosing + self._spent(RATE) + ahead
        recipes = [
            Recipe(
                name=name,
                flop=self.tuning.flop(recipe, section.tokens),
                scoring=self._scoring_flop(recipe)[0],
                start=self._scoring_flop(recipe)[1],
                fixed=name in self.recipes.fixed,
            )
            for name, recipe in self.recipes.by_name.items()
        ]
        try:
            return Search(
                recipes,
                max(self.budget - before - dearer, 1.0),
                pairs=section.pairs,
                reference=self.recipes.reference,
                seed=self.tuning.seed,
            )
        except BudgetTooSmallError as error:
            # The search knows what is left of the budget; a person knows the budget of tamis.toml.
            guard, search, counts = error.guard + dearer, error.search, (error.arms, error.seeds, error.pairs)
            enough = self._budget_of(guard + search + before)
            raise BudgetTooSmallError(
                self.budget, guard, search, *counts, before, enough, measured=self._measured
            ) from None

    def _asked(self, run: Asked) -> _Planned:
        return _Planned(
            part=SEARCH,
            name=run.recipe,
            recipe=self.recipes.by_name[run.recipe],
            seed=run.seed,
            portion=run.share,
        )

    def _guarded(self) -> Batch | None:
        """Return the runs of the guard that are missing; of a pair with a failed run another takes the place.

        There are at most twice as many pairs as asked for, within the budget.
        """
        self.look = self._look()
        asked = planned = self.section.pairs
        while True:
            runs = [run for pair in range(planned) for run in self._pair(pair)]
            rows = self._read(runs)
            if missing := [run for run, row in zip(runs, rows, strict=True) if row is None]:
                return self._batch(missing)
            known = [row for row in rows if row is not None]
            pairs = list(zip(known[::2], known[1::2], strict=True))
            self.pairs = [(own, other) for own, other in pairs if not (own["failure"] or other["failure"])]
            further = min(asked - len(self.pairs), 2 * asked - planned)
            pair_flop = sum(self.tuning.flop(run.recipe, self.section.tokens) for run in self._pair(0))
            spent = self.choosing + self._spent(RATE) + self._spent(SEARCH) + self._spent(GUARD)
            paid = int(max(self.budget - spent, 0.0) / pair_flop)
            if min(further, paid) <= 0:
                self._more_pairs = further > 0
                return None
            further = min(further, paid)
            planned += further

    def _pair(self, pair: int) -> tuple[_Planned, _Planned]:
        against, reference = self.recipes.reference_of(self.winner)
        own = self.recipes.by_name[self.winner]
        return (
            _Planned(part=GUARD, name=self.winner, recipe=own, seed=pair, look=self.look),
            _Planned(part=GUARD, name=against, recipe=reference, seed=pair, look=self.look, reference=True),
        )

    @cached_property
    def _winner_key(self) -> str:
        winner = self.recipes.by_name[self.winner]
        named = [self._basis(winner), winner.values, self.section.pairs, self.section.tokens]
        return canonical_digest(json.dumps(named, sort_keys=True))

    def _basis(self, recipe: TrainingRecipe) -> list[str]:
        """Return what the runs of a recipe depend on, with the part of the pool that is the control.

        Which part that is follows from the documents that the base models have trained on.
        """
        return [self.tuning.basis(recipe), *self._control_ids]

    @cached_property
    def _digests(self) -> list[str]:
        """Digests of the ids of the examples that the guard reads, which outlive the examples."""
        return [canonical_digest(doc_id)[:16] for doc_id in sorted(self.tuning.goal.guard)]

    @property
    def looks(self) -> int:
        """Number of the last look that counts: it read half of the examples of the guard or more."""
        rows = self.store.read(TUNE_LOOKS.name)
        shared = pl.col("examples").list.eval(pl.element().is_in(self._digests)).list.sum()
        return int(rows.filter(2 * shared >= len(self._digests))["look"].max() or 0)  # type: ignore[arg-type]

    def _look(self) -> int:
        """Return the number of this look at the held-out examples: that of the winner, or the next one."""
        rows = self.store.read(TUNE_LOOKS.name)
        own = rows.filter(winner=self._winner_key, held_out=self.tuning.goal.held_out)
        if len(own):
            return int(own["look"].min())  # type: ignore[arg-type]
        look = self.looks + 1
        level_of(look)
        self._note_look(look, None)
        return look

    def _note_look(self, look: int, shipped: bool | None) -> None:
        known = self.store.read(
            TUNE_LOOKS.name, where=f"held_out = {quoted(self.tuning.goal.held_out)} AND look = {look}"
        )
        row = {
            "held_out": self.tuning.goal.held_out,
            "look": look,
            "examples": self._digests,
            "target": self.section.target,
            "winner": self._winner_key,
            "recipe": self.winner,
            "shipped": shipped,
            "begun_at": known["begun_at"][0] if len(known) else datetime.now(UTC).replace(tzinfo=None),
        }
        self.store.merge(TUNE_LOOKS.name, pa.Table.from_pylist([row], schema=schema_of(TUNE_LOOKS.name)))

    def _flop(self, row: Mapping[str, Any]) -> float:
        """Operations of a run, with scores that were computed for it."""
        return float(row["flop"] + self.rate * (row["scoring_seconds"] or 0.0))

    def _spent(self, part: str) -> float:
        return math.fsum(self._flop(row) for row in self._rows.values() if row["part"] == part)

    def _seconds(self, part: str, *keys: str) -> float:
        """Sum of columns with seconds, by default of training and scoring, over the runs of a part."""
        rows = [row for row in self._rows.values() if row["part"] == part]
        return math.fsum(row[key] or 0.0 for row in rows for key in keys or ("seconds", "scoring_seconds"))

    def _read(self, runs: Sequence[_Planned]) -> list[dict[str, Any] | None]:
        """Return the row of each run, None where it has none; a row that was set aside is brought back."""
        keys = [self._key(run) for run in runs]
        self._names |= {key: run.name for key, run in zip(keys, runs, strict=True)}
        if missing := [key for key in keys if key not in self._rows]:
            bring_back(self.store, missing, TABLE, LEFT)
            for row in self.store.read(TABLE, where=one_of("run", missing)).iter_rows(named=True):
                self._rows[row["run"]] = row
        self.used += [key for key in keys if key not in self.used]
        return [self._rows.get(key) for key in keys]

    def _key(self, run: _Planned) -> str:
        size = sub_pool(max(1, len(self._pool)), self.section.tokens, run.portion)
        named = [
            self._basis(run.recipe),
            run.part != GUARD,
            run.recipe.values,
            run.seed,
            size,
            run.look,
        ]
        named += [run.reference, self.tuning.goal.held_out if run.part == GUARD else ""]
        return canonical_digest(json.dumps(named, sort_keys=True))[:32]

    @cached_property
    def _eligible(self) -> pl.DataFrame:
        """Documents that nothing keeps out, by id: doc_id and n_tokens."""
        section = SelectionSection(name="tune", sampler=RANDOM, target=self.section.target, budget="100%")
        excluded = exclusions(self.store, self.tuning.filters)
        return candidates(self.store, section).join(excluded, on="doc_id", how="anti").sort("doc_id")

    @cached_property
    def _pool(self) -> pl.DataFrame:
        """Documents that may be chosen: those eligible without those of the control."""
        return self._eligible.filter(~pl.col("doc_id").is_in(self._control_ids))

    @cached_property
    def _control_ids(self) -> list[str]:
        """Documents of the pool that are the control, which no model trained on; none with [[control]]."""
        if self.tuning.control is not None:
            return []
        seen = self.store.read(TRAINED_ON.name, ["doc_id"], one_of("checkpoint", list(self.section.models)))
        left = self._eligible.join(seen, on="doc_id", how="anti")["doc_id"].to_list()
        count = min(MOST_CONTROL, len(self._eligible) // 10)
        if count < FEWEST_CONTROL or len(left) < count:
            return []
        return sorted(keyed_order(left, self.tuning.seed)[:count])

    @cached_property
    def control(self) -> ControlTexts | None:
        """Texts off the goal: those of tamis.toml, or a part of the pool; None where it is too small."""
        if self.tuning.control is not None or not self._control_ids:
            return self.tuning.control
        texts = texts_of(self.store, self._control_ids)
        return ControlTexts(
            name=POOL,
            texts=[texts[doc_id] for doc_id in self._control_ids],
            digest=canonical_digest("\n".join(self._control_ids)),
        )

    def _batch(self, planned: Sequence[_Planned]) -> Batch:
        """Return the runs as a batch; those of the guard alone read held-out examples."""
        goal, is_guard = self.tuning.goal, planned[0].part == GUARD
        measured: dict[str, Sequence[Example]] = {VALIDATION: list(goal.validation.values())}
        further: dict[str, Sequence[Example]] = {}
        if is_guard:
            measured = {HELD_OUT: list(goal.guard.values())}
            further = {CONTROL: list(self.control.texts)} if self.control else {}
        runs = [self._run(run) for run in planned]
        return Batch(runs=runs, measured=measured, further=further)

    def _run(self, planned: _Planned) -> BatchRun:
        tuning, recipe = self.tuning, planned.recipe
        size = sub_pool(max(1, len(self._pool)), self.section.tokens, planned.portion)
        part = GUARD if planned.part == GUARD else SEARCH
        seed = _derived(tuning.seed, part, planned.look, planned.seed)
        options = replace(
            tuning.options[recipe.model],
            learning_rate=recipe.learning_rate,
            tokens=size.tokens,
            seed=seed,
            evaluations=tuning.options[recipe.model].evaluations if planned.part == GUARD else 1,
        )
        doc_ids, scoring_seconds = self._documents(planned, seed)
        pool_seconds = None
        if planned.part == RATE and recipe.sampler and find_sampler(recipe.sampler).method:
            # Of a part of the pool most may be what comes before the first document.
            _, pool_seconds = self._documents(replace(planned, portion=1.0), seed)
            scoring_seconds += pool_seconds
        about = {
            "target": self.section.target,
            "part": planned.part,
            "recipe": planned.name,
            **recipe.values,
            "seed": planned.seed,
            "portion": planned.portion,
            "look": planned.look,
            "flop": tuning.flop(recipe, size.tokens),
            "scoring_seconds": scoring_seconds,
            "pool_seconds": pool_seconds,
            "control": self.control.name if planned.part == GUARD and self.control else None,
        }
        return BatchRun(
            key=self._key(planned),
            label=planned.label,
            start=tuning.starts[recipe.model],
            options=options,
            doc_ids=doc_ids,
            about=about,
            target=self.section.target if recipe.sampler is None else None,
        )

    def _documents(self, planned: _Planned, seed: int) -> tuple[list[str], float]:
        """Return the ids of what a run trains on, sorted, and the seconds of scores that were missing.

        The guard's winner trains on the selection as it ships, by all training examples of the target; random
        documents are drawn for each run. Runs of the search choose by the examples to fit alone, from a part
        of the pool as large as their part of the tokens.
        """
        tuning, recipe, ships = self.tuning, planned.recipe, planned.part == GUARD
        if recipe.sampler is None:
            ids = sorted({*tuning.goal.fit, *(tuning.goal.validation if ships else ())})
            return sorted(keyed_order(ids, seed)[: max(1, round(len(ids) * planned.portion))]), 0.0
        drawn = seed if not ships or planned.reference else tuning.seed
        place = (recipe.values["sampler"], recipe.share, recipe.quality_weight, planned.portion, drawn, ships)
        seconds = 0.0
        if place not in self._chosen:
            self._chosen[place], seconds = self._choose(recipe, planned.portion, drawn, ships)
        return self._chosen[place], seconds

    def _choose(
        self, recipe: TrainingRecipe, portion: float, seed: int, ships: bool
    ) -> tuple[list[str], float]:
        tuning, seconds = self.tuning, 0.0
        weight = 1.0 if recipe.quality_weight is None else recipe.quality_weight
        section = SelectionSection(
            name="tune",
            sampler=str(recipe.sampler),
            target=self.section.target,
            budget=scaled(recipe.share or "100%", portion),
            quality=self.section.quality if recipe.quality_weight is not None else None,
            quality_weight=weight,
        )
        pool = candidates(self.store, section, tuning.scores).join(
            self._pool.select("doc_id"), on="doc_id", how="semi"
        )
        sampler = find_sampler(section.sampler)
        if not ships and not OF_FIT.isdisjoint(sampler.score_columns):
            read = [name for name in sampler.score_columns if name in OF_FIT]
            began = perf_counter()
            scores = self._fit_scores.select("doc_id", *read)
            if not any(row["sampler"] == recipe.sampler for row in self._rows.values()):
                # Planned for the first run of a sampler; a later process computes them again.
                seconds += perf_counter() - began
            pool = pool.drop(read).join(scores, on="doc_id", how="left")
        if portion < 1:
            drawn = keyed_uniform(pool["doc_id"], seed, "tune.pool")
            pool = pool.filter(pl.Series(drawn <= portion))
        pool = pool.sort("doc_id")
        if sampler.method:
            options = replace(tuning.scoring(section.sampler), seed=seed)
            if not ships:
                options = replace(options, examples=frozenset(tuning.goal.fit))
            began = perf_counter()
            scores = method_scores(self.store, section, pool, options)
            seconds += perf_counter() - began
            pool = pool.join(scores, on="doc_id", how="left")
        given = {name: getattr(section, name) for name in DEFAULT_OPTIONS}
        decided = select(pool, section.sampler, section.budget, seed, options=given)
        return sorted(decided.filter(pl.col("verdict") == "selected")["doc_id"]), seconds

    @cached_property
    def _fit_scores(self) -> pl.DataFrame:
        """Transport scores of the pool by the examples to fit: doc_id and the columns `OF_FIT`."""
        tuning, options = self.tuning, self.tuning.scoring("got-d")
        fit_md = target_vectors(
            self.store, options.target_table, self.section.target, only=set(tuning.goal.fit)
        )
        pool = VectorBlocks(self.store, options.pool_table, dtype=np.float16)
        section = tuning.transport
        with warnings.catch_warnings():
            # The potential of all training examples has warned of their number.
            warnings.simplefilter("ignore", FewTargetPoints)
            potential = solve_potential(
                fit_md,
                pool,
                relative_epsilon=section.relative_epsilon,
                tolerance=section.tolerance,
                max_passes=section.max_passes,
                seed=tuning.seed,
                memory=section.memory,
            )
        scoring = PoolScoring(
            potential=potential,
            target_md=fit_md,
            target=self.section.target,
            fingerprint="",
        )
        parts = [scoring.rows(ids, vectors_nd) for ids, vectors_nd in pool.with_ids()]
        rows = pl.DataFrame(pl.from_arrow(pa.concat_tables(parts)))
        return rows.select("doc_id", *(pl.col(name).cast(pl.Float64) for name in sorted(OF_FIT)))

    def in_words(self, batch: Batch) -> str:
        """Say how many runs a batch has and what for; of the search also how long all may take, at most."""
        runs, part = counted(len(batch.runs), "run"), batch.runs[0].about["part"]
        if part == SEARCH:
            left = self.budget - self.choosing - math.fsum(map(self._flop, self._rows.values()))
            time = f"; search and test take at most {brief(left / self.rate)} more" if self.rate else ""
            return f"{runs} of the search{time}"
        return f"{runs} that {'measure' if len(batch.runs) > 1 else 'measures'} {MEASURES[part]}"

    def finish(self) -> dict[str, Any]:
        """Write answer and standings; set aside what is not of this tuning; return the row of the answer."""
        search = self.search
        assert search is not None
        if len(self.pairs) < PAIRS:
            of_guard = (row["failure"] for row in self._rows.values() if row["part"] == GUARD)
            failures = [failure for failure in of_guard if failure]
            self._forget_failures()
            raise too_few_pairs(len(self.pairs), failures, more=self._more_pairs)
        verdict = judge(
            self._pairs("example_bits", "example_bytes"),
            look=self.look,
            noise=search.noise,
            control=self._pairs("control_bits", "control_bytes") if self._has_control else None,
        )
        values = self._values(search, verdict)
        self._note_look(self.look, verdict.shipped)
        self._rename_runs()
        set_aside(self.store, self.used, TABLE, LEFT)
        self.store.overwrite(RECIPES.name, self._standings(search))
        rows = pa.Table.from_pylist([values], schema=schema_of(TUNE_ANSWERS.name))
        self.store.overwrite(TUNE_ANSWERS.name, rows)
        return values

    def _rename_runs(self) -> None:
        """Write the present names of recipes into rows of earlier tunings: a name says what differs then."""
        rows = [
            row | {"recipe": self._names[key]}
            for key, row in self._rows.items()
            if row["recipe"] != self._names[key]
        ]
        if rows:
            self.store.merge(TABLE, pa.Table.from_pylist(rows, schema=schema_of(TABLE)))

    @property
    def _has_control(self) -> bool:
        return all(row["control_bits"] is not None for pair in self.pairs for row in pair)

    def _pairs(self, bits: str, sizes: str) -> Pairs:
        first = self.pairs[0][0][sizes]
        shape = (len(self.pairs), len(first))
        return Pairs(
            winner_pd=np.array([own[bits] for own, _ in self.pairs], dtype=np.float64).reshape(shape),
            reference_pd=np.array([other[bits] for _, other in self.pairs], dtype=np.float64).reshape(shape),
            bytes_d=np.array(first, dtype=np.float64),
        )

    def _nets(self) -> tuple[Net, Net | None, Spent]:
        """Return the net gain in operations and in seconds, if these are known, and the operations spent."""
        tuning, recipe = self.tuning, self.recipes.by_name[self.winner]
        tokens = np.array(self.pairs[0][1]["curve_tokens"], dtype=np.float64)
        loss = np.mean([other["curve_loss"] for _, other in self.pairs], axis=0)
        winner = float(np.mean([own["bits_per_byte"] for own, _ in self.pairs]))
        _, against = self.recipes.reference_of(self.winner)
        scoring = self._seconds(GUARD, "scoring_seconds")
        seconds = self._choosing_seconds + scoring
        own = float(np.mean([row["seconds"] for row, _ in self.pairs]))
        other = float(np.mean([row["seconds"] for _, row in self.pairs]))
        trained = float(self.section.tokens)
        spent = Spent(
            own=tuning.flop(recipe, trained),
            choosing=seconds * self.rate,
            search=self._spent(SEARCH) + self._spent(RATE),
            guard=self._spent(GUARD) - self.rate * scoring,
            tokens=trained,
        )
        in_flop = net([tuning.flop(against, reached) for reached in tokens], loss.tolist(), winner, spent)
        if not (own and other):
            return in_flop, None, spent
        of_machine = Spent(
            own=own,
            choosing=seconds,
            search=self._seconds(SEARCH) + self._seconds(RATE),
            guard=self._seconds(GUARD, "seconds"),
            tokens=trained,
        )
        in_seconds = net((tokens / tokens[-1] * other).tolist(), loss.tolist(), winner, of_machine)
        return in_flop, in_seconds, spent

    def _values(self, search: Search, verdict: Verdict) -> dict[str, Any]:
        """Return the row of the answer."""
        tuning, recipe = self.tuning, self.recipes.by_name[self.winner]
        against, _ = self.recipes.reference_of(self.winner)
        in_flop, in_seconds, spent = self._nets()
        measured = Measured(
            parameters=tuning.parameters[recipe.model],
            tokens=self.section.tokens,
            target=self.section.target,
            control=self.control.name if self.control else "control",
            reference=against,
        )
        said = answer(self.winner, verdict, in_flop, measured, search.alike(self.winner))
        given, control, agreement = verdict.conditional, verdict.control, search.agreement
        return {
            "target": self.section.target,
            "recipe": self.winner,
            "reference": against,
            **recipe.values,
            "kind": str(said.kind),
            "sentence": said.sentence,
            "look": verdict.look,
            "level": verdict.level,
            "shipped": verdict.shipped,
            "pairs": verdict.goal.pairs,
            "examples": verdict.goal.examples,
            "difference": verdict.goal.mean,
            "low": verdict.goal.low,
            "high": verdict.goal.high,
            "given_shipped": given and _finite(given.mean),
            "given_low": given and _finite(given.low),
            "given_high": given and _finite(given.high),
            "seen": verdict.seen,
            "control": self.control.name if control and self.control else None,
            "control_difference": control and control.mean,
            "control_low": control and control.low,
            "control_high": control and control.high,
            "harms": verdict.harms,
            "parameters": tuning.parameters[recipe.model],
            "tokens": self.section.tokens,
            "fitted": len(tuning.goal.fit),
            "validated": len(tuning.goal.validation),
            "budget_flop": self.budget,
            "choosing_flop": spent.choosing,
            "search_flop": spent.search,
            "guard_flop": spent.guard,
            "own_flop": spent.own,
            "bound": in_flop.bound,
            "reached_flop": in_flop.reached,
            "net": in_flop.net,
            "net_seconds": in_seconds and in_seconds.net,
            "break_even": _finite(in_flop.break_even),
            "agreement": agreement and agreement.share,
            "agreement_low": agreement and agreement.low,
            "agreement_high": agreement and agreement.high,
            "compared": agreement and agreement.recipes,
        }

    def _standings(self, search: Search) -> pa.Table:
        rows = [
            {
                "recipe": standing.recipe,
                **self.recipes.by_name[standing.recipe].values,
                "place": place,
                "loss": _finite(standing.loss),
                "shrunken": _finite(standing.shrunken),
                "error": _finite(standing.error),
                "best": standing.best,
                "runs": standing.runs,
                "failed": standing.failed,
                "finalist": standing.alive,
                "chosen": standing.recipe == self.winner,
            }
            for place, standing in enumerate(search.standings, 1)
        ]
        return pa.Table.from_pylist(rows, schema=schema_of(RECIPES.name)).sort_by("recipe")


def record_run(store: Store, run: BatchRun, result: MeasuredRun | str) -> None:
    """Write the row of a run, or why it has no losses."""
    values: dict[str, Any] = {"run": run.key, **run.about, "documents": len(run.doc_ids)}
    if isinstance(result, str):
        values |= {"failure": result}
    else:
        followed = next(name for name in (VALIDATION, HELD_OUT) if name in result.evaluations)
        goal, control = result.evaluations[followed], result.evaluations.get(CONTROL)
        values |= {
            "tokens": result.tokens,
            "seconds": result.seconds,
            "bits_per_byte": goal.bits_per_byte,
            "example_bits": goal.document_bits.tolist(),
            "example_bytes": goal.document_bytes.tolist(),
            "curve_tokens": [tokens for tokens, _ in result.curve],
            "curve_loss": [loss for _, loss in result.curve],
        }
        if control is not None and math.isfinite(control.bits_per_byte):
            values |= {
                "control_bits_per_byte": control.bits_per_byte,
                "control_bits": control.document_bits.tolist(),
                "control_bytes": control.document_bytes.tolist(),
            }
    store.merge(TABLE, pa.Table.from_pylist([values], schema=schema_of(TABLE)))


def too_few_pairs(pairs: int, failures: Sequence[str], *, more: bool = False) -> TooFewPairsError:
    """Return the error of a test whose runs failed for these reasons; diverged ones are not repeated."""
    diverged = sum(reason.startswith(DIVERGED) for reason in failures)
    return TooFewPairsError(
        pairs,
        PAIRS,
        failed=len(failures) - diverged,
        diverged=diverged,
        reason=failures[-1] if failures else "",
        more=more,
    )


def _speed(row: Mapping[str, Any]) -> float:
    """Return the operations of a run by second; 0 where it states no seconds."""
    return float(row["flop"] / row["seconds"]) if row["seconds"] else 0.0


def basis_of(key: str, goal: Goal, control: ControlTexts | None) -> str:
    """Return the digest of all that a run depends on besides its recipe, its seed and its size.

    `key`: of the inputs and settings of the stage.
    """
    parts = [key, sorted(goal.fit), sorted(goal.validation), control.digest if control else ""]
    return canonical_digest(json.dumps(parts))


def _derived(*parts: int | str) -> int:
    return int(canonical_digest("|".join(map(str, ("tune", *parts))))[:7], 16)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
