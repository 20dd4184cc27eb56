"""The state of each run of a project: planned, waiting, in training, failed, made or set aside.

Figures are those of the view `runs` of the SQL models. No table of results says what is planned, trains or
has failed: that follows from the settings, the plans, the folders of the [trainer] and the notes of failures.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from tamis.base.numbers import counted, named, percent
from tamis.comparison.runs import PlannedRun, planned_runs
from tamis.comparison.stage import SAMPLER_TRIALS, SAMPLER_TRIALS_LEFT
from tamis.graph.automation import SUBMITTED
from tamis.graph.failures import TABLE as STEP_FAILURES
from tamis.graph.failures import failed_steps, failed_trials
from tamis.graph.plan import Due, reason_of
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import SQL_FOLDER
from tamis.graph.submissions import MEASURED, in_training
from tamis.mixture.planned import LARGER, PLAN
from tamis.mixture.stage import MIXTURE_LOSSES, MIXTURE_RUNS
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import ManifestFolder, canonical_json
from tamis.records.published import measured_on
from tamis.sql import load_project, run_model
from tamis.sql.plan import pin_tables
from tamis.stage import all_made
from tamis.store.tables import Store
from tamis.training.failures import TABLE as TRIAL_FAILURES
from tamis.training.planned import OF_TARGETS, target_of_warm_up
from tamis.training.stage import TRIALS, TRIALS_STAGE
from tamis.tuning.stage import MIXTURE_GAIN_RUNS, TUNE_RUNS, TUNE_RUNS_LEFT

VIEW = "runs"
COMPARED, MIXTURE, RECIPE, GAIN = "compared", "mixture", "recipe", "gain"
KINDS = ("law", "warm_up", "two_stage", "direct", COMPARED, MIXTURE, RECIPE, GAIN)
"""Kinds of runs in the view."""
State = Literal["in training", "failed", "planned", "waiting", "made", "set aside"]
STATES: tuple[State, ...] = get_args(State)
RECORDED = (
    *(TRIALS.name, SAMPLER_TRIALS.name, SAMPLER_TRIALS_LEFT.name, MIXTURE_RUNS.name),
    *(TUNE_RUNS.name, TUNE_RUNS_LEFT.name, MIXTURE_GAIN_RUNS.name),
)
"""Tables with a row for each run."""
READ = (*RECORDED, MIXTURE_LOSSES.name, PLAN, LARGER, TRIAL_FAILURES, STEP_FAILURES)
"""Tables that states and figures follow from."""
NOT_MEASURED, OUT_OF_DATE = "losses are due", "out of date"
SOURCES_SHOWN = 3
_OF_RECIPE = [
    *("target", "part", "recipe", "model", "seed", "portion", "look", "documents", "tokens", "flop"),
    *("seconds", "bits_per_byte", "left_at"),
]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as the page shows it; figures are None where they are unknown, or where it is not made.

    `name`: for a person; `seeds`: how many trainings it is the mean of; `loss`: on the held-out examples of
    its target, in bits per byte; `note`: why it is in its state.
    """

    kind: str
    name: str
    model: str = ""
    target: str = ""
    data: str = ""
    seeds: int | None = None
    documents: int | None = None
    tokens: int | None = None
    flops: float | None = None
    seconds: float | None = None
    loss: float | None = None
    state: State = "made"
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Plans, trainings and failures, which no table of results has, by the names of runs for a person.

    `planned`: the runs that the project asks for. `training`: how many trainings of each go on. `failed`: the
    reason of each. `due`: notes on those that are to be made or measured; `waits`: inputs that they wait for.
    `cautions`: failures of whole stages.
    """

    planned: Mapping[str, Run]
    training: Mapping[str, int]
    failed: Mapping[str, str]
    due: Mapping[str, str]
    waits: Mapping[str, str]
    cautions: Sequence[str]

    def digest(self, store: Store) -> str:
        """Return a digest of all that states and figures follow from; no table is read."""
        planned = [[run.name, run.state, run.note] for run in self.planned.values()]
        notes = [self.training, self.failed, self.due, self.waits, self.cautions]
        versions = [store.version(table) for table in READ]
        return hashlib.sha256(canonical_json([planned, notes, versions]).encode()).hexdigest()[:16]

    def of_row(self, run: Run) -> Run:
        """Return a run of the view in its present state."""
        if run.name in self.training:
            return replace(run, state="in training", note=self._again(run.name))
        if run.name in self.failed:
            return replace(
                run, state="failed", note=f"the figures are of an earlier run: {self.failed[run.name]}"
            )
        if run.state == "failed":
            return run
        # A search or a test plans its runs one round at a time.
        if run.kind not in (RECIPE, GAIN) and run.name not in self.planned:
            return replace(run, note="no longer planned")
        return replace(run, note=self.due.get(run.name, ""))

    def of_planned(self, run: Run) -> Run:
        """Return a run that is in no table of results in its present state."""
        if run.name in self.training:
            return replace(run, state="in training", note=self._now(run.name))
        if run.name in self.failed:
            return replace(run, state="failed", note=self.failed[run.name])
        return replace(run, note=self.waits.get(run.name, run.note))

    def _again(self, name: str) -> str:
        return f"trained or measured again; {self._now(name)}"

    def _now(self, name: str) -> str:
        count = self.training[name]
        return f"{counted(count, 'run')} of [trainer] now" if count else "the next step submits or records it"


def read_outlook(snapshot: ProjectSnapshot, current: CurrentValues, due: Sequence[Due]) -> Outlook:
    """Return what is planned, trains or has failed. `due`: what is out of date."""
    store = snapshot.project.home.store
    steps = [step for step in failed_steps(store, snapshot, current, due) if step.asset in SUBMITTED]
    failed = {step.partition: step.reason for step in steps if step.partition}
    # Where a run is to be trained and measured, the training is said.
    entries = sorted(
        (entry for entry in due if entry.asset in SUBMITTED and entry.partition),
        key=lambda entry: entry.asset not in MEASURED,
    )
    for failure in failed_trials(snapshot, current, due):
        attempts = counted(failure.attempts, "attempt")
        failed[failure.trial] = (
            f"{attempts}{', not tried again' if failure.permanent else ''}: {failure.reason}"
        )
    return Outlook(
        planned={run.name: run for run in (*_trials(snapshot), *_compared(snapshot), *_mixtures(snapshot))},
        training={entry.run: entry.running for entry in in_training(snapshot.project.home)},
        failed=failed,
        due={
            entry.partition: f"{NOT_MEASURED if entry.asset in MEASURED else OUT_OF_DATE}: {reason_of(entry)}"
            for entry in entries
        },
        waits={entry.partition: reason_of(entry) for entry in entries if entry.waits_for},
        cautions=[step.line for step in steps if not step.partition],
    )


def _trials(snapshot: ProjectSnapshot) -> Iterable[Run]:
    for trial in snapshot.trials.values():
        waits = snapshot.waits_for_request(TRIALS_STAGE.partitions, trial.name)
        request = (
            "made by `tamis materialize --on-request`" if trial.on_request else "not asked for by the search"
        )
        yield Run(
            kind=trial.kind,
            name=trial.name,
            model=trial.model,
            target=trial.data
            if trial.kind in OF_TARGETS
            else target_of_warm_up(snapshot.project, trial.data),
            data=trial.data,
            state="waiting" if waits else "planned",
            note=request if waits else "",
        )


def _compared(snapshot: ProjectSnapshot) -> Iterable[Run]:
    section = snapshot.project.settings.sampler_trials
    if section.model is None:
        return
    for run in planned_runs(section.samplers, section.budgets, section.data_seeds, section.training_seeds):
        yield Run(
            kind=COMPARED,
            name=run.label,
            model=section.model,
            target=section.target or "",
            data=f"{run.sampler} {run.budget}",
            state="planned",
        )


def _mixtures(snapshot: ProjectSnapshot) -> Iterable[Run]:
    section, swarm = snapshot.project.settings.mixture, snapshot.swarm
    if section is None or swarm is None:
        return
    for run in (*swarm.proxies.values(), *swarm.larger.values()):
        if swarm.wants(run.name):
            weights = sorted(run.weights.items(), key=lambda item: (-item[1], item[0]))
            yield Run(
                kind=MIXTURE,
                name=run.name,
                model=run.preset,
                target=", ".join(sorted(section.targets)),
                data=named(
                    [f"{name} {percent(weight, 0)}" for name, weight in weights if weight], SOURCES_SHOWN
                ),
                state="planned",
            )


def read_runs(
    snapshot: ProjectSnapshot, current: CurrentValues, outlook: Outlook
) -> tuple[list[Run], list[str]]:
    """Return all runs, by state, kind, target and loss; and a line for each test that the view fails."""
    store = snapshot.project.home.store
    models = load_project(SQL_FOLDER)
    targets = measured_on(current, ManifestFolder.of(snapshot.project.home))
    trials = all_made(TRIALS_STAGE)(snapshot, "")
    result = run_model(models, VIEW, pin_tables(store, models, VIEW, trials, targets=targets).read)
    rows = [_run(row, outlook) for row in result.table.to_pylist()]
    left = [_left(row) for row in store.read(SAMPLER_TRIALS_LEFT.name).iter_rows(named=True)]
    left += [_left_recipe(row) for row in store.read(TUNE_RUNS_LEFT.name, _OF_RECIPE).iter_rows(named=True)]
    recorded = {run.name for run in rows}
    planned = [run for name, run in outlook.planned.items() if name not in recorded]
    runs = [*map(outlook.of_row, rows), *map(outlook.of_planned, planned), *left]
    broken = [
        f"the view {VIEW} fails its test {test.name}: {counted(test.failures, 'row')}"
        for test in result.tests
        if not test.passed
    ]
    return sorted(runs, key=_order), broken


def _order(run: Run) -> tuple[Any, ...]:
    place = STATES.index(run.state), KINDS.index(run.kind)
    return *place, run.target, run.loss is None, run.loss or 0.0, run.name


def _run(row: Mapping[str, Any], outlook: Outlook) -> Run:
    """Return a row of the view as it was recorded."""
    name, data = row["name"], row["data"] or ""
    if row["kind"] == COMPARED:
        name = _label(data, row)
    elif row["kind"] == RECIPE:
        name = f"{data}, seed {row['data_seed']}"
    elif row["kind"] == GAIN:
        name = f"{data}, pair {row['training_seed']}"
    elif row["kind"] == MIXTURE:
        data = named(data.split(", "), SOURCES_SHOWN) if data else ""
    asked = outlook.planned.get(name)
    return Run(
        kind=row["kind"],
        name=name,
        model=row["model"] or (asked.model if asked else ""),
        target=row["target"] or (asked.target if asked else ""),
        data=data or (asked.data if asked else ""),
        seeds=row["seeds"],
        documents=row["documents"],
        tokens=row["tokens"],
        flops=row["flops"],
        seconds=row["seconds"],
        loss=row["bits_per_byte"],
        state="failed" if row["failure"] else "made",
        note=row["failure"] or "",
    )


def _left(row: Mapping[str, Any]) -> Run:
    """Return a compared run that was set aside."""
    data = f"{row['sampler']} {row['budget']}"
    loss = row["target_bits_per_byte"]
    return Run(
        kind=COMPARED,
        name=_label(data, row),
        data=data,
        seeds=1,
        documents=row["documents"],
        tokens=row["tokens"],
        seconds=row["seconds"],
        loss=loss if loss is not None and math.isfinite(loss) else None,
        state="set aside",
        note=_left_note(row),
    )


def _left_recipe(row: Mapping[str, Any]) -> Run:
    """Return a run of [tune] that was set aside, with the names of the view."""
    loss = row["bits_per_byte"]
    portion = f" at {percent(row['portion'], 0)}" if row["portion"] is not None and row["portion"] < 1 else ""
    look = f" of look {row['look']}" if row["look"] else ""
    part = "speed" if row["part"] == "rate" else row["part"]
    data = f"{row['recipe']}, {part}{portion}{look}"
    return Run(
        kind=RECIPE,
        name=f"{data}, seed {row['seed']}",
        model=row["model"] or "",
        target=row["target"] if row["part"] == "guard" else f"{row['target']}, validation",
        data=data,
        seeds=1,
        documents=row["documents"],
        tokens=row["tokens"],
        flops=row["flop"],
        seconds=row["seconds"],
        loss=loss if loss is not None and math.isfinite(loss) else None,
        state="set aside",
        note=_left_note(row),
    )


def _left_note(row: Mapping[str, Any]) -> str:
    return f"not planned since {row['left_at']:%Y-%m-%d}; used again once it is planned again"


def _label(data: str, row: Mapping[str, Any]) -> str:
    sampler, _, budget = data.rpartition(" ")
    seeds = {name: row[name] for name in ("data_seed", "training_seed")}
    return PlannedRun(sampler=sampler, budget=budget, **seeds).label
