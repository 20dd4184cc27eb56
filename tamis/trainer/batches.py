"""Runs that are made together: planned once, trained by Tamis or by the command of [trainer], recorded alike.

For the command a batch is a folder next to those of its runs: what each trains on, by ids, and the rows that
all are measured on. So whoever looks at it, without a graph and after a kill too, submits the next run.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tamis.base.errors import TamisError
from tamis.base.files import write_atomically
from tamis.base.numbers import counted
from tamis.base.progress import Advance, ignore
from tamis.project import Project
from tamis.store.digests import canonical_digest
from tamis.store.home import Home
from tamis.store.tables import Store
from tamis.trainer.exchange import EVALUATE, Result, examples_of, row_of, write_examples
from tamis.trainer.runs import NOTED, Content, Rows, Run, erase, submitted, trainer_folder
from tamis.training.errors import DivergedError
from tamis.training.evaluation import Evaluation
from tamis.training.examples import Example
from tamis.training.followed import MeasuredOptions, MeasuredRun, Start, train_measured
from tamis.training.options import Session
from tamis.training.shapes import ModelShape
from tamis.training.storing import keyed_order, split_texts, texts_in_order, training_texts

PLAN, ROWS, BEGINS = "plan.json", "rows", "batch-"
CHECKED = "checked"
"""File in the folder of a run whose result answers its spec."""
DIVERGED = "diverged"
"""Begins the reason why a run that was trained has no finite loss."""
FAILED = "failed"
"""Begins the reason why a run has no result, in a batch that goes on."""
Receive = Callable[["BatchRun", MeasuredRun | str], None]
"""Takes a run with its losses, or with the reason why it has none."""


class BatchFailedError(TamisError):
    """Runs of a batch that failed: the others are recorded, these are submitted again."""

    def __init__(self, noun: str, failed: Mapping[str, TamisError], recorded: int) -> None:
        self.failed = failed
        label, first = next(iter(failed.items()))
        rest = f"; {counted(recorded, 'run')} that ended well {'is' if recorded == 1 else 'are'} recorded"
        super().__init__(
            f"{counted(len(failed), noun)} failed ({label}: {first}){rest}; `tamis materialize` submits the "
            "others again"
        )
        self.withheld = "\n".join(
            f"{name}: {getattr(error, 'withheld', error)}" for name, error in failed.items()
        )


@dataclass(frozen=True, kw_only=True)
class BatchRun:
    """A run of a batch under the key of all that decides its losses; `doc_ids`: what it trains on, sorted.

    `label`: for people. `order`: of the documents with their copies; without it the seed decides. `target`:
    whose examples it trains on, in place of documents. `about`: what its row says of it besides, as JSON.
    """

    key: str
    label: str
    start: Start
    options: MeasuredOptions
    doc_ids: Sequence[str]
    about: Mapping[str, Any]
    target: str | None = None
    order: Sequence[str] = ()

    def texts(self, store: Store) -> Iterable[str]:
        """Return what it trains on, in its order."""
        seed = self.options.seed
        if self.order:
            return texts_in_order(store, self.order)
        if self.target is None:
            return training_texts(store, self.doc_ids, seed)
        known = dict(split_texts(store, self.target, "train").iter_rows())
        return [known[doc_id] for doc_id in keyed_order(self.doc_ids, seed)]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Runs, and the examples that all are measured on, by name.

    `measured`: the first is followed in training; a run without a finite loss on one of these has diverged.
    `further`: other examples. `about`: what whoever records the batch has to know, as JSON.
    """

    runs: Sequence[BatchRun]
    measured: Mapping[str, Sequence[Example]]
    further: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


def batch_run(project: Project, stage: str, run: BatchRun) -> Run:
    """Return the run of a batch that is recorded by a stage."""
    return Run(project=project, stage=stage, name=run.label, input_key=run.key, seeds=(run.options.seed,))


def train_batch(
    project: Project,
    stage: str,
    batch: Batch,
    receive: Receive,
    advance: Advance = ignore,
    say: Callable[[str], None] = lambda text: None,
    checkpoint: Callable[[str], Path | None] = lambda run: None,
) -> None:
    """Have Tamis train the runs of a batch one after another; hand over each once it is measured.

    `checkpoint`: folder for the model of a run by its key, where it is wanted. `advance` counts tokens. A run
    that was killed goes on from its last saved step.
    """
    for run in batch.runs:
        say(run.label)
        session = Session(resume=batch_run(project, stage, run).state, advance=advance)
        texts, examples = run.texts(project.home.store), {**batch.measured, **batch.further}
        try:
            made = train_measured(run.start, texts, run.options, examples, session, checkpoint(run.key))
        except DivergedError as error:
            receive(run, f"{DIVERGED}: {error}")
            continue
        infinite = [
            name for name in batch.measured if not math.isfinite(made.evaluations[name].bits_per_byte)
        ]
        receive(run, f"{DIVERGED}: the loss on {' and '.join(infinite)} is not finite" if infinite else made)


