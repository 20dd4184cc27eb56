"""The runs of [mixture] before they are trained: how many, at which price; then what came of them."""

from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from tamis.base.errors import PermanentError
from tamis.base.numbers import brief, counted, named, significant
from tamis.graph.snapshot import ProjectSnapshot
from tamis.mixture import runs_needed
from tamis.mixture.analysis import AGREEMENT_RUNS, LEAST_AGREEMENT_RUNS, Agreement, agreement
from tamis.mixture.proposing import runs_to_extend
from tamis.mixture.sources import source_of_documents
from tamis.mixture.stage import MIXTURE_CONTROLS, MIXTURE_LOSSES, MIXTURE_RUNS, MIXTURE_SOURCES
from tamis.project import Project
from tamis.records.current_values import read_current_values
from tamis.report.mixture import GAIN_PAGE, PAGE, mixture_lines
from tamis.scan.sources import due, scan
from tamis.selection.stage import MIXTURE
from tamis.settings.references import mixture_presets
from tamis.topics.storing import read_centers
from tamis.training import preset_shape
from tamis.tuning.stage import GAIN_STAGE, MIXTURE_GAIN

OPERATIONS_A_SECOND = 1.5e11
"""Of two CPU cores that train small shapes (`tamis.training.pretraining`); used until runs were timed."""


class NoMixtureError(PermanentError):
    """The project has no [mixture]."""

    def __init__(self, project: Project) -> None:
        super().__init__(
            f"{project.file} has no [mixture]; add one with target, model and train_tokens (docs/mixtures.md)"
        )


@dataclass(frozen=True, kw_only=True)
class Priced:
    """Runs of one preset: how many there are in the plan, and what training those that are missing takes.

    `timed`: seconds follow from runs of this preset in this home, else from those of two CPU cores.
    """

    preset: str
    runs: int
    made: int
    tokens: int
    flops: float
    seconds: float
    timed: bool

    @property
    def line(self) -> str:
        """For people."""
        missing = self.runs - self.made
        if not missing:
            return f"{counted(self.runs, 'run')} of {self.preset}: all are trained"
        by = (
            "estimated from earlier runs"
            if self.timed
            else "estimated for two CPU cores, since no run has been timed yet"
        )
        return (
            f"{counted(missing, 'run')} of {self.preset} to train ({self.made:,} of {self.runs:,} are done): "
            f"{missing * self.tokens:,} tokens, {significant(self.flops, 3)} FLOPs, about "
            f"{brief(self.seconds)} ({by})"
        )


def priced_runs(project: Project, snapshot: ProjectSnapshot) -> tuple[list[Priced], list[str]]:
    """Return what the runs of [mixture] take, and the sources they are planned over, as known now.

    Before they are planned, the number follows from the corpora, or from the sources of the documents that
    are there; where corpora came since, from those.
    """
    section = project.settings.mixture
    if section is None:
        raise NoMixtureError(project)
    small, larger = mixture_presets(project.settings)
    assert small is not None
    swarm, sources = snapshot.swarm, sources_named(project)
    store = project.home.store
    new = {*sources}.difference(store.read(MIXTURE_SOURCES.name, ["source"])["source"]) if swarm else ()
    done = set(store.read(MIXTURE_RUNS.name, ["run"])["run"])
    names = [run.name for run in swarm.current] if swarm else []
    if swarm is None:
        count = section.runs or runs_needed(len(sources)) if sources else 0
    else:  # planned again over the virtual source and new ones
        count = runs_to_extend(len(new)) if new else len(names)
    made = 0 if new else len(done.intersection(names))
    found = [_priced(project, small, count, made, section.run_tokens)]
    if larger is not None and count:
        wanted = swarm.larger_wanted if swarm else frozenset()
        planned = len(wanted) if len(wanted) >= LEAST_AGREEMENT_RUNS else min(AGREEMENT_RUNS, count)
        found.append(_priced(project, larger, planned, len(done & wanted), section.run_tokens))
    return found, sources


def sources_named(project: Project) -> list[str]:
    """Return the sources of [mixture]: the corpora, or those of the documents that are there.

    Before topics are fitted these are as many as there may be.
    """
    section = project.settings.mixture
    if section is None or section.sources == "corpora":
        return sorted(corpus.name for corpus in project.settings.corpus)
    if section.sources == "topics":
        found, _center_cd = read_centers(project.home.store)
        return found or [f"topic {number + 1}" for number in range(project.settings.topics.count)]
    return sorted(source_of_documents(project.home.store, section, {})["group"].unique())


