"""Findings of a comparison: losses with intervals, contrasts, recoveries, and when runs converge."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from tamis.base.errors import PermanentError
from tamis.comparison.convergence import Convergence, convergences
from tamis.comparison.losses import Floats, mean_of_runs, stacked
from tamis.comparison.runs import FULL, RANDOM, TABLE, losses_on_controls
from tamis.comparison.scoring import scores_of_runs
from tamis.comparison.statistics import (
    LEVEL,
    Contrast,
    NonInferiority,
    contrasts,
    holm,
    loss_intervals,
    recoveries,
)
from tamis.comparison.storing import POOL, TARGET
from tamis.settings.config import Settings
from tamis.store.tables import Store
from tamis.trainer.batches import DIVERGED

CURVE_POINTS = 41


@dataclass(frozen=True, kw_only=True)
class ArmLoss:
    """Mean loss of a sampler at a budget, bits per byte, with its 95 % interval by the t distribution.

    low, high: NaN of a single run. runs: those with a loss, over which the mean is; diverged: trained
    without a finite loss.
    """

    sampler: str
    budget: str
    loss: float
    low: float
    high: float
    runs: int
    planned: int
    diverged: int
    documents: float
    epochs: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One held-out set. p_holm: the contrasts' p-values corrected for their number; likewise recovery_p."""

    arms: list[ArmLoss]
    contrasts: list[Contrast]
    p_holm: list[float]
    recoveries: list[NonInferiority]
    recovery_p: list[float]

    @property
    def best(self) -> ArmLoss:
        """The arm with the smallest loss."""
        return min(self.arms, key=lambda arm: arm.loss if math.isfinite(arm.loss) else math.inf)

    @property
    def proven(self) -> list[Contrast]:
        """Contrasts with random that are significant after correction."""
        return [one for one, p in zip(self.contrasts, self.p_holm, strict=True) if p < LEVEL]

    @property
    def recovered(self) -> list[NonInferiority]:
        """Samplers proven to give what all data give, within the margin."""
        return [one for one, p in zip(self.recoveries, self.recovery_p, strict=True) if p < LEVEL]


@dataclass(frozen=True, kw_only=True)
class ComparisonReport:
    """All that a page shows. curve_ap: mean target loss [arm, point] at shares of the tokens share_p.

    controls: losses on each [[control]] that runs were measured on. without_control: by control, how many
    runs have a loss on the target and none on it. scores: by task of the user's evaluation, with scores in
    place of losses: higher is better. without_score: how many runs have a loss and no score; 0 without any.
    is_followed: losses on the way are known, and with them when a sampler converges.
    """

    target: Measured
    pool: Measured
    controls: dict[str, Measured]
    without_control: dict[str, int]
    scores: dict[str, Measured]
    without_score: int
    is_followed: bool
    convergences: list[Convergence]
    arms: list[tuple[str, str]]
    share_p: Floats
    curve_ap: Floats
    tokens: int
    runs: int
    data_seeds: int
    training_seeds: int
    failures: list[str]

    @property
    def elsewhere(self) -> dict[str, Measured]:
        """Losses off the goal: on the pool, then on each control."""
        return {POOL: self.pool} | self.controls

    @property
    def read(self) -> float:
        """Epochs of the full-data runs; below 1, training ended before one full pass."""
        return next(arm.epochs for arm in self.target.arms if arm.sampler == FULL)

    def name_of(self, arm: ArmLoss | Contrast | NonInferiority) -> str:
        """Return the sampler of an arm, with its budget where there are several."""
        budgets = {budget for sampler, budget in self.arms if sampler != FULL}
        return arm.sampler if len(budgets) == 1 or arm.sampler == FULL else f"{arm.sampler} {arm.budget}"


class NoLossesError(PermanentError, ValueError):
    """No run of the comparison has a loss; says what became of the first."""

    def __init__(self, failures: list[str]) -> None:
        self.failures = failures
        first = f"; first failure of {len(failures)}: {failures[0]}" if failures else ""
        super().__init__(
            f"no run of the comparison has a loss yet{first}; change [sampler_trials] in tamis.toml "
            "if runs failed, and run `tamis compare` to train the models"
        )


def analyse(
    runs: pl.DataFrame,
    seed: int,
    controls: Mapping[str, pl.DataFrame] = MappingProxyType({}),
    scores: pl.DataFrame | None = None,
) -> ComparisonReport:
    """The report on the rows of the table sampler_trials. Raises `NoLossesError` when no run was made.

    controls: rows (run, document_bits, document_bytes) of each control, as `losses_on_controls` reads them.
    scores: rows (run, task, example, score), as `scores_of_runs` reads them; None without an evaluation.
    """
    done = runs.filter(pl.col("failure").is_null())
    failures = [
        f"{row['sampler']} {row['budget']} (data seed {row['data_seed']}, training seed "
        f"{row['training_seed']}): {row['failure']}"
        for row in runs.filter(pl.col("failure").is_not_null()).iter_rows(named=True)
    ]
    if done.is_empty():
        raise NoLossesError(failures)
    arms = list(runs.select("sampler", "budget").unique(maintain_order=True).iter_rows())
    curve = _curves(done, arms, _seeds(runs))
    share_p = np.linspace(0, 1, CURVE_POINTS)
    full = arms.index(next(arm for arm in arms if arm[0] == FULL))
    on_controls = {name: done.join(rows, on="run") for name, rows in controls.items()}
    on_tasks = {} if scores is None else _by_task(scores.join(done, on="run", how="semi"))
    scored = done.join(scores, on="run", how="semi") if scores is not None else done
    return ComparisonReport(
        target=_measured(runs, arms, done, TARGET, seed),
        pool=_measured(runs, arms, done, POOL, seed),
        controls={
            name: _measured(runs, arms, rows, "", seed) for name, rows in on_controls.items() if len(rows)
        },
        without_control={
            name: len(done) - len(rows) for name, rows in on_controls.items() if len(rows) < len(done)
        },
        scores={
            task: _measured(runs, arms, done.join(rows, on="run"), "", seed, with_full=False)
            for task, rows in on_tasks.items()
        },
        without_score=len(done) - len(scored),
        is_followed=bool((done["curve_tokens"].list.len() > 1).any()),
        convergences=convergences(arms, curve, share_p, full, seed),
        arms=arms,
        share_p=share_p,
        curve_ap=mean_of_runs(np.moveaxis(curve, -1, 1).reshape(len(arms), CURVE_POINTS, -1)),
        tokens=int(done["tokens"].to_numpy().max()),
        runs=len(done),
        data_seeds=_seeds(runs)[0],
        training_seeds=_seeds(runs)[1],
        failures=failures,
    )