@dataclass(frozen=True, kw_only=True)
class SubmittedBatch:
    """The batch of a stage on the command of [trainer], under the input key of the stage.

    `goes_on`: the failure of a run leaves the others their turn, and is recorded unless all have failed.
    """

    project: Project
    stage: str
    input_key: str
    goes_on: bool = False

    @cached_property
    def folder(self) -> Path:
        """Folder of the plan."""
        return trainer_folder(self.project.home) / f"{_begins(self.stage)}{self.input_key[:16]}"

    @property
    def is_planned(self) -> bool:
        """Return whether the plan was written."""
        return (self.folder / PLAN).exists()

    def plan(self, batch: Batch) -> None:
        """Write the plan; runs of an earlier batch of the stage stop unless this one has them, too."""
        examples, sets = {**batch.measured, **batch.further}, {}
        runs: dict[str, dict[str, Any]] = {}
        for run in batch.runs:
            chosen = canonical_digest("\n".join(run.doc_ids))
            sets[chosen] = list(run.doc_ids)
            runs[run.key] = {
                "label": run.label,
                "model": str(run.start.model),
                "shape": run.start.shape and asdict(run.start.shape),
                "options": asdict(run.options),
                "documents": chosen,
                "order": list(run.order),
                "target": run.target,
                "about": dict(run.about),
            }
        write_examples(self.folder / ROWS / EVALUATE, chain.from_iterable(examples.values()))
        plan = {
            "runs": runs,
            "sets": sets,
            "measured": {name: [row_of(example)["id"] for example in own] for name, own in examples.items()},
            "followed": next(iter(batch.measured)),
            "about": dict(batch.about),
        }
        for folder in trainer_folder(self.project.home).glob(f"{_begins(self.stage)}*"):
            if folder != self.folder:
                shutil.rmtree(folder)
        for other in submitted(self.project.home):
            if other.stage == self.stage and other.input_key not in runs:
                erase(other.folder)
        write_atomically(self.folder / PLAN, json.dumps(plan).encode())

    @cached_property
    def _plan(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / PLAN).read_bytes()))

    @property
    def about(self) -> Mapping[str, Any]:
        """Facts that the batch was planned with, for whoever records it."""
        return dict(self._plan["about"])

    @cached_property
    def _planned(self) -> dict[str, BatchRun]:
        return {
            key: BatchRun(
                key=key,
                label=run["label"],
                start=_start(run["model"], run["shape"]),
                options=MeasuredOptions(**run["options"]),
                doc_ids=self._plan["sets"][run["documents"]],
                about=run["about"],
                target=run["target"],
                order=run.get("order", []),  # a plan of 0.2 has none
            )
            for key, run in self._plan["runs"].items()
        }

    @cached_property
    def runs(self) -> list[Run]:
        """The runs of the plan, in their order."""
        return [batch_run(self.project, self.stage, run) for run in self._planned.values()]

    @property
    def has_failed(self) -> bool:
        """Return whether a run has failed since the last attempt: no further run is then submitted."""
        return any(map(self._has_failed, self.runs))

    def _has_failed(self, run: Run) -> bool:
        checked = run.folder / CHECKED
        if not run.is_submitted or run.first.ended is None or run.first.is_interrupted or checked.exists():
            return False
        try:
            run.results(self._held_out)
        except TamisError:
            return True
        checked.touch()
        return False

    @property
    def is_given_up(self) -> bool:
        """Return whether the failure of a run is noted: only a person has the others submitted."""
        return any((run.folder / NOTED).exists() for run in self.runs)

    @property
    def waiting(self) -> list[Run]:
        """Runs that could be submitted now."""
        if not self.goes_on and self.has_failed:
            return []
        return [run for run in self.runs if run.waiting]

    @property
    def has_ended(self) -> bool:
        """Return whether nothing runs or is left to submit."""
        # A run may be interrupted between both looks: what does not run now may wait then.
        return not any(run.running for run in self.runs) and not self.waiting

    def submit(self, free: int) -> None:
        """Submit the next runs, `free` at most; raises what `Run.submit` raises.

        Runs whose failure is noted begin from nothing.
        """
        for run in self.runs:
            if (run.folder / NOTED).exists():
                run.erase()
        for run in self.waiting[:free]:
            run.submit(self._content(run))

    def _content(self, run: Run) -> Content:
        planned = self._planned[run.input_key]
        texts, options = planned.texts(self.project.home.store), planned.options
        return Content(
            model=planned.start.model,
            shape=planned.start.shape,
            learning_rate=options.learning_rate,
            held_out=self._held_out,
            stages=[Rows(examples=texts, tokens=options.tokens, steps=_steps(options))],
        )

    @cached_property
    def _held_out(self) -> list[Example]:
        return examples_of(self.folder / ROWS / EVALUATE)

    def record(
        self,
        sizes: pl.DataFrame,
        receive: Receive,
        noun: str,
        checkpoint: Callable[[str], Path | None] = lambda run: None,
    ) -> None:
        """Hand over all runs that have ended.

        `sizes`: doc_id and n_tokens of documents. `noun`: for a run, in messages. `checkpoint` as for
        `train_batch`. Where runs failed, raises `BatchFailedError` once the others are recorded, unless the
        batch goes on; the failed ones wait again.
        """
        failed: dict[str, TamisError] = {}
        recorded = 0
        for run in self.runs:
            if not run.is_submitted or run.first.is_interrupted:  # it goes on in its folder
                continue
            try:
                results = run.results(self._held_out)
            except TamisError as error:
                failed[run.input_key] = error
                continue
            result = results[0][0]
            if result.checkpoint is not None and (folder := checkpoint(run.input_key)):
                run.keep(results, folder)
            planned = self._planned[run.input_key]
            receive(planned, self._measured(planned, result, sizes))
            recorded += 1
        if failed and self.goes_on and recorded:
            for key, reason in failed.items():
                receive(self._planned[key], f"{FAILED}: {reason}")
        elif failed:
            for run in self.runs:
                if run.input_key in failed:
                    run.give_up()
            named = {self._planned[key].label: reason for key, reason in failed.items()}
            raise BatchFailedError(noun, named, recorded)

    def _measured(self, run: BatchRun, result: Result, sizes: pl.DataFrame) -> MeasuredRun:
        own = sizes.join(pl.DataFrame({"doc_id": run.doc_ids}), on="doc_id", how="semi")
        evaluations = {name: _evaluation(result, ids) for name, ids in self._plan["measured"].items() if ids}
        return MeasuredRun(
            tokens=result.tokens,
            epochs=result.tokens / max(1, int(own["n_tokens"].sum())),
            steps=_steps(run.options),
            seconds=result.seconds,
            curve=[(max(1, result.tokens), evaluations[self._plan["followed"]].bits_per_byte)],
            evaluations=evaluations,
        )

    def erase(self) -> None:
        """Stop what runs, and erase the plan and its runs."""
        runs = self.runs if self.is_planned else []
        # First the plan: where a kill leaves it without some of its runs, these would be submitted again.
        (self.folder / PLAN).unlink(missing_ok=True)
        for run in runs:
            run.erase()
        shutil.rmtree(self.folder, ignore_errors=True)