def _priced(project: Project, preset: str, runs: int, made: int, tokens: int) -> Priced:
    past = project.home.store.read(MIXTURE_RUNS.name, ["preset", "tokens", "seconds"])
    past = past.filter((pl.col("preset") == preset) & (pl.col("seconds") > 0) & (pl.col("tokens") > 0))
    parameters = preset_shape(preset, project.settings.pretraining.vocabulary).parameters
    flops = 6.0 * parameters * tokens * (runs - made)
    if len(past):
        rate = float((past["seconds"] / past["tokens"]).median())  # type: ignore[arg-type]
        seconds = rate * tokens * (runs - made)
    else:
        seconds = flops / OPERATIONS_A_SECOND
    return Priced(
        preset=preset,
        runs=runs,
        made=made,
        tokens=tokens,
        flops=flops,
        seconds=seconds,
        timed=bool(len(past)),
    )


def read_mixture(project: Project) -> dict[str, Any]:
    """Return the plan of the runs with its price, and the mixture made of them. Raises `NoMixtureError`."""
    snapshot = scan(project)
    runs, sources = priced_runs(project, snapshot)
    section, store = project.settings.mixture, project.home.store
    assert section is not None
    swarm = snapshot.swarm
    losses = store.read(MIXTURE_LOSSES.name)
    agreed = agreement(swarm, losses, section.targets, project.seed) if swarm and len(losses) else None
    changes = store.read(MIXTURE_SOURCES.name, ["source", "documents", "tokens", "share", "change"]).sort(
        "source"
    )
    return {
        "targets": list(section.targets),
        "sources": [
            *changes.to_dicts(),
            *({"source": name} for name in sources if name not in set(changes["source"])),
        ],
        "parts": {name: dict(ratio) for name, ratio in swarm.parts.items()} if swarm else None,
        "runs": [asdict(one) for one in runs],
        "mixtures": [{"run": one.name, "weights": dict(one.weights)} for one in swarm.current]
        if swarm
        else [],
        "agreement": asdict(agreed) if agreed else None,
        "mixture": store.read("mixture").sort("source").to_dicts(),
        "controls": store.read(MIXTURE_CONTROLS.name).sort("name").to_dicts(),
        "gain": _gain(project),
    }


def _gain(project: Project) -> dict[str, Any] | None:
    """Return the answer of the test of the mixture, and why it is out of date; None before there is one."""
    section, store = project.settings.mixture, project.home.store
    if section is None or not section.pairs or (GAIN_STAGE.name, "") not in read_current_values(store):
        return None
    answers = store.read(MIXTURE_GAIN.name).to_dicts()
    return answers[0] | {"out_of_date": due(project, GAIN_STAGE.name, "")} if answers else None


def _gain_line(project: Project, gain: dict[str, Any] | None) -> str:
    section = project.settings.mixture
    if section is None or not section.pairs:
        return "not tested against the natural shares: [mixture] has pairs = 0"
    if gain is None:
        return (
            f"not tested against the natural shares; `tamis materialize --only {GAIN_STAGE.name}` trains "
            f"both again in {counted(section.pairs, 'pair')} of new runs"
        )
    if gain["out_of_date"]:
        return f"{gain['sentence']} This test is out of date: {gain['out_of_date']}"
    return str(gain["sentence"])


def lines_of(project: Project, found: dict[str, Any]) -> list[str]:
    """Return it for a person."""
    sources = [one["source"] for one in found["sources"]]
    lines = [
        f"{counted(len(sources), 'source')}: {named(sources)}" if sources else "no sources are known yet"
    ]
    lines += [Priced(**one).line for one in found["runs"] if one["runs"]]
    if found["agreement"]:
        lines.append(Agreement(**found["agreement"]).words)
    made = mixture_lines(project.home.store)
    value = read_current_values(project.home.store).get((MIXTURE, ""))
    refused = value is not None and value.finished and not value.passed
    if refused:
        kept = "what follows is an earlier mixture" if made else "there is no earlier mixture"
        lines.append(
            f"these runs recommend no mixture, and {kept}; `tamis materialize` alone will not change that: "
            "set more runs, larger run_tokens or other sources in [mixture] first"
        )
    if made:
        page = project.home.reports / (GAIN_PAGE if found["gain"] else PAGE)
        lines += [*made, _gain_line(project, found["gain"]), f"page: {project.home.relative(page)}"]
    elif not refused:
        section = project.settings.mixture
        tests = f", then {2 * section.pairs} that test the mixture" if section and section.pairs else ""
        lines.append(
            f"no mixture yet: `tamis materialize` trains these runs{tests}; after an interruption, repeat "
            "the command to resume"
        )
    return lines


def plan_lines(project: Project) -> list[str]:
    """Return what the runs of [mixture] add to a plan, which cannot list those that are not planned yet."""
    if project.settings.mixture is None:
        return []
    runs, _sources = priced_runs(project, scan(project))
    return [f"[mixture]: {one.line}" for one in runs if one.runs > one.made]
