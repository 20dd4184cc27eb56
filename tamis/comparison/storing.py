"""The comparison from and into the store: what each run trains on, and a row for each run that is done.

A run is named by all that decides its losses, so a comparison that was cut short or whose pool changed makes
only the runs that are missing.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import polars as pl
import pyarrow as pa

from tamis.base.errors import PermanentError
from tamis.comparison.runs import (
    CONTROLS,
    FULL,
    TABLE,
    WHOLE,
    PlannedRun,
    bring_back,
    keep_controls,
    known_runs,
    planned_runs,
    set_aside,
)
from tamis.corpus.intake import texts_of
from tamis.coverage.sampling import keyed_uniform
from tamis.evaluation.controls import Control
from tamis.selection import find_sampler, select
from tamis.selection.computing import ScoringOptions, method_scores
from tamis.selection.pool import candidates, exclusions
from tamis.settings.config import FiltersSection, SamplerTrialsSection, SelectionSection
from tamis.settings.sections import ScoreSection
from tamis.store.digests import canonical_digest
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, quoted
from tamis.trainer.batches import Batch, BatchRun
from tamis.training import CODE_VERSION, model_identity
from tamis.training.followed import MeasuredOptions, MeasuredRun, Start
from tamis.training.stage import TRAINED_ON
from tamis.training.storing import keyed_order, split_texts

TARGET, POOL = OWN_SETS = "target", "pool"


class TooSmallPoolError(PermanentError, ValueError):
    """Too few documents may be chosen for the comparison to hold some out and leave a choice."""

    def __init__(self, eligible: int, held_out: int) -> None:
        self.eligible, self.held_out = eligible, held_out
        super().__init__(
            f"[sampler_trials] holds out {held_out} documents of the pool, for which at least {2 * held_out} "
            f"documents must be eligible, but only {eligible} are; lower held_out (a tenth of the eligible "
            "documents is enough), or add documents"
        )


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A configured comparison: its section, the model each run begins with, and how it is trained.

    `unseen_by`: the base model, whose training documents may not be held out. `scoring`: options by which a
    sampler scores. `scores`: those of the project. `controls`: further texts that runs are measured on.
    `trainer`: the command of [trainer] that trains in place of Tamis, with the digests of its files.
    """

    section: SamplerTrialsSection
    filters: FiltersSection
    start: Start
    options: MeasuredOptions
    seed: int
    scoring: Callable[[str], ScoringOptions]
    unseen_by: str | None = None
    scores: Sequence[ScoreSection] = ()
    controls: Sequence[Control] = ()
    trainer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def runs(self) -> list[PlannedRun]:
        """All runs, in the order in which they are made."""
        chosen = self.section
        return planned_runs(chosen.samplers, chosen.budgets, chosen.data_seeds, chosen.training_seeds)

    def data_seed(self, planned: PlannedRun) -> int:
        """Seed that draws the part of the pool and the choice; other projects and other seeds share none."""
        return _derived(self.seed, "data", planned.data_seed)

    def training_seed(self, planned: PlannedRun) -> int:
        """Seed of first weights and order: shared by all samplers of a pair of seeds, by no other pair.

        Were it shared between data seeds, luck with the first weights would never average out.
        """
        return _derived(self.seed, "training", planned.data_seed, planned.training_seed)

    @cached_property
    def origin(self) -> str:
        """Identity of the model that runs begin with."""
        return json.dumps([self.start.shape and asdict(self.start.shape), model_identity(self.start.model)])


def _derived(*parts: int | str) -> int:
    return int(canonical_digest("|".join(map(str, parts)))[:7], 16)


def plan_batch(store: Store, comparison: Comparison) -> Batch:
    """Return the runs that have no row yet, in order; a run of an earlier comparison is brought back.

    Runs from which nothing could be learnt get their rows at once. A run that was made before a control was
    added is not made again for it. Raises `TooSmallPoolError`.
    """
    held_out = held_out_texts(store, comparison)
    controls = digests(comparison.controls)
    fixed = [
        comparison.origin,
        asdict(comparison.options),
        {name: canonical_digest("\n".join(texts)) for name, texts in held_out.items()},
        CODE_VERSION,
        *([comparison.trainer] if comparison.trainer else []),
    ]
    whole: list[str] = []
    keys, runs = [], []
    for planned, doc_ids in _training_sets(store, comparison):
        whole = doc_ids if planned.sampler == FULL else whole
        seed = comparison.training_seed(planned)
        named = [fixed, doc_ids, seed, planned.label]
        run = BatchRun(
            key=canonical_digest(json.dumps(named, sort_keys=True))[:32],
            label=planned.label,
            start=comparison.start,
            options=replace(comparison.options, seed=seed),
            doc_ids=doc_ids,
            about=asdict(planned),
        )
        keys.append(run.key)
        if run.key in known_runs(store) or bring_back(store, [run.key]):
            continue
        if why := _nothing_learnt(planned, doc_ids, whole):
            record_run(store, controls, run, why)
        else:
            runs.append(run)
    return Batch(
        runs=runs,
        measured=held_out,
        further={control.name: list(control.texts) for control in comparison.controls},
        about={"keys": keys, "controls": controls},
    )


def digests(controls: Sequence[Control]) -> dict[str, str]:
    """Return the digest of the texts of each control, by name."""
    return {control.name: control.digest for control in controls}


def record_run(store: Store, controls: Mapping[str, str], run: BatchRun, result: MeasuredRun | str) -> None:
    """Write the row of a run, and its losses on `controls` (digest of their texts), or why it has none."""
    if isinstance(result, MeasuredRun):
        store.merge_values(CONTROLS, list(_control_rows(run.key, controls, result)))
    store.merge(TABLE, _row(run, result))


