"""Training: the tokenizer and base models of the pool, and trials that fine-tune them."""

import contextlib
from collections.abc import Generator, Iterator
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
from tamis.trainer.batches import SubmittedBatch
from tamis.trainer.runs import InTrainingError, Run, erase_unused
from tamis.trainer.trials import read_trial, train_trial, training_metadata, trial_metadata, trial_run
from tamis.training import (
    PretrainingOptions,
    count_parameters,
    preset_shape,
    pretrain,
    train_tokenizer,
)
from tamis.training.failures import failure_noted
from tamis.training.followed import Start
from tamis.training.loop import resume_folder
from tamis.training.planned import model_section
from tamis.training.storing import (
    keyed_order,
    pretraining_documents,
    record_training_documents,
)

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
    run = trial_run(work.project, trial, input_key)
    with tried_once(), failure_noted(work.store, key, input_key), given_up(run):
        tracker.require(work.project)
        has_ended = yield from ended(work, key, run, f"trial {key}", IMPROVED[0])
        if not has_ended:
            return
        base, folder = work.upstream("base_models", trial.model), checkpoint_folder(work, key)
        data = trial_data(work.project, work.snapshot, work.current, trial, base)
        # Rows of what a trial saw would be without a result where its own is refused.
        results = run.results(data.held_out) if work.project.settings.trainer else None
        seen = {stage.data: stage.doc_ids for stage in data.stages}
        repeated = {one: count for stage in data.stages for one, count in stage.repeated.items()}
        record_training_documents(work.store, key, seen, repeated)
        if results is not None:
            finished = read_trial(run, trial, data, results, folder)
        else:
            with work.progress(f"trial {key}", data.expected_tokens, "tokens") as progress:
                finished = train_trial(run, trial, data, folder, progress.advance)
        tracked = tracker.log(work.project, finished)
    work.store.merge("trials", finished.row(tracked))
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
            metadata=trial_metadata(finished, tracked)
            | ({"spec": run.spec} if work.project.settings.trainer else {}),
            checks=[improved],
            announce=partial(tracker.register, work.project, tracked),
        )
    )
    run.erase()
    erase_unused(work.project.home)
    for line in remove_superseded(work.project, read_current_values(work.store)):
        work.context.log.info(line)


def ended(
    work: Work, key: str, run: Run | SubmittedBatch, name: str, *checks: str
) -> Generator[Any, None, bool]:
    """Return whether a run on the command of [trainer] has ended, or Tamis trains it now.

    One that has not is started as far as there is room, and the step left.
    """
    if work.project.settings.trainer is None or run.has_ended:
        return True
    every = Submissions(project=work.project, snapshot=work.snapshot, current=work.current)
    for line in every.end_stale():
        work.context.log.warning(line)
    every.submit(run)
    if run.has_ended:
        return True
    keep_values(work.project.home, work.current, [(work.stage.name, key)], work.attempt)
    yield from work.leave(key, InTrainingError(name), *checks)
    return False


@contextlib.contextmanager
def given_up(run: Run | None) -> Iterator[None]:
    """Stop what runs of a run on the command of [trainer] when it fails; what may pass leaves it alone."""
    try:
        yield
    except TamisError as error:
        if run is not None and not may_pass(error):
            run.give_up()
        raise


def start_of(work: Work, model: str, *, fresh: bool) -> Start:
    """Return the start of runs on a base model; `fresh`: with new weights where the graph knows the shape."""
    section, _fold = model_section(work.project, model)
    if fresh and section.preset is not None:
        shape = preset_shape(section.preset, work.project.settings.pretraining.vocabulary)
        return Start(shape=shape, model=work.upstream("tokenizer"))
    if section.path is not None:
        return Start(model=work.project.model(section.path))
    return Start(model=work.upstream("base_models", model))


def checkpoint_folder(work: Work, partition: str) -> Path:
    """Folder of a checkpoint, named by its input key."""
    folder = work.project.home.checkpoints / work.stage.name / (partition or "all")
    return folder / work.key(partition)[:16]