def erase_batches(home: Home, stage: str) -> None:
    """Erase all plans of a stage."""
    for folder in trainer_folder(home).glob(f"{_begins(stage)}*"):
        shutil.rmtree(folder)


def _start(model: str, shape: Mapping[str, Any] | None) -> Start:
    folder = Path(model)
    return Start(model=folder if folder.is_dir() else model, shape=ModelShape(**shape) if shape else None)


def _steps(options: MeasuredOptions) -> int:
    return -(-options.tokens // (options.batch_size * options.sequence_length))


def _begins(stage: str) -> str:
    return f"{BEGINS}{stage}-"


def _evaluation(result: Result, ids: list[str]) -> Evaluation:
    """Return the losses of a run on texts, by their ids."""
    rows = {row.id: row for row in result.evaluations}
    own = [rows[text_id] for text_id in ids]
    bits_d = np.array([row.nats for row in own]) / np.log(2)
    bytes_d = np.array([row.bytes for row in own], dtype=np.int64)
    n_bytes = int(bytes_d.sum())
    return Evaluation(
        bits_per_byte=float(bits_d.sum() / n_bytes) if n_bytes else float("nan"),
        nats=float(sum(row.nats for row in own)),
        n_bytes=n_bytes,
        n_tokens=sum(row.tokens for row in own),
        document_bits=bits_d,
        document_bytes=bytes_d,
    )
