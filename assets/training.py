"""Training: the tokenizer and base models of the pool, and trials that fine-tune them."""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from tamis.base.errors import TamisError, may_pass
from tamis.corpus.intake import texts_of
from tamis.graph.submissions import Submissions
from tamis.graph.trial_data import trial_data
from tamis.platform.assets.specification import asset, per_partition
from tamis.platform.resources.tracker import TrackerResource
from tamis.records.current_values import read_current_values
from tamis.records.registered import require_unregistered
from tamis.retention.held_back import keep_values
from tamis.retention.superseded import remove_superseded
from tamis.runtime.failures import tried_once
from tamis.runtime.record import Output, Rows
from tamis.runtime.step import Work
from tamis.store.tables import quoted
from tamis.trainer.runs import InTrainingError, Submission, erase_unused
from tamis.trainer.trials import TrialSubmission
from tamis.training import (
    PretrainingOptions,
    count_parameters,
    preset_shape,
    pretrain,
    train_tokenizer,
)
from tamis.training.failures import failure_noted
from tamis.training.loop import resume_folder
from tamis.training.planned import model_section
from tamis.training.storing import (
    keyed_order,
    pretraining_documents,
    record_training_documents,
)
from tamis.training.trial import forget_state, run_trial, training_metadata, trial_metadata

TOKENIZER_DOCUMENTS = 4_000
IMPROVED = (
    "improved",
    "The loss on the held-out target examples is lower after training than before training.",
    False,
)


@asset("tokenizer", ["tokenizers"])
def tokenizer(work: Work) -> Iterator[Any]:
    """Byte-level BPE tokenizer, trained once on a sample of the pool and not changed by new files."""
    with work.progress("tokenizer"):
        pool = work.store.read("documents", ["doc_id"])["doc_id"].to_list()
        sample = keyed_order(pool, work.project.seed)[:TOKENIZER_DOCUMENTS]
        texts = texts_of(work.store, sample)
        folder = checkpoint_folder(work, "")
        train_tokenizer(
            (texts[doc_id] for doc_id in sample),
            folder,
            vocabulary=work.project.settings.pretraining.vocabulary,
        )
        yield from work.record(Output(files=[folder], row_count=len(sample)))


@asset("base_models", ["torch", "transformers"])
@per_partition
def base_models(work: Work, key: str) -> Iterator[Any]:
    """A small Llama-type model pre-trained on half of the pool, or an existing model by path or hub id."""
    require_unregistered(work.store, key)
    section, fold = model_section(work.project, key)
    if section.path is not None:
        size = count_parameters(work.project.model(section.path))
        facts = {"path": section.path} | ({"parameters": size} if size else {})
        yield from work.record(Output(partition=key, rows=(), metadata=facts))
        return
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
            resume_folder(work.project.home.cache, work.stage.name, work.key(key)[:16]),
            checkpoints=section.checkpoints,
            advance=progress.advance,
        )
    yield from work.record(
        Output(
            partition=key,
            rows=[Rows(table="trained_on", where=f"checkpoint = {quoted(key)}")],
            files=[folder],
            row_count=len(doc_ids),
            metadata=training_metadata(result),
        )
    )


@asset("trials", ["torch", "mlflow"], [IMPROVED])
@per_partition
def trials(work: Work, key: str, tracker: TrackerResource) -> Iterator[Any]:
    """A base model fine-tuned on part of a target or warmed up on a selection, with the held-out loss."""
    require_unregistered(work.store, key)
    trial, input_key = work.snapshot.trials[key], work.key(key)
    submission = None
    if work.project.settings.trainer is not None:
        submission = TrialSubmission(project=work.project, trial=trial, input_key=input_key)
    with tried_once(), failure_noted(work.store, key, input_key), given_up(submission):
        tracker.require(work.project)
        base = work.upstream("base_models", trial.model)
        data = trial_data(work.project, work.snapshot, work.current, trial, base)
        if submission is not None and not submission.has_ended:
            every = Submissions(project=work.project, snapshot=work.snapshot, current=work.current)
            for line in every.end_stale():
                work.context.log.warning(line)
            submission.submit(data)
        if submission is not None and not submission.has_ended:
            keep_values(work.project.home, work.current, [(work.stage.name, key)], work.attempt)
            yield from work.leave(key, InTrainingError(f"trial {key}"), IMPROVED[0])
            return
        # Rows of what a trial saw would be without a result where its own is refused.
        results = submission.results(data) if submission is not None else ()
        seen = {stage.data: stage.doc_ids for stage in data.stages}
        repeated = {one: count for stage in data.stages for one, count in stage.repeated.items()}
        record_training_documents(work.store, key, seen, repeated)
        folder = checkpoint_folder(work, key)
        if submission is not None:
            finished = submission.finish(data, results, folder)
        else:
            with work.progress(f"trial {key}", data.expected_tokens, "tokens") as progress:
                finished = run_trial(work.project, trial, data, folder, input_key, progress.advance)
        run = tracker.log(work.project, finished)
    work.store.merge("trials", finished.row(run))
    improved = dg.AssetCheckResult(
        asset_key="trials",
        check_name="improved",
        passed=finished.improved,
        severity=dg.AssetCheckSeverity.WARN,
    )
    yield from work.record(
        Output(
            partition=key,
            rows=[
                Rows(table="trials", where=f"trial = {quoted(key)}"),
                Rows(table="trained_on", where=f"checkpoint = {quoted(key)}"),
            ],
            files=[folder],
            row_count=sum(len(doc_ids) for doc_ids in seen.values()),
            metadata=trial_metadata(finished, run) | ({"spec": submission.spec} if submission else {}),
            checks=[improved],
            announce=partial(tracker.register, work.project, run),
        )
    )
    forget_state(work.project, input_key)
    if submission is not None:
        submission.erase()
        erase_unused(work.project.home)
    for line in remove_superseded(work.project, read_current_values(work.store)):
        work.context.log.info(line)


@contextlib.contextmanager
def given_up(submission: Submission | None) -> Iterator[None]:
    """Stop what runs of a trial on the command of [trainer] when it fails; what may pass leaves it alone."""
    try:
        yield
    except TamisError as error:
        if submission is not None and not may_pass(error):
            submission.give_up()
        raise


def checkpoint_folder(work: Work, partition: str) -> Path:
    """Folder of a checkpoint, named by its input key."""
    folder = work.project.home.checkpoints / work.stage.name / (partition or "all")
    return folder / work.key(partition)[:16]
