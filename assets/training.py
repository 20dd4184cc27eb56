"""Training: the tokenizer and base models of the pool, and trials that fine-tune them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from resources.made import Made, Rows
from resources.platform import Platform
from resources.specification import described
from resources.work import Work
from tamis.lineage.choosers import target_of_trial
from tamis.lineage.failures import failure_noted
from tamis.lineage.world import Trial, model_section
from tamis.quality.storing import texts_of
from tamis.store.digests import canonical_digest
from tamis.store.tables import quoted
from tamis.training import (
    PRESETS,
    PretrainingOptions,
    count_parameters,
    count_tokens,
    nested_subset,
    pretrain,
    train_tokenizer,
)
from tamis.training.storing import (
    keyed_order,
    pretraining_documents,
    record_training_documents,
    split_texts,
)
from tamis.training.trial import TrialData, run_trial, trial_metadata

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
            record_training_documents(work.store, key, "pool", doc_ids)
            texts = texts_of(work.store, doc_ids)
            folder = checkpoint_folder(work, key)
            with work.progress(f"pre-training {key}", options.tokens, "tokens") as progress:
                result = pretrain(
                    PRESETS[section.preset],
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
                    metadata=trial_metadata(result),
                )
            )


@dg.asset(**described("trials", ["torch", "mlflow"], [IMPROVED]))
def trials(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[Any]:
    """A base model fine-tuned on a part of the target or warmed up on a selection, with its held-out loss."""
    with platform.work(context) as work:
        for key in work.partitions:
            trial, input_key = work.world.trials[key], work.key(key)
            with failure_noted(work.store, key, input_key):
                data = trial_data(work, trial)
                record_training_documents(work.store, key, trial.data, data.doc_ids)
                with work.progress(f"trial {key}", data.expected_tokens, "tokens") as progress:
                    result, row = run_trial(
                        work.project,
                        trial,
                        data,
                        checkpoint_folder(work, key),
                        input_key,
                        progress.advance,
                    )
            work.store.merge("trials", row)
            improved = dg.AssetCheckResult(
                asset_key="trials",
                check_name="improved",
                passed=(result.held_out_bits_per_byte or 0.0) < (result.zero_shot_bits_per_byte or 0.0),
                severity=dg.AssetCheckSeverity.WARN,
            )
            yield from work.record(
                Made(
                    partition=key,
                    rows=[
                        Rows(table="trials", where=f"trial = {quoted(key)}"),
                        Rows(table="trained_on", where=f"checkpoint = {quoted(key)}"),
                    ],
                    files=[checkpoint_folder(work, key)],
                    row_count=len(data.doc_ids),
                    metadata=trial_metadata(result) | {"mlflow_run": row["mlflow_run"][0].as_py()},
                    checks=[improved],
                )
            )


def trial_data(work: Work, trial: Trial) -> TrialData:
    """Training texts, held-out texts and the base of a trial, at the versions this step pinned."""
    target = target_of_trial(work.world, trial.name)
    held_out = split_texts(work.store, target, "held_out")["text"].to_list()
    if trial.kind == "law":
        examples = split_texts(work.store, target, "train")
        doc_ids = nested_subset(examples["doc_id"].to_list(), trial.size, work.project.seed)
        texts = dict(examples.iter_rows())
    else:
        scope = f"selection = {quoted(trial.data)}"
        chosen = work.store.read("selected_subset", ["doc_id", "rank"], scope).sort("rank")
        doc_ids = chosen["doc_id"].to_list()
        texts = texts_of(work.store, doc_ids)
    section, _fold = model_section(work.project, trial.model)
    base: str | Path = work.upstream("base_models", trial.model)
    base = work.project.model(section.path) if section.path else base
    ordered = [texts[doc_id] for doc_id in doc_ids]
    epochs = work.project.settings.fine_tuning.epochs
    tokens = int(count_tokens(base, ordered).sum()) * epochs if isinstance(base, Path) else None
    digest = work.heads[("target_examples", target)].data_version
    if trial.kind == "warm_up":
        digest = work.heads[("selected_subset", trial.data)].data_version
    measured = (
        work.heads[("base_models", trial.model)].data_version,
        work.heads[("target_examples", target)].data_version,
        str(work.project.settings.fine_tuning.sequence_length),
    )
    return TrialData(
        base=base,
        doc_ids=doc_ids,
        texts=ordered,
        held_out=held_out,
        digest=digest,
        zero_shot_key=canonical_digest("|".join(measured)),
        expected_tokens=tokens,
    )


def checkpoint_folder(work: Work, partition: str) -> Path:
    """Folder of a checkpoint, named by its input key."""
    name = partition or "all"
    return work.project.home.checkpoints / work.stage.name / name / work.key(partition)[:16]