def all_runs(store: Store, keys: Sequence[str], controls: Mapping[str, str]) -> pl.DataFrame:
    """Return the rows of the planned runs, in order; set aside other runs, and drop losses on other texts."""
    set_aside(store, keys)
    keep_controls(store, controls)
    rows = store.read(TABLE).filter(pl.col("run").is_in(list(keys)))
    places = {key: place for place, key in enumerate(keys)}
    return rows.sort(pl.col("run").replace_strict(places, return_dtype=pl.Int64))


def _nothing_learnt(planned: PlannedRun, doc_ids: Sequence[str], whole: Sequence[str]) -> str | None:
    """Return why there is nothing to learn from a run; None when there is."""
    if not doc_ids:
        return "nothing was chosen: the first document exceeds the budget, or no document is eligible"
    if planned.sampler != FULL and doc_ids == whole:
        return 'every document was chosen, as by "full": the budget exceeds the pool'
    return None


def held_out_texts(store: Store, comparison: Comparison) -> dict[str, list[str]]:
    """Return texts that no run trains on: held-out examples of the target, and a keyed sample of the pool."""
    ids = _held_out_ids(store, comparison)
    texts = texts_of(store, ids)
    return {
        TARGET: split_texts(store, str(comparison.section.target), "held_out")["text"].to_list(),
        POOL: [texts[doc_id] for doc_id in ids],
    }


def _held_out_ids(store: Store, comparison: Comparison) -> list[str]:
    eligible = _eligible(store, comparison, _whole(comparison.section))
    if comparison.unseen_by is not None:
        scope = f"checkpoint = {quoted(comparison.unseen_by)}"
        eligible = eligible.join(store.read(TRAINED_ON.name, ["doc_id"], scope), on="doc_id", how="anti")
    count = comparison.section.held_out
    if len(eligible) < 2 * count:
        raise TooSmallPoolError(len(eligible), count)
    return sorted(keyed_order(eligible["doc_id"].to_list(), comparison.seed)[:count])


def _eligible(store: Store, comparison: Comparison, section: SelectionSection) -> pl.DataFrame:
    excluded = exclusions(store, comparison.filters)
    return (
        candidates(store, section, comparison.scores).join(excluded, on="doc_id", how="anti").sort("doc_id")
    )


def _whole(section: SamplerTrialsSection) -> SelectionSection:
    return SelectionSection(name=FULL, sampler="random", target=section.target, budget=WHOLE)


def _training_sets(store: Store, comparison: Comparison) -> Iterator[tuple[PlannedRun, list[str]]]:
    """Each planned run and the ids it trains on, sorted; a set is chosen once for all its training seeds."""
    held_out = set(_held_out_ids(store, comparison))
    chosen: dict[tuple[str, str, int], list[str]] = {}
    for planned in comparison.runs:
        place = (planned.sampler, planned.budget, planned.data_seed)
        if place not in chosen:
            chosen[place] = _choose(store, comparison, planned, held_out)
        yield planned, chosen[place]


def _choose(store: Store, comparison: Comparison, planned: PlannedRun, held_out: set[str]) -> list[str]:
    section = _selection(comparison.section, planned)
    pool = _eligible(store, comparison, section).filter(~pl.col("doc_id").is_in(list(held_out)))
    seed = comparison.data_seed(planned)
    drawn = keyed_uniform(pool["doc_id"], seed, "comparison.pool")
    pool = pool.filter(pl.Series(drawn <= comparison.section.pool_share))
    if find_sampler(section.sampler).method:
        scoring = replace(comparison.scoring(section.sampler), seed=seed)
        pool = pool.join(method_scores(store, section, pool, scoring), on="doc_id", how="left")
    decided = select(pool, section.sampler, section.budget, seed)
    return sorted(decided.filter(pl.col("verdict") == "selected")["doc_id"])


def _selection(section: SamplerTrialsSection, planned: PlannedRun) -> SelectionSection:
    if planned.sampler == FULL:
        return _whole(section)
    budget = int(planned.budget) if planned.budget.isdigit() else planned.budget
    return SelectionSection(name="trial", sampler=planned.sampler, target=section.target, budget=budget)


def _row(run: BatchRun, result: MeasuredRun | str) -> pa.Table:
    """The row of a run, or of one without losses and why."""
    values: dict[str, Any] = {"run": run.key, **run.about, "documents": len(run.doc_ids)}
    if isinstance(result, str):
        values |= {"failure": result}
    else:
        values |= {
            "tokens": result.tokens,
            "epochs": result.epochs,
            "seconds": result.seconds,
            "curve_tokens": [tokens for tokens, _ in result.curve],
            "curve_target": [loss for _, loss in result.curve],
        }
        for name in OWN_SETS:
            found = result.evaluations[name]
            values[f"{name}_bits_per_byte"] = found.bits_per_byte
            values[f"{name}_document_bits"] = found.document_bits.tolist()
            values[f"{name}_document_bytes"] = found.document_bytes.tolist()
    return pa.Table.from_pylist([values], schema=schema_of(TABLE))


def _control_rows(run: str, controls: Mapping[str, str], result: MeasuredRun) -> Iterator[dict[str, Any]]:
    """Yield the row of each control on which the run has a finite loss."""
    for name, texts in controls.items():
        found = result.evaluations[name]
        if math.isfinite(found.bits_per_byte):
            yield {
                "run": run,
                "control": name,
                "texts": texts,
                "bits_per_byte": found.bits_per_byte,
                "document_bits": found.document_bits.tolist(),
                "document_bytes": found.document_bytes.tolist(),
            }
