"""Data of a trial: the documents it is trained and evaluated on, read at the versions that a step pinned."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from tamis.corpus.intake import texts_of
from tamis.corpus.stage import EXAMPLES_STAGE
from tamis.graph.snapshot import ProjectSnapshot
from tamis.project import Project
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import ManifestFolder
from tamis.records.published import chosen_of, find_published
from tamis.selection.pool import training_order
from tamis.store.digests import canonical_digest
from tamis.trainer.trials import TrialData
from tamis.training import nested_subset
from tamis.training.cost import tokens_per_epoch
from tamis.training.planned import Trial, model_section
from tamis.training.stage import BASE_MODELS_STAGE, target_of_trial
from tamis.training.storing import split_examples, without_validation
from tamis.training.trainings import TrainingStage


def trial_data(
    project: Project, snapshot: ProjectSnapshot, current: CurrentValues, trial: Trial, base: Path
) -> TrialData:
    """Return the training stages, the held-out and validation examples and the base model of a trial.

    `base`: folder of the base model, for a model that the graph trains.
    """
    target, settings = target_of_trial(snapshot, trial.name), project.settings
    validation, examples = without_validation(
        split_examples(project.home.store, target, "train"),
        settings.fine_tuning.validation,
        settings.near_duplicates.threshold,
        project.seed,
    )
    if trial.kind == "law":
        examples = {
            doc_id: examples[doc_id] for doc_id in nested_subset([*examples], trial.size, project.seed)
        }
    of_target, of_model = (
        current[(EXAMPLES_STAGE.name, target)],
        current[(BASE_MODELS_STAGE.name, trial.model)],
    )
    stages = [_selected(project, current, trial.data)] if trial.kind in ("warm_up", "two_stage") else []
    if trial.kind != "warm_up":
        stages.append(
            TrainingStage(
                data=target,
                digest=of_target.data_version,
                doc_ids=list(examples),
                examples=list(examples.values()),
            )
        )
    section, _fold = model_section(project, trial.model)
    model = project.model(section.path) if section.path else base
    measured = (of_model.data_version, of_target.data_version, str(settings.fine_tuning.sequence_length))
    return TrialData(
        base=model,
        stages=stages,
        held_out=list(split_examples(project.home.store, target, "held_out").values()),
        validation=list(validation.values()),
        zero_shot_key=canonical_digest("|".join(measured)),
        expected_tokens=_expected_tokens(project, model, stages),
    )


def _selected(project: Project, current: CurrentValues, selection: str) -> TrainingStage:
    """Return a training stage on the documents of a selection: best first, or shuffled where some repeat."""
    store, folder = project.home.store, ManifestFolder.of(project.home)
    found = find_published(current, folder, selection)
    chosen = chosen_of(store, folder, found)
    doc_ids, repeated = chosen["doc_id"].to_list(), chosen.drop_nulls("training_count")
    texts = texts_of(store, doc_ids)
    order = doc_ids
    if len(repeated):
        counts = chosen.select("doc_id", count=pl.col("training_count").fill_null(1))
        order = training_order(counts, project.seed)["doc_id"].to_list()
    return TrainingStage(
        data=selection,
        digest=folder.read(found.subset).data_version,
        doc_ids=doc_ids,
        examples=[texts[doc_id] for doc_id in order],
        repeated=dict(repeated.select("doc_id", "training_count").iter_rows()),
    )


def _expected_tokens(project: Project, base: str | Path, stages: Sequence[TrainingStage]) -> int | None:
    """Return the tokens of all stages and seeds, for the progress; None without a readable tokenizer file."""
    if not isinstance(base, Path) or not (base / "tokenizer.json").is_file():
        return None
    section = project.settings.fine_tuning
    try:
        epoch = sum(tokens_per_epoch(base, stage.examples, section.sequence_length) for stage in stages)
    except (OSError, ValueError):  # files that do not load: the training raises the proper error
        return None
    return epoch * section.epochs * section.seeds
