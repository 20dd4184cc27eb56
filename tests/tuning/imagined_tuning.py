"""A tuning whose runs are rows written by hand: plans of `Progress` without a graph or a command."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from projects import SmallProject

from tamis.embedding.storing import current_table
from tamis.selection.computing import ScoringOptions
from tamis.trainer.batches import Batch, BatchRun
from tamis.training.evaluation import Evaluation
from tamis.training.examples import Example, text_of
from tamis.training.followed import MeasuredOptions, MeasuredRun, Start
from tamis.tuning.recipes import recipes_of
from tamis.tuning.runs import ControlTexts, Goal, Progress, Tuning, basis_of, goal_of, record_run

Loss = Callable[[BatchRun], float | str]
"""Bits per byte of a run, or why it has none."""
PARAMETERS = 1e6
SECONDS = 4.0


def made_tuning(
    project: SmallProject,
    *,
    goal: Goal | None = None,
    basis: str = "inputs",
    choosing: float = 0.0,
    control: ControlTexts | None = None,
    **changed: Any,
) -> Tuning:
    """Return the tuning of the project; `changed`: keys of [tune]. `choosing`: seconds of each sampler."""
    opened, store = project.project, project.store
    settings = opened.settings
    assert settings.tune is not None
    section = settings.tune.model_validate(settings.tune.model_dump() | changed)
    trained = settings.fine_tuning.model_dump(include={"sequence_length", "batch_size"})
    if goal is None:
        goal = goal_of(store, section.target, settings.near_duplicates.threshold, opened.seed)

    def scoring(sampler: str) -> ScoringOptions:
        return ScoringOptions(
            transport=settings.transport,
            seed=opened.seed,
            pool_table=current_table(opened),
            target_table="target_embeddings_static",
        )

    return Tuning(
        section=section,
        recipes=recipes_of(section, {"given": section.learning_rates or (1e-3,)}, opened.seed),
        basis=lambda recipe: basis_of(basis, goal, control),
        seed=opened.seed,
        goal=goal,
        filters=settings.filters,
        transport=settings.transport,
        starts={"given": Start(model=project.root / "model")},
        parameters={"given": PARAMETERS},
        options={"given": MeasuredOptions(**trained, learning_rate=1e-3, tokens=section.tokens)},
        scoring=scoring,
        choosing_seconds=lambda samplers: choosing * len({*samplers} - {"random"}),
        scores=settings.score,
        control=control,
    )


@dataclass(kw_only=True)
class Rows:
    """Rows of a batch, which are written at once: a commit for each would take most of the time."""

    tables: list[pa.Table] = field(default_factory=list)

    def merge(self, name: str, rows: pa.Table) -> None:
        assert name == "tune_runs"
        self.tables.append(rows)


@dataclass(kw_only=True)
class Played:
    """Runs that were paid for, and the batches that they came in."""

    keys: list[str] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)


def play(
    project: SmallProject,
    tuning: Tuning,
    loss: Loss,
    most: float = float("inf"),
    played: Played | None = None,
    batch_most: int | None = None,
    seconds: Callable[[BatchRun], float] = lambda run: SECONDS,
) -> tuple[Progress | None, Played]:
    """Record runs as they are planned, `most` at most; the progress is None where it ended before the winner.

    `batch_most`: runs of a batch that are recorded before the next is planned, as where a step is killed.
    """
    played = played or Played()
    while True:
        progress = Progress(project.store, tuning)
        batch = progress.advance()
        if batch is None:
            return progress, played
        played.batches.append(batch)
        rows = Rows()
        for run in batch.runs[:batch_most]:
            if len(played.keys) >= most:
                break
            played.keys.append(run.key)
            played.parts.append(run.about["part"])
            value = loss(run)
            result = value if isinstance(value, str) else measured(run, batch, value, seconds(run))
            record_run(rows, run, result)  # type: ignore[arg-type]
        if rows.tables:
            project.store.merge("tune_runs", pa.concat_tables(rows.tables))
        if len(played.keys) >= most:
            return None, played


def measured(run: BatchRun, batch: Batch, loss: float, seconds: float = SECONDS) -> MeasuredRun:
    """Return a result with this loss on every example; examples differ a little, by seed."""
    draw = np.random.default_rng(run.options.seed)
    examples = {**batch.measured, **batch.further}
    evaluations = {name: _evaluation(loss, own, draw) for name, own in examples.items()}
    return MeasuredRun(
        tokens=run.options.tokens,
        epochs=1.0,
        steps=1,
        seconds=seconds,
        curve=[(run.options.tokens, loss)],
        evaluations=evaluations,
    )


def _evaluation(loss: float, examples: Sequence[Example], draw: np.random.Generator) -> Evaluation:
    bytes_d = np.array([len(text_of(example).encode()) for example in examples], dtype=np.int64)
    bits_d = (loss + draw.normal(0, 0.001, len(examples))) * bytes_d
    n_bytes = int(bytes_d.sum())
    return Evaluation(
        bits_per_byte=float(bits_d.sum() / n_bytes),
        nats=float(bits_d.sum() * np.log(2)),
        n_bytes=n_bytes,
        n_tokens=n_bytes,
        document_bits=bits_d,
        document_bytes=bytes_d,
    )


def helpful(best: str = "got-d", gain: float = 0.5) -> Loss:
    """Return losses under which a sampler is better than all others, with a little noise by seed."""

    def loss(run: BatchRun) -> float:
        noise = np.random.default_rng(int(run.key[:8], 16)).normal(0, 0.001)
        own = run.about["sampler"] == best and run.about["learning_rate"] == 1e-3
        return 3.0 - (gain if own else 0.0) + float(noise)

    return loss
