"""Runs of a comparison on the command of [trainer]: planned once, submitted one by one, recorded together.

A plan is a folder next to those of the runs: what each run trains on, by ids, and the rows that all are
measured on. So whoever looks at it, without a graph and after a kill too, submits the next run.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tamis.base.errors import TamisError
from tamis.base.files import write_atomically
from tamis.base.numbers import counted
from tamis.comparison.runs import TABLE, PlannedRun
from tamis.comparison.storing import (
    TARGET,
    Comparison,
    NamedRun,
    all_runs,
    digests,
    held_out_texts,
    missing_runs,
    record_run,
    run_of,
    training_texts,
)
from tamis.project import Project
from tamis.readers.text import normalised_id
from tamis.selection.pool import token_sizes
from tamis.store.home import Home
from tamis.store.tables import Store
from tamis.trainer.exchange import EVALUATE, Result, texts_of, write_texts
from tamis.trainer.runs import NOTED, Content, Rows, Run, erase, submitted, trainer_folder
from tamis.training.evaluation import Evaluation
from tamis.training.followed import MeasuredRun
from tamis.training.shapes import ModelShape

PLAN, ROWS, BEGINS = "plan.json", "rows", "compared-"
CHECKED = "checked"
"""File in the folder of a run whose result answers its spec."""


class ComparedRunsFailedError(TamisError):
    """Runs of a comparison that failed: the others are recorded, these are submitted again."""

    def __init__(self, failed: Mapping[str, TamisError], recorded: int) -> None:
        self.failed = failed
        label, first = next(iter(failed.items()))
        rest = f"; {counted(recorded, 'run')} that ended well {'is' if recorded == 1 else 'are'} recorded"
        super().__init__(
            f"{counted(len(failed), 'compared run')} failed ({label}: {first}){rest}; `tamis materialize` "
            "submits the others again"
        )
        self.withheld = "\n".join(
            f"{name}: {getattr(error, 'withheld', error)}" for name, error in failed.items()
        )


@dataclass(frozen=True, kw_only=True)
class ComparedRuns:
    """The runs that a comparison lacks, under the input key of its stage."""

    project: Project
    input_key: str

    @cached_property
    def folder(self) -> Path:
        """Folder of the plan."""
        return trainer_folder(self.project.home) / f"{BEGINS}{self.input_key[:16]}"

    @property
    def is_planned(self) -> bool:
        """Return whether the plan was written."""
        return (self.folder / PLAN).exists()

    @cached_property
    def _plan(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / PLAN).read_bytes()))

    def plan(self, store: Store, comparison: Comparison) -> None:
        """Write the plan of the missing runs; runs of an earlier plan stop unless this one has them, too.

        Runs from which nothing could be learnt get their rows at once. Raises `TooSmallPoolError`.
        """
        held_out = held_out_texts(store, comparison)
        measured = held_out | {control.name: list(control.texts) for control in comparison.controls}
        options, runs, sets = comparison.options, {}, {}
        keys: list[str] = []
        for run in missing_runs(store, comparison, held_out, keys):
            planned = run.planned
            place = f"{planned.sampler} {planned.budget} {planned.data_seed}"
            sets[place] = list(run.doc_ids)
            seed = comparison.training_seed(planned)
            runs[run.key] = {"planned": asdict(planned), "seed": seed, "documents": place}
        write_texts(self.folder / ROWS / EVALUATE, (text for texts in measured.values() for text in texts))
        plan = {
            "keys": keys,
            "runs": runs,
            "sets": sets,
            "measured": {name: [normalised_id(text) for text in own] for name, own in measured.items()},
            "controls": digests(comparison.controls),
            "model": str(comparison.start.model),
            "shape": comparison.start.shape and asdict(comparison.start.shape),
            "tokens": options.tokens,
            "steps": -(-options.tokens // (options.batch_size * options.sequence_length)),
            "learning_rate": options.learning_rate,
        }
        self._erase_others({*runs})
        write_atomically(self.folder / PLAN, json.dumps(plan).encode())

    def _erase_others(self, keys: set[str]) -> None:
        for other in trainer_folder(self.project.home).glob(f"{BEGINS}*"):
            if other != self.folder:
                shutil.rmtree(other)
        for one in submitted(self.project.home):
            if one.stage == TABLE and one.input_key not in keys:
                erase(one.folder)

    @cached_property
    def runs(self) -> list[Run]:
        """The runs of the plan, in their order."""
        return [
            run_of(self.project, self._named(key), run["seed"]) for key, run in self._plan["runs"].items()
        ]

    def _named(self, key: str) -> NamedRun:
        run = self._plan["runs"][key]
        planned, doc_ids = PlannedRun(**run["planned"]), self._plan["sets"][run["documents"]]
        return NamedRun(key=key, planned=planned, doc_ids=doc_ids)

    @property
    def has_failed(self) -> bool:
        """Return whether a run has failed since the last attempt: no further run is then submitted."""
        return any(map(self._has_failed, self.runs))

    def _has_failed(self, one: Run) -> bool:
        checked = one.folder / CHECKED
        if not one.is_submitted or one.first.ended is None or one.first.is_interrupted or checked.exists():
            return False
        try:
            one.first.result(self._held_out)
        except TamisError:
            return True
        checked.touch()
        return False

    @property
    def is_given_up(self) -> bool:
        """Return whether the failure of a run is noted: only a person has the others submitted."""
        return any((one.folder / NOTED).exists() for one in self.runs)

    @property
    def waiting(self) -> list[Run]:
        """Runs that could be submitted now."""
        return [] if self.has_failed else [one for one in self.runs if one.waiting]

    @property
    def has_ended(self) -> bool:
        """Return whether nothing runs or is left to submit."""
        # A run may be interrupted between both looks: what does not run now may wait then.
        return not any(one.running for one in self.runs) and not self.waiting

    def submit(self, store: Store, free: int) -> None:
        """Submit the next runs, `free` at most; raises what `Run.submit` raises.

        Runs whose failure is noted begin from nothing.
        """
        for one in self.runs:
            if (one.folder / NOTED).exists():
                one.erase()
        for one in self.waiting[:free]:
            one.submit(self._content(store, one))

    def _content(self, store: Store, one: Run) -> Content:
        plan = self._plan
        texts = training_texts(store, self._named(one.input_key).doc_ids, one.seeds[0])
        return Content(
            model=Path(plan["model"]) if Path(plan["model"]).is_dir() else plan["model"],
            shape=ModelShape(**plan["shape"]) if plan["shape"] else None,
            learning_rate=plan["learning_rate"],
            held_out=self._held_out,
            stages=[Rows(examples=texts, tokens=plan["tokens"], steps=plan["steps"])],
        )

    @cached_property
    def _held_out(self) -> list[str]:
        return texts_of(self.folder / ROWS / EVALUATE)

    def record(
        self, store: Store, checkpoint: Callable[[str], Path | None] = lambda run: None
    ) -> pl.DataFrame:
        """Write the rows of all runs that have ended; all rows of the comparison, in order.

        `checkpoint`: folder for the model of a run, where it is wanted. Where runs failed, raises
        `ComparedRunsFailedError` once the others are recorded; the failed ones wait again.
        """
        sizes = token_sizes(store).select("doc_id", "n_tokens")
        failed: dict[str, TamisError] = {}
        recorded = 0
        for one in self.runs:
            if not one.is_submitted or one.first.is_interrupted:  # it goes on in its folder
                continue
            try:
                result = one.first.result(self._held_out)
            except TamisError as error:
                failed[one.name] = error
                one.give_up()
                continue
            if result.checkpoint is not None and (folder := checkpoint(one.input_key)):
                one.keep([[result]], folder)
            self._record(store, one.input_key, result, sizes)
            recorded += 1
        if failed:
            raise ComparedRunsFailedError(failed, recorded)
        return all_runs(store, self._plan["keys"], self._plan["controls"])

    def _record(self, store: Store, key: str, result: Result, sizes: pl.DataFrame) -> None:
        run = self._named(key)
        own = sizes.join(pl.DataFrame({"doc_id": run.doc_ids}), on="doc_id", how="semi")
        evaluations = {name: _evaluation(result, ids) for name, ids in self._plan["measured"].items() if ids}
        measured = MeasuredRun(
            tokens=result.tokens,
            epochs=result.tokens / max(1, int(own["n_tokens"].sum())),
            steps=self._plan["steps"],
            seconds=result.seconds,
            curve=[(max(1, result.tokens), evaluations[TARGET].bits_per_byte)],
            evaluations=evaluations,
        )
        record_run(store, run, self._plan["controls"], measured)

    def erase(self) -> None:
        """Stop what runs, and erase the plan and its runs."""
        if self.is_planned:
            for one in self.runs:
                one.erase()
        shutil.rmtree(self.folder, ignore_errors=True)


def erase_plans(home: Home) -> None:
    """Erase all plans of compared runs."""
    for folder in trainer_folder(home).glob(f"{BEGINS}*"):
        shutil.rmtree(folder)


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
