"""Stages that measure trained models further: on controls, and by the user's own evaluation."""

from typing import Any

from tamis.evaluation import CODE_VERSION, EVALUATION_CODE_VERSION, REPORT_CODE_VERSION
from tamis.plugins.commands import command_files
from tamis.selection.stage import eligible_edges, filter_settings
from tamis.settings.references import named
from tamis.stage import (
    Automation,
    Growth,
    Snapshot,
    Stage,
    all_made,
    edge,
    only,
    precision_settings,
    same,
    when,
)
from tamis.store.columns import Table, integer, many, real, text
from tamis.training.planned import planned_trials
from tamis.training.stage import TRIALS_STAGE, target_of_trial

CONTROL_LOSSES = Table(
    name="control_losses",
    key=("trial", "control"),
    text=(),
    emptied=True,
    columns=(
        text("trial", "name of the trial"),
        text("control", 'name of the control in tamis.toml, or "pool" for the part drawn from the pool'),
        text("measurement", "digest of the models before and after training, the texts and the method"),
        integer("documents", "number of documents of the control that were measured"),
        real("start_bits_per_byte", "loss on the control before training, bits per UTF-8 byte"),
        real("bits_per_byte", "loss on the control after training, bits per UTF-8 byte"),
        real("difference", "loss after training less that before, bits per UTF-8 byte; positive is worse"),
        real("difference_low", "lower end of the 95 % interval of difference over documents"),
        real("difference_high", "upper end of the 95 % interval of difference over documents"),
        many(real("start_document_bits", "code length of each document before training, in bits")),
        many(real("document_bits", "code length of each document after training, in bits")),
        many(integer("document_bytes", "length of each document, in UTF-8 bytes")),
        text("not_measured", "why there is no loss; null if there is one"),
    ),
)


EVALUATION_SCORES = Table(
    name="evaluation_scores",
    key=("trial", "task", "example"),
    text=(),
    partition="trial",
    columns=(
        text("trial", "name of the trial"),
        text("task", "name of the task; of lm-eval's samples with the metric, as task:metric"),
        text("example", "id of the example within its task, as the evaluation gives it"),
        real("score", "score of the trained model on the example; higher is better"),
        real(
            "start_score",
            "score of the model before training on the same example; null if it was not evaluated on it",
        ),
    ),
)

EVALUATIONS = Table(
    name="evaluations",
    key=("trial", "task"),
    text=(),
    partition="trial",
    columns=(
        text("trial", "name of the trial"),
        text("task", "name of the task; of lm-eval's samples with the metric, as task:metric"),
        integer("examples", "number of examples of the task"),
        real("score", "mean score of the trained model"),
        real("score_low", "lower end of the 95 % interval of score over examples; null for one example"),
        real("score_high", "upper end of the 95 % interval of score over examples; null for one example"),
        integer("pairs", "number of examples on which the model before training was evaluated, too"),
        real("start_score", "mean score of the model before training, over the pairs"),
        real("difference", "mean score after training less that before, over the pairs"),
        real("difference_low", "lower end of the 95 % interval of difference over pairs"),
        real("difference_high", "upper end of the 95 % interval of difference over pairs"),
    ),
)


def chosen_trials(snapshot: Snapshot, partition: str = "") -> tuple[str, ...]:
    """Return the trials that show what a choice of documents is worth, but those that wait for a request."""
    return tuple(
        name
        for name, trial in snapshot.trials.items()
        if trial.kind != "law" and not snapshot.waits_for_request(TRIALS_STAGE.partitions, name)
    )


def controls_active(snapshot: Snapshot) -> bool:
    """Return whether tamis.toml plans trials, asked for or not, that are measured on a control."""
    return any(trial.kind != "law" for trial in planned_trials(snapshot.project))


def answers_labels(snapshot: Snapshot, trial: str) -> bool:
    """Return whether a trial ends with a model that answers with labels, which has no loss on texts."""
    target = named(snapshot.project.settings.target, target_of_trial(snapshot, trial))
    return target.label_column is not None and snapshot.trials[trial].kind != "warm_up"


def control_settings(snapshot: Snapshot) -> dict[str, Any]:
    """Return the controls of tamis.toml with the digests of their files; nothing without any."""
    found = {
        one.name: {"bytes": snapshot.control_fingerprints[one.name], "text_column": one.text_column}
        for one in snapshot.project.settings.control
    }
    return {"controls": found} if found else {}


def _from_pool(snapshot: Snapshot) -> bool:
    return not snapshot.project.settings.control


def _base_models(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(snapshot.trials[name].model for name in chosen_trials(snapshot)))


def _control_losses_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    window = {"sequence_length": snapshot.project.settings.fine_tuning.sequence_length}
    drawn = filter_settings(snapshot) if _from_pool(snapshot) else control_settings(snapshot)
    return window | drawn | precision_settings(snapshot)


def evaluation_active(snapshot: Snapshot) -> bool:
    """Return whether the project has an evaluation of its own."""
    return bool(snapshot.project.settings.evaluation.command)


def evaluates_trials(snapshot: Snapshot) -> bool:
    """Return whether there are trials that the evaluation is for."""
    return evaluation_active(snapshot) and bool(planned_trials(snapshot.project))


def evaluation_settings(snapshot: Snapshot, partition: str = "") -> dict[str, Any]:
    """Return the command, the digests of the project's files that it names, and the metric to read."""
    section, root = snapshot.project.settings.evaluation, snapshot.project.root
    command = {"command": list(section.command), "files": command_files(section.command, root)}
    return command | ({"metric": section.metric} if section.metric else {})


def _measured_trials(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
    """Return the trials that have a measure besides the target's."""
    if not evaluation_active(snapshot):
        return chosen_trials(snapshot)
    return all_made(TRIALS_STAGE)(snapshot, partition)


EVALUATIONS_STAGE = Stage(
    name="evaluations",
    group="training",
    partitions="trials",
    code_version=EVALUATION_CODE_VERSION,
    active=evaluation_active,
    edges=(
        edge(TRIALS_STAGE.name, same),
        edge("base_models", lambda snapshot, key: (snapshot.trials[key].model,)),
    ),
    settings=evaluation_settings,
    tables=(EVALUATIONS, EVALUATION_SCORES),
    automation=Automation.BY_HAND,
    growth=Growth.NOTHING,
)
CONTROL_STAGE = Stage(
    name="control_losses",
    group="training",
    code_version=CODE_VERSION,
    active=controls_active,
    edges=(
        edge(TRIALS_STAGE.name, chosen_trials),
        edge("base_models", _base_models),
        *(edge(one.asset, when(_from_pool, one.partitions)) for one in eligible_edges()),
    ),
    settings=_control_losses_settings,
    tables=(CONTROL_LOSSES,),
    automation=Automation.BY_HAND,
    growth=Growth.NOTHING,
)
CHOICES_STAGE = Stage(
    name="trained_choices",
    group="training",
    code_version=REPORT_CODE_VERSION,
    by_content=True,
    active=lambda snapshot: controls_active(snapshot) or evaluates_trials(snapshot),
    edges=(
        edge(TRIALS_STAGE.name, _measured_trials),
        edge(CONTROL_STAGE.name, when(controls_active, only)),
        edge(EVALUATIONS_STAGE.name, all_made(EVALUATIONS_STAGE)),
    ),
    automation=Automation.BY_HAND,
    growth=Growth.NOTHING,
)
STAGES = (CONTROL_STAGE, EVALUATIONS_STAGE, CHOICES_STAGE)
