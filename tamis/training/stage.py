"""Stages of models: those trained on the pool, the scores that they give, and trials that fine-tune them."""

from collections.abc import Iterable
from typing import Any

from tamis.plugins.commands import command_files
from tamis.settings.samplers import OF_BASE_MODELS, model_of
from tamis.stage import (
    Automation,
    Growth,
    Learning,
    PartitionMapping,
    Snapshot,
    Stage,
    edge,
    every,
    only,
    precision_settings,
    same,
    section_settings,
    when,
)
from tamis.store.columns import DOC_ID, FINGERPRINT, TRAINING_COUNT, Table, integer, real, single, text
from tamis.training import CODE_VERSION, model_identity
from tamis.training.planned import OF_TARGETS, TWIN, model_section, target_of_warm_up

SCORES_PERPLEXITY = Table(
    name="scores_perplexity",
    key=("doc_id",),
    text=(),
    retained=True,
    per_document=True,
    source="perplexity_scores",
    scores=("bits_per_byte",),
    columns=(
        DOC_ID,
        single(
            "bits_per_byte",
            "loss of a model that was not trained on the document, bits per UTF-8 byte of the document",
        ),
        FINGERPRINT,
    ),
)

TRAINED_ON = Table(
    name="trained_on",
    key=("checkpoint", "doc_id"),
    text=(),
    evidence=True,
    indexed=True,
    columns=(
        text("checkpoint", "base model, trial or mixture run that trained on the document"),
        DOC_ID,
        text("data", "pool, target, selection or source from which the document was taken"),
        TRAINING_COUNT,
    ),
)

TRIALS = Table(
    name="trials",
    key=("trial",),
    text=(),
    sealed=True,
    partition="trial",
    columns=(
        text("trial", "name of the trial"),
        text("model", "name of the base model"),
        text("kind", "kind of trial: law (for the scaling law), warm_up, two_stage or direct"),
        text("data", "name of the target or selection on which the model was trained"),
        integer("size", "number of training documents, summed over the stages of the trial"),
        integer(
            "seed",
            "random seed of the subset and of the first training run; later runs use the next integers",
        ),
        real(
            "zero_shot_bits_per_byte",
            "loss on the target's held-out examples before training, bits per UTF-8 byte; null for labels",
        ),
        real(
            "held_out_bits_per_byte",
            "loss on the target's held-out examples after training, mean over seeds, bits per UTF-8 "
            "byte; null for labels",
        ),
        real(
            "held_out_low", "lower end of the 95 % interval of held_out_bits_per_byte over seeds and examples"
        ),
        real(
            "held_out_high",
            "upper end of the 95 % interval of held_out_bits_per_byte over seeds and examples",
        ),
        real(
            "warm_up_bits_per_byte",
            "loss on the target's held-out examples after the first of two stages, mean over seeds, "
            "bits per UTF-8 byte",
        ),
        real(
            "held_out_loss",
            "loss on a labelled target's held-out examples after training, mean over seeds, nats per example",
        ),
        real(
            "accuracy",
            "share of the held-out examples that the trained model labels correctly, mean over seeds",
        ),
        real("accuracy_low", "lower end of the 95 % interval of accuracy over seeds and examples"),
        real("accuracy_high", "upper end of the 95 % interval of accuracy over seeds and examples"),
        real("macro_f1", "F1 on the held-out examples, mean over the labels and over seeds"),
        real("macro_f1_low", "lower end of the 95 % interval of macro_f1 over seeds and examples"),
        real("macro_f1_high", "upper end of the 95 % interval of macro_f1 over seeds and examples"),
        real(
            "majority_accuracy",
            "accuracy of always predicting the most frequent label of the training examples",
        ),
        integer(
            "seeds",
            "number of training runs, each with its own seed; losses are averaged over them, costs summed",
        ),
        integer("steps", "number of optimiser steps, summed over stages and seeds"),
        integer("tokens", "number of training tokens read, including repeats, summed over stages and seeds"),
        real(
            "flops",
            "operations, summed over stages and seeds: 6 N T for training (4 N T + 6 M T with an "
            "adapter) and 2 N T for evaluation, with N parameters, M trained ones and T tokens",
        ),
        real("seconds", "wall-clock time of training and evaluation, summed over stages and seeds [s]"),
        integer(
            "peak_memory_bytes", "highest resident memory of the process over all stages and seeds, bytes"
        ),
        integer("parameters", "number of parameters of the model"),
        integer(
            "trainable_parameters",
            "number of parameters that were trained; with an adapter, fewer than `parameters`",
        ),
        real(
            "evaluation_flops",
            "part of flops spent on evaluation, which does not depend on the training data",
        ),
        real(
            "evaluation_seconds",
            "part of seconds spent on evaluation and on writing the checkpoint, which does not depend "
            "on the training data",
        ),
        text("checkpoint", "folder of the trained weights, relative to the home folder"),
        text("mlflow_run", "MLflow run id"),
    ),
)


CONTAMINATION = "contamination"
"""Stage and table of `tamis.selection`: documents that hold the evaluation, so no model trains on them."""
KEPT_OUT = "kept_out"
"""Stage and table of `tamis.selection`: documents that give rows of benchmarks away."""


def benchmarks_named(snapshot: Snapshot) -> bool:
    """Return whether the project keeps benchmarks out of training."""
    return bool(snapshot.project.settings.keep_out)


