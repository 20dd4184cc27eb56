"""Worth of trained models besides the target's loss: losses on controls, and a user's evaluation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tamis.base.files import write_atomically
from tamis.base.numbers import counted
from tamis.base.progress import complain, say
from tamis.evaluation.controls import Control, draw_control, read_control, texts_in_pool
from tamis.evaluation.losses import MeasuredModel, update_control_losses
from tamis.evaluation.running import (
    Evaluated,
    evaluate_checkpoint,
    evaluate_once,
    evaluation_key,
    forget_evaluation,
)
from tamis.evaluation.scores import store_scores
from tamis.evaluation.stage import answers_labels, chosen_trials, evaluation_settings
from tamis.platform.assets.specification import asset, per_partition
from tamis.platform.resources.tracker import TrackerResource
from tamis.report.choices import PAGE, choices_page
from tamis.runtime.record import Output
from tamis.runtime.step import Work
from tamis.trainer.runs import require_checkpoint
from tamis.training.planned import model_section
from tamis.training.stage import BASE_MODELS_STAGE, TRIALS_STAGE


@asset("control_losses", ["torch", "mlflow"])
def control_losses(work: Work, tracker: TrackerResource) -> Iterator[Any]:
    """Loss of each trained choice on texts off the goal, before and after training.

    The texts are those of [[control]], else a part of the pool that none of the models trained on.
    """
    project = work.project
    names = chosen_trials(work.snapshot)
    models = [_model(work, name) for name in names]
    controls = controls_of(work)
    if not controls:
        trained = {*names, *(work.snapshot.trials[name].model for name in names)}
        drawn = draw_control(work.store, project.settings.filters, sorted(trained), project.seed)
        controls = [drawn] if drawn is not None else []
        if drawn is None and names:
            say(
                "no control: the compared models trained on nearly all of the pool; add a [[control]] with "
                "other texts to tamis.toml"
            )
    if names:
        tracker.require(project)
    with work.progress("controls", len(models) * len(controls), "measurements") as progress:
        rows = update_control_losses(
            work.store,
            models,
            controls,
            project.settings.fine_tuning.sequence_length,
            progress.advance,
            work.context.log.info,
        )
    facts: dict[str, Any] = {}
    for row in rows.filter(rows["not_measured"].is_null()).iter_rows(named=True):
        tracker.add(
            project,
            row["trial"],
            {
                f"control.{row['control']}.bits_per_byte": row["bits_per_byte"],
                f"control.{row['control']}.difference": row["difference"],
            },
        )
        facts[f"{row['trial']} on {row['control']}"] = row["difference"]
    yield from work.record(Output(row_count=len(rows), metadata=facts))


@asset("evaluations", ["torch", "mlflow"])
@per_partition
def evaluations(work: Work, key: str, tracker: TrackerResource) -> Iterator[Any]:
    """Scores of a trial's checkpoint by the command of [evaluation], in pairs with the model before training.

    The command runs within this step, so nothing else is written until it ends.
    """
    project, trial = work.project, work.snapshot.trials[key]
    tracker.require(project)
    trained = work.upstream(TRIALS_STAGE.name, key)
    require_checkpoint(key, trained)
    section, _fold = model_section(project, trial.model)
    start = project.model(section.path) if section.path else str(work.upstream("base_models", trial.model))
    config = evaluation_settings(work.snapshot)
    versions = [
        work.current[place].data_version
        for place in ((TRIALS_STAGE.name, key), (BASE_MODELS_STAGE.name, trial.model))
    ]
    after, before = (
        Evaluated(
            name=name,
            checkpoint=checkpoint,
            key=evaluation_key(config, version),
            files=config["files"],
        )
        for name, checkpoint, version in zip((key, trial.model), (str(trained), start), versions, strict=True)
    )
    with work.progress(f"evaluation of {key}"):
        scores = evaluate_checkpoint(project, after)
        # Others cannot load a model by the name that it has in Tamis alone.
        is_loadable = "/" in start
        starts = evaluate_once(project, before) if is_loadable else None
    summary = store_scores(work.store, key, scores, starts)
    metrics = {f"evaluation.{task}": score for task, score in summary.select("task", "score").iter_rows()}
    tracker.add(project, key, metrics)
    yield from work.record(Output(partition=key, row_count=len(scores), metadata=metrics))
    forget_evaluation(project, after)


@asset("trained_choices", ["polars"])
def trained_choices(work: Work) -> Iterator[Any]:
    """A page of trained models: the gain of each on its target, and what that cost or brought elsewhere."""
    page = work.project.home.reports / PAGE
    write_atomically(page, choices_page(work.project).encode())
    yield from work.record(Output(files=[page], metadata={"report": work.link(page)}))


def controls_of(work: Work) -> list[Control]:
    """Read each [[control]]; say how many of its rows cannot be used, and how many the pool has, too."""
    project = work.project
    found = [
        read_control(section, project.root, work.store, project.seed) for section in project.settings.control
    ]
    for control in found:
        if control.unread:
            complain(
                f"control {control.name}: {counted(control.unread, 'row')} without a usable text left out"
            )
        if in_pool := texts_in_pool(control, work.store):
            complain(
                f"control {control.name}: {in_pool} of {counted(len(control.texts), 'text')} in the pool, "
                "too; a choice may train on them, and their loss then says less of what it costs elsewhere"
            )
    return found


def _model(work: Work, name: str) -> MeasuredModel:
    trial = work.snapshot.trials[name]
    section, _fold = model_section(work.project, trial.model)
    start: Path | str = (
        work.project.model(section.path) if section.path else work.upstream("base_models", trial.model)
    )
    return MeasuredModel(
        trial=name,
        start=start,
        start_version=work.current[(BASE_MODELS_STAGE.name, trial.model)].data_version,
        trained=work.upstream(TRIALS_STAGE.name, name),
        trained_version=work.current[(TRIALS_STAGE.name, name)].data_version,
        answers_labels=answers_labels(work.snapshot, name),
        by_command=work.project.settings.trainer is not None,
    )
