"""One answer for a target: recipes searched under a budget, and the best of them tested against random."""

from collections.abc import Generator, Iterator
from functools import cache, partial
from typing import Any

import dagster as dg

from tamis.base.files import write_atomically
from tamis.graph.tuning import key_of_runs, seconds_of_choosing
from tamis.platform.assets.evaluation import controls_of
from tamis.platform.assets.scorers import scorers, scoring_options
from tamis.platform.assets.specification import asset
from tamis.platform.assets.training import ended, start_of
from tamis.platform.resources.judge import JudgeResource
from tamis.report.runs.recipe import PAGE, recipe_page
from tamis.runtime.failures import tried_once
from tamis.runtime.record import Output, Rows
from tamis.runtime.step import Work
from tamis.selection.pool import token_sizes
from tamis.store.digests import canonical_digest
from tamis.trainer.batches import SubmittedBatch, train_batch
from tamis.training.followed import MeasuredOptions
from tamis.training.models import count_parameters
from tamis.trust import require_trusted
from tamis.tuning.errors import UnknownSizeError
from tamis.tuning.recipes import TrainingRecipe, recipes_of
from tamis.tuning.runs import (
    ControlTexts,
    Progress,
    Tuning,
    basis_of,
    goal_of,
    record_run,
    runs_in_words,
)
from tamis.tuning.stage import RECIPES, TUNE_ANSWERS, TUNE_RUNS, starts_fresh


@asset("recipe", ["torch", "scipy"], engine=True)
def recipe(work: Work, judge: JudgeResource) -> Iterator[Any]:
    """The recipe to train by for the target of [tune]: what it gains over random, and whether that pays."""
    project = work.project
    with tried_once():
        if project.settings.trainer is not None:
            require_trusted(project)
        tuning = configured(work, judge)
    submitted = submitted_runs(work)
    if submitted.is_planned:
        has_ended = yield from _recorded(work, submitted)
        if not has_ended:
            return
    progress = Progress(work.store, tuning)
    while True:
        with tried_once():
            batch = progress.advance()
        if batch is None:
            break
        if project.settings.trainer is not None:
            submitted = submitted_runs(work)
            submitted.plan(batch)
            has_ended = yield from _recorded(work, submitted)
            if not has_ended:
                return
            continue
        receive, say = partial(record_run, work.store), work.context.log.info
        tokens = sum(run.options.tokens for run in batch.runs)
        with work.progress(runs_in_words(batch), tokens, "tokens") as shown:
            train_batch(project, work.stage.name, batch, receive, shown.advance, say)
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
    submitted.erase()


def submitted_runs(work: Work) -> SubmittedBatch:
    """The runs of a round on the command of [trainer]."""
    return SubmittedBatch(project=work.project, stage=work.stage.name, input_key=work.key(""), goes_on=True)


def _recorded(work: Work, submitted: SubmittedBatch) -> Generator[Any, None, bool]:
    """Return whether the runs of a batch have ended; record them then, and forget the batch."""
    with tried_once():
        has_ended = yield from ended(work, "", submitted, "the search for a recipe")
        if has_ended:
            submitted.record(token_sizes(work.store), partial(record_run, work.store), "run of [tune]")
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