def with_twins(snapshot: Snapshot, samplers: Iterable[str]) -> tuple[str, ...]:
    """Return the base models, and their twins, by whose losses these samplers rank."""
    asked = [found.model for name in samplers if (found := model_of(name)) and found.family in OF_BASE_MODELS]
    both = [model for name in dict.fromkeys(asked) for model in (name, name + TWIN)]
    return tuple(model for model in both if model in snapshot.keys("models"))


def perplexity_wanted(snapshot: Snapshot) -> bool:
    """Return whether a model is configured that measures perplexity."""
    return bool(_perplexity_models(snapshot, ""))


def _perplexity_models(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
    name = snapshot.project.settings.perplexity.model
    if name is None:
        return ()
    return tuple(model for model in (name, name + TWIN) if model in snapshot.keys("models"))


def trained_on_pool(snapshot: Snapshot, model: str) -> bool:
    """Return whether the graph trains a base model, rather than reads one from its files."""
    return model_section(snapshot.project, model)[0].preset is not None


def _if_trained(mapping: PartitionMapping) -> PartitionMapping:
    return lambda snapshot, model: mapping(snapshot, model) if trained_on_pool(snapshot, model) else ()


def _base_model_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    section, fold = model_section(snapshot.project, partition)
    if section.path is not None:
        return {"model": model_identity(snapshot.project.model(section.path))}
    kept = {"checkpoints": section.checkpoints} if section.checkpoints else {}
    shape = {"preset": section.preset, "fold": fold} | kept
    return shape | snapshot.project.settings.pretraining.recipe() | precision_settings(snapshot)


def target_of_trial(snapshot: Snapshot, name: str) -> str:
    """Return the target on whose held-out examples a trial is evaluated."""
    trial = snapshot.trials[name]
    return trial.data if trial.kind in OF_TARGETS else target_of_warm_up(snapshot.project, trial.data)


def _selection_of_trial(snapshot: Snapshot, name: str) -> tuple[str, ...]:
    trial = snapshot.trials[name]
    return () if trial.kind in OF_TARGETS else (trial.data,)


def trainer_settings(snapshot: Snapshot) -> dict[str, Any]:
    """Return the command of [trainer], with digests of the project's files that it names; {} without one."""
    trainer = snapshot.project.settings.trainer
    if trainer is None:
        return {}
    files = command_files(trainer.command, snapshot.project.root)
    return {"trainer": {"command": list(trainer.command), "files": files}}


def _trial_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    trial = snapshot.trials[partition]
    fields = {name: value for name, value in trial.__dict__.items() if name != "on_request"}
    own = model_section(snapshot.project, trial.model)[0].recipe()
    trained_by = trainer_settings(snapshot) or precision_settings(snapshot)
    return fields | snapshot.project.settings.fine_tuning.recipe() | own | trained_by


def _presets_trained(snapshot: Snapshot) -> bool:
    settings = snapshot.project.settings
    return settings.mixture is not None or any(model.preset for model in settings.base_model)


PERPLEXITY_STAGE = Stage(
    name="perplexity_scores",
    group="quality",
    partitions="shards",
    step="shards",
    code_version=CODE_VERSION,
    active=perplexity_wanted,
    edges=(edge("documents", same), edge("base_models", _perplexity_models)),
    settings=section_settings("perplexity"),
    tables=(SCORES_PERPLEXITY,),
    automation=Automation.ONCE_SELECTED,
)
BASE_MODELS_STAGE = Stage(
    name="base_models",
    group="training",
    partitions="models",
    code_version=CODE_VERSION,
    frozen=True,
    edges=(
        edge("tokenizer", _if_trained(only)),
        edge("documents", _if_trained(every("shards"))),
        edge("target_examples", _if_trained(every("targets"))),
        edge(CONTAMINATION, _if_trained(every("targets"))),
        edge(KEPT_OUT, _if_trained(when(benchmarks_named, only))),
    ),
    settings=_base_model_settings,
    tables=(TRAINED_ON,),
    files="checkpoints",
    learning=Learning.PRE_TRAINED,
    result=True,
    automation=Automation.BY_HAND,
    growth=Growth.NOTHING,
)
TRIALS_STAGE = Stage(
    name="trials",
    group="training",
    partitions="trials",
    # Not raised for other intervals of stored figures: every trial would be trained again.
    code_version=CODE_VERSION,
    edges=(
        edge("base_models", lambda snapshot, key: (snapshot.trials[key].model,)),
        edge("target_examples", lambda snapshot, key: (target_of_trial(snapshot, key),)),
        edge("selected_subset", _selection_of_trial),
    ),
    settings=_trial_settings,
    tables=(TRIALS, TRAINED_ON),
    files="checkpoints",
    learning=Learning.FINE_TUNED,
    result=True,
    automation=Automation.BY_HAND,
    growth=Growth.NOTHING,
)
STAGES = (
    Stage(
        name="tokenizer",
        group="training",
        code_version=CODE_VERSION,
        frozen=True,
        active=_presets_trained,
        edges=(edge("documents", every("shards")),),
        settings=lambda snapshot, key: {"vocabulary": snapshot.project.settings.pretraining.vocabulary},
        files="checkpoints",
        learning=Learning.FITTED,
        automation=Automation.BY_HAND,
        growth=Growth.NOTHING,
    ),
    BASE_MODELS_STAGE,
    PERPLEXITY_STAGE,
    TRIALS_STAGE,
)
