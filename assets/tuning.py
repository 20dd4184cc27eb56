"""Answers by a test in new pairs of runs: the recipe for a target, and what a mixture gains."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import dagster as dg

from tamis.base.files import write_atomically
from tamis.base.progress import say
from tamis.graph.tuning import key_of_runs, seconds_of_choosing
from tamis.mixture.analysis import Agreement, agreement
from tamis.mixture.stage import MIXTURE_LOSSES
from tamis.platform.assets.evaluation import controls_of
from tamis.platform.assets.scorers import scorers, scoring_options
from tamis.platform.assets.specification import asset
from tamis.platform.assets.training import ended, start_of
from tamis.platform.resources.judge import JudgeResource
from tamis.records.manifest import canonical_json
from tamis.report.mixture import GAIN_PAGE, mixture_page
from tamis.report.runs.recipe import PAGE, recipe_page
from tamis.runtime.failures import tried_once
from tamis.runtime.record import Output, Rows
from tamis.runtime.step import Work
from tamis.selection.pool import token_sizes
from tamis.settings.references import mixture_presets
from tamis.store.digests import canonical_digest
from tamis.store.tables import Store
from tamis.trainer.batches import Batch, BatchRun, SubmittedBatch, train_batch
from tamis.training import preset_shape
from tamis.training.followed import MeasuredOptions, MeasuredRun, Start
from tamis.training.models import count_parameters
from tamis.trust import require_trusted
from tamis.tuning.errors import UnknownSizeError
from tamis.tuning.gain import GainSettings, GainTest, gain_runs_in_words, record_gain_run
from tamis.tuning.guard import MOST_LOOKS
from tamis.tuning.recipes import TrainingRecipe, recipes_of
from tamis.tuning.runs import (
    ControlTexts,
    Progress,
    Tuning,
    basis_of,
    goal_of,
    record_run,
)
from tamis.tuning.stage import (
    MIXTURE_GAIN,
    MIXTURE_GAIN_RUNS,
    RECIPES,
    TUNE_ANSWERS,
    TUNE_RUNS,
    run_settings_of_mixture,
    starts_fresh,
)


@asset("recipe", ["torch", "scipy"], engine=True)
def recipe(work: Work, judge: JudgeResource) -> Iterator[Any]:
    """The recipe to train by for the target of [tune]: what it gains over random, and whether that pays."""
    project = work.project
    with tried_once():
        if project.settings.trainer is not None:
            require_trusted(project)
        tuning = configured(work, judge)
    progress = Progress(work.store, tuning)
    if progress.looks >= MOST_LOOKS:
        say(
            f"the held-out examples of {tuning.section.target} have been looked at {MOST_LOOKS} times: only "
            "a winner that was tested already has an answer; add examples to the target first"
        )
    rounds = Rounds(
        words=progress.in_words, record=record_run, noun="[tune] run", whole="the search for a recipe"
    )
    has_ended = yield from _trained(work, progress.advance, rounds)
    if not has_ended:
        return
    with tried_once():
        values = progress.finish()
    page = project.home.reports / PAGE
    write_atomically(page, recipe_page(project).encode())
    yield from work.record(
        Output(
            rows=[Rows(table=table.name) for table in (TUNE_RUNS, RECIPES, TUNE_ANSWERS)],
            files=[page],
            row_count=work.store.count(RECIPES.name),
            metadata={
                "answer": dg.MetadataValue.md(values["sentence"]),
                "report": work.link(page),
                "difference": float(values["difference"]),
            },
        )
    )
    submitted_runs(work).erase()


@asset("mixture_gain", ["torch", "scipy"])
def mixture_gain(work: Work) -> Iterator[Any]:
    """Loss of the recommended mixture less that of the natural shares, in new pairs of runs."""
    project = work.project
    with tried_once():
        if project.settings.trainer is not None:
            require_trusted(project)
        test = GainTest(work.store, _gain_settings(work))
    rounds = Rounds(
        words=gain_runs_in_words,
        record=record_gain_run,
        noun="mixture test run",
        whole="the test of the mixture",
    )
    has_ended = yield from _trained(work, test.advance, rounds)
    if not has_ended:
        return
    with tried_once():
        values = test.finish()
    page = project.home.reports / GAIN_PAGE
    write_atomically(page, mixture_page(project, _agreement(work), values["sentence"]).encode())
    known = {name: values[name] for name in ("difference", "low", "high") if values[name] is not None}
    yield from work.record(
        Output(
            rows=[Rows(table=table.name) for table in (MIXTURE_GAIN_RUNS, MIXTURE_GAIN)],
            files=[page],
            row_count=work.store.count(MIXTURE_GAIN_RUNS.name),
            metadata={"answer": dg.MetadataValue.md(values["sentence"]), "page": work.link(page), **known},
        )
    )
    submitted_runs(work).erase()


def _agreement(work: Work) -> Agreement | None:
    """Ranks of the mixtures by the larger runs, for the page."""
    swarm, section = work.snapshot.swarm, work.project.settings.mixture
    assert swarm is not None
    assert section is not None
    losses = work.store.read(MIXTURE_LOSSES.name)
    return agreement(swarm, losses, section.targets, work.project.seed)


def _gain_settings(work: Work) -> GainSettings:
    """Settings of the runs that test the mixture."""
    settings, section = work.project.settings, work.project.settings.mixture
    assert section is not None
    preset, _larger = mixture_presets(settings)
    assert preset is not None
    tokenizer = work.upstream("tokenizer")
    # The folder of the tokenizer is named by its input key.
    basis = [work.stage.code_version, run_settings_of_mixture(work.snapshot), tokenizer.name]
    pretraining = settings.pretraining.model_dump(exclude={"vocabulary", "tokens"})
    return GainSettings(
        section=section,
        seed=work.project.seed,
        preset=preset,
        basis=canonical_digest(canonical_json(basis)),
        start=Start(shape=preset_shape(preset, settings.pretraining.vocabulary), model=tokenizer),
        options=MeasuredOptions(**pretraining, tokens=section.run_tokens, evaluations=1),
    )


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """Kind of the runs of a stage that come in rounds, each as a batch; `noun`, `whole`: for messages."""

    words: Callable[[Batch], str]
    record: Callable[[Store, BatchRun, MeasuredRun | str], None]
    noun: str
    whole: str


def _trained(work: Work, ask: Callable[[], Batch | None], rounds: Rounds) -> Generator[Any, None, bool]:
    """Train and record what `ask` returns, until it returns None; return whether it did."""
    project, receive = work.project, partial(rounds.record, work.store)
    submitted = submitted_runs(work)
    if submitted.is_planned:
        has_ended = yield from _recorded(work, submitted, rounds)
        if not has_ended:
            return False
    while True:
        with tried_once():
            batch = ask()
        if batch is None:
            return True
        if project.settings.trainer is not None:
            submitted = submitted_runs(work)
            submitted.plan(batch)
            has_ended = yield from _recorded(work, submitted, rounds)
            if not has_ended:
                return False
            continue
        tokens = sum(run.options.tokens for run in batch.runs)
        with work.progress(rounds.words(batch), tokens, "tokens") as shown:
            train_batch(project, work.stage.name, batch, receive, shown.advance, work.context.log.info)


def submitted_runs(work: Work) -> SubmittedBatch:
    """The runs of a round on the command of [trainer]."""
    return SubmittedBatch(project=work.project, stage=work.stage.name, input_key=work.key(""), goes_on=True)


def _recorded(work: Work, submitted: SubmittedBatch, rounds: Rounds) -> Generator[Any, None, bool]:
    """Return whether the runs of a batch have ended; record them then, and forget the batch."""
    with tried_once():
        has_ended = yield from ended(work, "", submitted, rounds.whole)
        if has_ended:
            submitted.record(token_sizes(work.store), partial(rounds.record, work.store), rounds.noun)
            submitted.erase()
    return has_ended


def configured(work: Work, judge: JudgeResource) -> Tuning:
    """The tuning that tamis.toml asks for, at the versions this step pinned."""
    settings, section = work.project.settings, work.project.settings.tune
    assert section is not None
    starts, options, parameters, rates = {}, {}, {}, {}
    own = {model.name: model.learning_rate for model in settings.base_model}
    for model in section.models:
        fresh = starts_fresh(work.snapshot, model)
        starts[model] = start = start_of(work, model, fresh=fresh)
        trained = settings.pretraining if fresh else settings.fine_tuning
        options[model] = MeasuredOptions(
            **trained.model_dump(include={"sequence_length", "batch_size", "learning_rate", "compile"}),
            tokens=section.tokens,
        )
        size = start.shape.parameters if start.shape else count_parameters(start.model)
        if not size:
            raise UnknownSizeError(model)
        parameters[model] = float(size)
        rates[model] = section.learning_rates or (own[model] or trained.learning_rate,)
    goal = goal_of(work.store, section.target, settings.near_duplicates.threshold, work.project.seed)
    control = _control(work)

    @cache
    def basis(recipe: TrainingRecipe) -> str:
        key = key_of_runs(work.snapshot, work.current, recipe, section.quality)
        return basis_of(key, goal, control)

    return Tuning(
        section=section,
        recipes=recipes_of(section, rates, work.project.seed),
        basis=basis,
        seed=work.project.seed,
        goal=goal,
        filters=settings.filters,
        transport=settings.transport,
        starts=starts,
        parameters=parameters,
        options=options,
        scoring=partial(scoring_options, work, scorers(work, judge, section.samplers)),
        choosing_seconds=partial(seconds_of_choosing, work.project, work.snapshot, work.current),
        scores=settings.score,
        control=control,
    )


def _control(work: Work) -> ControlTexts | None:
    """The texts of all [[control]] sections; None where tamis.toml has none."""
    controls = controls_of(work)
    if not controls:
        return None
    return ControlTexts(
        name=" and ".join(control.name for control in controls),
        texts=[text for control in controls for text in control.texts],
        digest=canonical_digest("|".join(control.digest for control in controls)),
    )
