"""Training: the tokenizer and base models of the pool, and trials that fine-tune them."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from resources.made import Made, Rows
from resources.platform import Platform, tried_once
from resources.specification import described
from resources.work import Work
from tamis.lineage.choosers import target_of_trial
from tamis.lineage.failures import failure_noted
from tamis.lineage.heads import read_heads
from tamis.lineage.world import Trial, model_section
from tamis.quality.storing import texts_of
from tamis.store.digests import canonical_digest
from tamis.store.tables import quoted
from tamis.training import (
    PretrainingOptions,
    count_parameters,
    nested_subset,
    preset_shape,
    pretrain,
    train_tokenizer,
)
from tamis.training.examples import Example
from tamis.training.expected import tokens_per_epoch
from tamis.training.retention import remove_superseded
from tamis.training.stages import TrainingStage
from tamis.training.storing import (
    keyed_order,
    pretraining_documents,
    record_training_documents,
    split_examples,
    without_validation,
)
from tamis.training.tracking_models import register_checkpoint
from tamis.training.trial import TrialData, forget_state, run_trial, training_metadata, trial_metadata

TOKENIZER_DOCUMENTS = 4_000
IMPROVED = ("improved", "Held-out target loss is lower after training than before.", False)


@dg.asset(**described("tokenizer", ["tokenizers"]))
def tokenizer(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[Any]:
    """Byte-level BPE trained on a keyed-hash sample of the pool; made once, never again by arrivals."""
    with platform.work(context) as work, work.progress("tokenizer"):
        pool = work.store.read("documents", ["doc_id"])["doc_id"].to_list()
        sample = keyed_order(pool, work.project.seed)[:TOKENIZER_DOCUMENTS]
        texts = texts_of(work.store, sample)
        folder = checkpoint_folder(work, "")
        train_tokenizer(
            (texts[doc_id] for doc_id in sample),
            folder,
            vocabulary=work.project.settings.pretraining.vocabulary,
        )
        yield from work.record(Made(files=[folder], row_count=len(sample)))


@dg.asset(**described("base_models", ["torch", "transformers"]))
def base_models(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[Any]:
    """A small Llama-shaped model pre-trained on one half of the pool, or an existing model by path or id."""
    with platform.work(context) as work:
        for key in work.partitions:
            section, fold = model_section(work.project, key)
            if section.path is not None:
                size = count_parameters(work.project.model(section.path))
                facts = {"path": section.path} | ({"parameters": size} if size else {})
                yield from work.record(Made(partition=key, metadata=facts))
                continue
            assert section.preset is not None
            options = work.project.settings.pretraining
            source = work.upstream("tokenizer")
            doc_ids = pretraining_documents(work.store, source, fold, options.tokens, work.project.seed)
            record_training_documents(work.store, key, {"pool": doc_ids})
            texts = texts_of(work.store, doc_ids)
            folder = checkpoint_folder(work, key)
            with work.progress(f"pre-training {key}", options.tokens, "tokens") as progress:
                result = pretrain(
                    preset_shape(section.preset, options.vocabulary),
                    (texts[doc_id] for doc_id in doc_ids),
                    source,
                    PretrainingOptions(seed=work.project.seed, **options.model_dump(exclude={"vocabulary"})),
                    folder,
                    work.project.home.cache / "training" / work.key(key)[:16],
                    checkpoints=section.checkpoints,
                    advance=progress.advance,
                )
            rows = Rows(table="trained_on", where=f"checkpoint = {quoted(key)}")
            yield from work.record(
                Made(
                    partition=key,
                    rows=[rows],
                    files=[folder],
                    row_count=len(doc_ids),
                    metadata=training_metadata(result),
                )
            )


@dg.asset(**described("trials", ["torch", "mlflow"], [IMPROVED]))
def trials(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[Any]:
    """A base model fine-tuned on a part of the target or warmed up on a selection, with its held-out loss."""
    with platform.work(context) as work:
        for key in work.partitions:
            trial, input_key = work.world.trials[key], work.key(key)
            with tried_once(), failure_noted(work.store, key, input_key):
                data = trial_data(work, trial)
                seen = {stage.data: stage.doc_ids for stage in data.stages}
                record_training_documents(work.store, key, seen)
                folder = checkpoint_folder(work, key)
                with work.progress(f"trial {key}", data.expected_tokens, "tokens") as progress:
                    finished = run_trial(work.project, trial, data, folder, input_key, progress.advance)
            work.store.merge("trials", finished.row)
            improved = dg.AssetCheckResult(
                asset_key="trials",
                check_name="improved",
                passed=finished.improved,
                severity=dg.AssetCheckSeverity.WARN,
            )
            yield from work.record(
                Made(
                    partition=key,
                    rows=[
                        Rows(table="trials", where=f"trial = {quoted(key)}"),
                        Rows(table="trained_on", where=f"checkpoint = {quoted(key)}"),
                    ],
                    files=[folder],
                    row_count=sum(len(doc_ids) for doc_ids in seen.values()),
                    metadata=trial_metadata(finished),
                    checks=[improved],
                    announce=partial(
                        register_checkpoint,
                        work.project.tracking_uri,
                        work.project.settings.tracking.experiment,
                        key,
                        input_key,
                        finished.run,
                        work.project.home.relative(folder),
                    ),
                )
            )
            forget_state(work.project, input_key)
            for line in remove_superseded(work.project, read_heads(work.store)):
                context.log.info(line)


def trial_data(work: Work, trial: Trial) -> TrialData:
    """Stages, held-out examples and the base of a trial, at the versions this step pinned."""
    target = target_of_trial(work.world, trial.name)
    settings, seed = work.project.settings, work.project.seed
    validation, examples = without_validation(
        split_examples(work.store, target, "train"),
        settings.fine_tuning.validation,
        settings.near_duplicates.threshold,
        seed,
    )
    if trial.kind == "law":
        examples = {doc_id: examples[doc_id] for doc_id in nested_subset(list(examples), trial.size, seed)}
    stages = [_selected(work, trial.data)] if trial.kind in ("warm_up", "two_stage") else []
    if trial.kind != "warm_up":
        stages.append(_stage(target, work.heads[("target_examples", target)].data_version, examples))
    section, _fold = model_section(work.project, trial.model)
    base: str | Path = work.upstream("base_models", trial.model)
    base = work.project.model(section.path) if section.path else base
    measured = (
        work.heads[("base_models", trial.model)].data_version,
        work.heads[("target_examples", target)].data_version,
        str(settings.fine_tuning.sequence_length),
    )
    return TrialData(
        base=base,
        stages=stages,
        held_out=list(split_examples(work.store, target, "held_out").values()),
        validation=list(validation.values()),
        zero_shot_key=canonical_digest("|".join(measured)),
        expected_tokens=_expected_tokens(work, base, stages),
    )


def _selected(work: Work, selection: str) -> TrainingStage:
    """A stage on the documents of a selection, best first."""
    scope = f"selection = {quoted(selection)}"
    doc_ids = work.store.read("selected_subset", ["doc_id", "rank"], scope).sort("rank")["doc_id"].to_list()
    texts = texts_of(work.store, doc_ids)
    version = work.heads[("selected_subset", selection)].data_version
    return _stage(selection, version, {doc_id: texts[doc_id] for doc_id in doc_ids})


def _stage(data: str, digest: str, examples: Mapping[str, Example]) -> TrainingStage:
    return TrainingStage(data=data, digest=digest, doc_ids=list(examples), examples=list(examples.values()))


def _expected_tokens(work: Work, base: str | Path, stages: Sequence[TrainingStage]) -> int | None:
    """Tokens of all stages and seeds, for the progress; None where only the model knows its tokenizer."""
    if not isinstance(base, Path) or not (base / "tokenizer.json").is_file():
        return None
    section = work.project.settings.fine_tuning
    try:
        epoch = sum(tokens_per_epoch(base, stage.examples, section.sequence_length) for stage in stages)
    except (OSError, ValueError):  # files that do not load: the training says so, as what it is
        return None
    return epoch * section.epochs * section.seeds


def checkpoint_folder(work: Work, partition: str) -> Path:
    """Folder of a checkpoint, named by its input key."""
    name = partition or "all"
    return work.project.home.checkpoints / work.stage.name / name / work.key(partition)[:16]
