"""Samplers compared: what each would choose, and what the same small model learns from it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from tamis.base.files import write_atomically
from tamis.base.numbers import counted
from tamis.comparison.analysis import analyse, stored_report
from tamis.comparison.runs import CONTROLS, SCORES
from tamis.comparison.scoring import checkpoint_of, keep_scores, score_runs
from tamis.comparison.storing import TABLE, Comparison, all_runs, plan_batch, record_run
from tamis.evaluation.stage import evaluation_active, evaluation_settings
from tamis.platform.assets.evaluation import controls_of
from tamis.platform.assets.scorers import scorers, scoring_options
from tamis.platform.assets.specification import asset
from tamis.platform.assets.training import ended, start_of
from tamis.platform.resources.judge import JudgeResource
from tamis.report.comparison import comparison_plot_png
from tamis.report.rendering import plot_markdown
from tamis.report.samplers import sampler_page
from tamis.runtime.failures import tried_once
from tamis.runtime.record import Output, Rows
from tamis.runtime.step import Work
from tamis.samplers.paper import configured_paper_samplers
from tamis.selection.changes import compare_samplers
from tamis.selection.pool import token_sizes
from tamis.store.tables import ALL
from tamis.trainer.batches import SubmittedBatch, train_batch
from tamis.training.followed import MeasuredOptions
from tamis.training.stage import trainer_settings
from tamis.trust import require_trusted


@asset("sampler_trials", ["torch"], engine=True)
def sampler_trials(work: Work, judge: JudgeResource) -> Iterator[Any]:
    """The same small model trained on each sampler's selection, with several seeds for data and training."""
    submitted = SubmittedBatch(project=work.project, stage=TABLE, input_key=work.key(""))
    evaluated, cache = evaluation_active(work.snapshot), work.project.home.cache

    def checkpoint(run: str) -> Path | None:
        return checkpoint_of(cache, run) if evaluated else None

    if work.project.settings.trainer is not None:
        with tried_once():
            require_trusted(work.project)
            if not submitted.is_planned:
                submitted.plan(plan_batch(work.store, configured(work, judge)))
            has_ended = yield from ended(work, "", submitted, "the comparison of samplers")
            if not has_ended:
                return
            about, sizes = submitted.about, token_sizes(work.store)
            receive = partial(record_run, work.store, about["controls"])
            submitted.record(sizes, receive, "compared run", checkpoint)
    else:
        batch = plan_batch(work.store, configured(work, judge))
        about, tokens = batch.about, sum(run.options.tokens for run in batch.runs)
        with work.progress(counted(len(batch.runs), "run"), tokens, "tokens") as progress:
            train_batch(
                work.project,
                TABLE,
                batch,
                partial(record_run, work.store, about["controls"]),
                progress.advance,
                work.context.log.info,
                checkpoint,
            )
    rows = all_runs(work.store, about["keys"], about["controls"])
    if evaluated:
        with work.progress("evaluation of compared runs", unit="runs") as progress:
            config = evaluation_settings(work.snapshot)
            score_runs(work.project, work.store, rows["run"], config, progress.advance, work.context.log.info)
    keep_scores(work.store)
    listed = [Rows(table=TABLE)]
    listed += [Rows(table=CONTROLS)] if work.project.settings.control else []
    listed += [Rows(table=SCORES)] if evaluated else []
    yield from work.record(
        Output(
            rows=listed,
            row_count=len(rows),
            metadata={
                "plot": dg.MetadataValue.md(
                    plot_markdown(comparison_plot_png(analyse(rows, work.project.seed)))
                ),
                "failed_runs": len(rows) - rows["failure"].null_count(),
            },
        )
    )
    submitted.erase()


def configured(work: Work, judge: JudgeResource) -> Comparison:
    """The comparison that tamis.toml asks for, at the versions this step pinned."""
    settings, section = work.project.settings, work.project.settings.sampler_trials
    start = start_of(work, str(section.model), fresh=section.from_scratch)
    fresh = start.shape is not None
    recipe = settings.pretraining if fresh else settings.fine_tuning
    return Comparison(
        section=section,
        filters=settings.filters,
        start=start,
        options=MeasuredOptions(
            **recipe.model_dump(include={"sequence_length", "batch_size", "learning_rate", "compile"}),
            tokens=section.tokens,
            evaluations=section.evaluations,
        ),
        seed=work.project.seed,
        scoring=partial(scoring_options, work, scorers(work, judge, section.samplers)),
        unseen_by=None if fresh else section.model,
        scores=settings.score,
        controls=controls_of(work),
        trainer=trainer_settings(work.snapshot),
    )


@asset("sampler_comparison", ["polars"])
def sampler_comparison(work: Work) -> Iterator[Any]:
    """What each sampler would select at one budget, and how similar and how useful the selections are."""
    settings = work.project.settings
    budget, target = settings.selection[0].budget, settings.target[0].name
    agreement, chosen = compare_samplers(
        work.store, budget, target, work.project.seed, settings.filters, settings.score
    )
    work.store.put("sampler_comparison", agreement, ALL)
    page = work.project.home.reports / "sampler_comparison.html"
    trained = None
    if settings.sampler_trials.model:
        trained = stored_report(work.store, settings, work.project.seed)
    samplers = configured_paper_samplers(settings)
    write_atomically(page, sampler_page(agreement, chosen, trained, samplers).encode())
    yield from work.record(
        Output(
            files=[page],
            row_count=len(agreement),
            metadata={
                "samplers": dg.MetadataValue.json(chosen["sampler"].to_list()),
                "report": work.link(page),
            },
        )
    )
