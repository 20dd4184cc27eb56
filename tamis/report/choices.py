"""Trained models, trial by trial: the loss on the target, losses off the goal, and a user's scores.

A gain on the target and its cost elsewhere stand in one line: who sees the one sees the other.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tamis.evaluation.controls import POOL
from tamis.evaluation.losses import paired_losses
from tamis.evaluation.paired import Difference
from tamis.evaluation.scores import paired_scores
from tamis.evaluation.stage import CONTROL_LOSSES, EVALUATIONS
from tamis.project import Project
from tamis.report.rendering import render
from tamis.settings.references import named
from tamis.store.schemas import schema_of
from tamis.store.tables import Store
from tamis.training.planned import OF_TARGETS
from tamis.training.stage import TRIALS

PAGE = "trained_choices.html"
RANDOM = "random"
_OF_CONTROL = [
    *("trial", "control", "documents", "start_bits_per_byte", "bits_per_byte", "not_measured"),
    *("difference", "difference_low", "difference_high"),
]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A figure of a trial before and after training, with the difference in pairs; None where unknown.

    `name`: of the set or task. `why`: why there is no figure, else "".
    """

    name: str
    kind: Literal["target", "control", "task"]
    examples: int
    before: float | None
    after: float | None
    difference: float | None
    low: float | None = None
    high: float | None = None
    why: str = ""

    @property
    def clause(self) -> str:
        """Say it in the middle of a sentence."""
        if self.after is None:
            return f"not measured on {self.name}: {self.why}"
        said = f"on {self.name}" if self.kind == "control" else self.name
        if self.before is None or self.difference is None:
            return f"{said} {self.after:.3f}"
        ends = ""
        if self.low is not None and self.high is not None and math.isfinite(self.low):
            ends = f", 95 % interval: {self.low:+.3f} to {self.high:+.3f}"
        return f"{said} {self.before:.3f} -> {self.after:.3f} ({self.difference:+.3f}{ends})"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A trial and its measures; `against_random`: each less that of the trial of a random selection."""

    trial: str
    size: int
    target: Measure
    elsewhere: list[Measure]
    against: str
    against_random: list[tuple[str, Difference]]


@dataclass(frozen=True, kw_only=True)
class ChoicesPage:
    """Trials with figures besides the target's loss; `names`: of the measures, in the order of columns."""

    choices: list[Choice]
    compared: list[Choice]
    names: list[str]


def measures_of(store: Store) -> dict[str, list[Measure]]:
    """Return, by trial, the losses on controls and the scores of the user's evaluation."""
    found: dict[str, list[Measure]] = {}
    for row in store.read(CONTROL_LOSSES.name, _OF_CONTROL).sort("trial", "control").iter_rows(named=True):
        found.setdefault(row["trial"], []).append(
            Measure(
                name=place_of(row["control"]),
                kind="control",
                examples=row["documents"] or 0,
                before=row["start_bits_per_byte"],
                after=row["bits_per_byte"],
                difference=row["difference"],
                low=row["difference_low"],
                high=row["difference_high"],
                why=row["not_measured"] or "",
            )
        )
    for row in store.read(EVALUATIONS.name).sort("trial", "task").iter_rows(named=True):
        found.setdefault(row["trial"], []).append(
            Measure(
                name=row["task"],
                kind="task",
                examples=row["examples"],
                before=row["start_score"],
                after=row["score"],
                difference=row["difference"],
                low=row["difference_low"],
                high=row["difference_high"],
            )
        )
    return found


def place_of(control: str) -> str:
    """Name a control for a person."""
    return "the pool" if control == POOL else f"control {control}"


def choice_lines(project: Project) -> list[str]:
    """Return a line for each trial with a measure, and one for each that is compared with a random choice."""
    lines = []
    for choice in _choices(project):
        shown = "; ".join(measure.clause for measure in (choice.target, *choice.elsewhere))
        lines.append(f"{choice.trial}: {shown}")
        if choice.against_random:
            pairs = ", ".join(f"{name} {_signed(found)}" for name, found in choice.against_random)
            lines.append(f"  less {choice.against}, in pairs: {pairs}")
    return lines


def choices_page(project: Project) -> str:
    """Return the page of trials, the gains on their targets, and what these cost or bring elsewhere."""
    choices = _choices(project)
    names = dict.fromkeys(measure.name for choice in choices for measure in choice.elsewhere)
    return render(
        "choices.html",
        ChoicesPage(
            choices=choices,
            compared=[choice for choice in choices if choice.against_random],
            names=[*names],
        ),
    )


def _choices(project: Project) -> list[Choice]:
    store = project.home.store
    measures = measures_of(store)
    rows = store.read(TRIALS.name, schema_of(TRIALS.name).names).sort("trial").to_dicts()
    randoms = {(row["model"], row["kind"]): row["trial"] for row in rows if _is_random(project, row)}
    return [
        Choice(
            trial=row["trial"],
            size=row["size"],
            target=_of_target(row),
            elsewhere=measures[row["trial"]],
            against=(against := randoms.get((row["model"], row["kind"]), "")),
            against_random=[]
            if against in ("", row["trial"])
            else list(_differences(store, row["trial"], against)),
        )
        for row in rows
        if row["trial"] in measures
    ]


def _is_random(project: Project, row: Mapping[str, Any]) -> bool:
    """Return whether a trial learnt from a random selection: what another choice has to beat."""
    names = {section.name for section in project.settings.selection}
    if row["kind"] in OF_TARGETS or row["data"] not in names:
        return False
    return named(project.settings.selection, row["data"]).sampler == RANDOM


def _differences(store: Store, trial: str, against: str) -> Iterator[tuple[str, Difference]]:
    for control, found in paired_losses(store, trial, against).items():
        yield place_of(control), found
    yield from paired_scores(store, trial, against).items()


def _of_target(row: Mapping[str, Any]) -> Measure:
    """Return the figure on the held-out examples of the target: the loss, of labels the accuracy."""
    if row["accuracy"] is not None:
        return Measure(
            name="target accuracy",
            kind="target",
            examples=0,
            before=None,
            after=row["accuracy"],
            difference=None,
            low=row["accuracy_low"],
            high=row["accuracy_high"],
        )
    before, after = row["zero_shot_bits_per_byte"], row["held_out_bits_per_byte"]
    return Measure(
        name="target loss",
        kind="target",
        examples=0,
        before=before,
        after=after,
        difference=None if before is None or after is None else after - before,
        why="" if after is not None else "accuracy is measured after fine-tuning on the labels",
    )


def _signed(found: Difference) -> str:
    ends = f" (95 % interval: {found.low:+.3f} to {found.high:+.3f})" if math.isfinite(found.low) else ""
    return f"{found.mean:+.3f}{ends}"


def clauses_of(measures: Sequence[Measure]) -> str:
    """Return the measures as clauses that follow a loss, each with a semicolon before it."""
    return "".join(f"; {measure.clause}" for measure in measures)