def stored_report(store: Store, settings: Settings, seed: int) -> ComparisonReport:
    """Return the report on the runs in the store, on the controls and by the evaluation of tamis.toml.

    Raises `NoLossesError`.
    """
    controls = losses_on_controls(store, [control.name for control in settings.control])
    scores = scores_of_runs(store) if settings.evaluation.command else None
    return analyse(store.read(TABLE), seed, controls, scores)


def _by_task(scores: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return, by task, the scores of each run on the examples that all scored runs have, as sets have losses.

    A task of which no example is in all runs is left out.
    """
    found = {}
    for (task,), rows in scores.sort("task", "example").group_by("task", maintain_order=True):
        runs = rows["run"].n_unique()
        shared = rows.filter(pl.len().over("example") == runs)
        if len(shared):
            found[str(task)] = (
                shared.with_columns(weight=pl.lit(1, dtype=pl.Int64))
                .group_by("run", maintain_order=True)
                .agg(document_bits="score", document_bytes="weight")
            )
    return found


def _measured(
    runs: pl.DataFrame,
    arms: list[tuple[str, str]],
    done: pl.DataFrame,
    measured: str,
    seed: int,
    with_full: bool = True,
) -> Measured:
    """Return what the runs that are `done` say of a held-out set; `measured`: how its columns begin.

    `with_full`: compare with the runs on all documents, where a smaller value is better.
    """
    prefix = f"{measured}_" if measured else ""
    rows = list(done.iter_rows(named=True))
    bits = {_place(row): np.asarray(row[f"{prefix}document_bits"], dtype=np.float64) for row in rows}
    sizes = rows[0][f"{prefix}document_bytes"]
    losses = stacked(arms, bits, np.asarray(sizes, dtype=np.float64), *_seeds(runs))
    loss_a = mean_of_runs(losses.loss_aij.reshape(len(arms), -1))
    found, recovered = contrasts(losses, RANDOM, seed), recoveries(losses, FULL) if with_full else []
    return Measured(
        arms=[
            _arm(runs, arm, float(loss), bounds)
            for arm, loss, bounds in zip(arms, loss_a, loss_intervals(losses), strict=True)
        ],
        contrasts=found,
        p_holm=holm([one.p for one in found]).tolist(),
        recoveries=recovered,
        recovery_p=holm([one.p for one in recovered]).tolist(),
    )


def _arm(runs: pl.DataFrame, arm: tuple[str, str], loss: float, bounds: tuple[float, float]) -> ArmLoss:
    own = runs.filter((pl.col("sampler") == arm[0]) & (pl.col("budget") == arm[1]))
    done = own.filter(pl.col("failure").is_null())
    return ArmLoss(
        sampler=arm[0],
        budget=arm[1],
        loss=loss,
        low=bounds[0],
        high=bounds[1],
        runs=len(done),
        planned=len(own),
        diverged=len(own.filter(pl.col("failure").str.starts_with(DIVERGED))),
        documents=float(own["documents"].to_numpy().mean()),
        epochs=float(done["epochs"].to_numpy().mean()) if len(done) else float("nan"),
    )


def _curves(done: pl.DataFrame, arms: list[tuple[str, str]], seeds: tuple[int, int]) -> Floats:
    """Target loss [arm, data seed, training seed, point] on one grid of shares of the tokens.

    NaN before the first measurement: a line from nowhere would be made up.
    """
    share_p = np.linspace(0, 1, CURVE_POINTS)
    curve = np.full((len(arms), *seeds, CURVE_POINTS), np.nan)
    for row in done.iter_rows(named=True):
        sampler, budget, i, j = _place(row)
        share = np.asarray(row["curve_tokens"], dtype=np.float64) / row["curve_tokens"][-1]
        loss = np.asarray(row["curve_target"], dtype=np.float64)
        curve[arms.index((sampler, budget)), i, j] = np.interp(share_p, share, loss, left=np.nan)
    return curve


def _place(row: dict[str, Any]) -> tuple[str, str, int, int]:
    return row["sampler"], row["budget"], row["data_seed"], row["training_seed"]


def _seeds(runs: pl.DataFrame) -> tuple[int, int]:
    data, training = runs.select(pl.col("data_seed").max() + 1, pl.col("training_seed").max() + 1).row(0)
    return int(data), int(training)
