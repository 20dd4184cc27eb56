"""Fine-tuning of an existing model on a small set of examples: all weights or an adapter, for some epochs.

A trial of the scaling law: the same recipe at every size, measured on held-out examples before and after.
Plain text is packed and predicted whole, of pairs the responses alone, labelled texts are classified. 200
documents of 1,000 characters, 3 epochs: 7 to 26 s on two cores for 0.8M to 6M parameters.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import cast

from tamis.base.progress import Advance, ignore
from tamis.corpus.targets import OneLabelError
from tamis.training.adapters import with_adapter
from tamis.training.device import choose_device
from tamis.training.errors import EmptyTextError, NeedsPairsError
from tamis.training.evaluation import Evaluation, loss_of, measure
from tamis.training.examples import (
    Answered,
    Chat,
    Example,
    Labelled,
    Pair,
    answer_rows,
    classes_of,
    labelled_rows,
)
from tamis.training.loop import finish, train
from tamis.training.masking import masked
from tamis.training.models import Kind, LoadedModel, load_model, model_identity
from tamis.training.options import FineTuningOptions, Runtime, Session
from tamis.training.packing import TrainingSet, pack
from tamis.training.plan import Plan, run_key, steps_per_epoch
from tamis.training.pooling import choose_pooling
from tamis.training.results import TrainingResult
from tamis.training.stopping import Stopper


def fine_tune(
    base: Path | str,
    texts: Iterable[Example],
    options: FineTuningOptions,
    held_out: Sequence[Example],
    output: Path,
    resume: Path,
    *,
    validation: Sequence[Example] = (),
    zero_shot: float | None = None,
    runtime: Runtime = Runtime(),  # noqa: B008 (frozen)
    advance: Advance = ignore,
) -> TrainingResult:
    """Train `base` (folder, hub id, "smollm2-135m") on `texts`, evaluate on `held_out`, write to `output`.

    `zero_shot` is the base model's bits per byte on `held_out` where it is known; else it is measured first.
    Labelled texts have none: an output layer without training knows no class. `validation` decides when to
    stop, where the options have patience; it may share nothing with the other two. Text that is learnt before
    labels is neither validated nor measured on labelled examples; an encoder learns it by hidden tokens.
    Resume, progress, errors and output as for `pretrain`; an unknown base raises `UnknownModelError`, one
    that cannot learn from such examples `NotCausalError` or `NeedsPairsError`, examples of one label alone
    `OneLabelError`.
    """
    examples = list(texts)
    classes = classes_of(examples) and classes_of([*examples, *held_out, *validation])
    if len(classes) == 1:
        raise OneLabelError(len(examples) + len(held_out) + len(validation))
    labels_follow = bool(classes_of(held_out)) and not classes
    loaded = load_model(
        base,
        choose_device(runtime.device),
        options.sequence_length,
        classes=classes,
        seed=options.seed,
        hiding=labels_follow,
    )
    choose_pooling(loaded.model, options.pooling)
    comparable = bool(held_out) and not classes_of(held_out)
    before = None
    if zero_shot is None and comparable:
        before = cast(Evaluation, measure(loaded, held_out, options.sequence_length))
    if options.adapter is not None:
        loaded = with_adapter(loaded, options.adapter, options.seed)
    plan = _plan(loaded, training_set(loaded, examples, options), model_identity(base), options, validation)
    # A model that learns text before it learns labels cannot be asked for labels yet.
    judging, judged = (
        some if bool(classes) == bool(classes_of(some)) else () for some in (validation, held_out)
    )
    stopper = _stopper(loaded, plan, options, judging, resume)
    outcome = train(loaded, plan, Session(resume=resume, runtime=runtime, advance=advance), stopper=stopper)
    known = (before or zero_shot) if comparable else None
    result = finish(loaded, outcome, options, output, resume, held_out=judged, zero_shot=known)
    return replace(result, majority_accuracy=_majority(examples, held_out)) if classes else result


def training_set(loaded: LoadedModel, examples: Sequence[Example], options: FineTuningOptions) -> TrainingSet:
    """Examples as the model takes them; raises `EmptyTextError`, `NeedsPairsError`."""
    if not examples:
        raise EmptyTextError("training")
    if isinstance(examples[0], Labelled):
        return labelled_rows(loaded, cast(Sequence[Labelled], examples), options.sequence_length)
    if isinstance(examples[0], Pair | Chat):
        return answer_rows(loaded, cast(Answered, examples), options.sequence_length)
    if loaded.kind == Kind.ENCODER_DECODER:
        raise NeedsPairsError(loaded.name)
    packed = pack(loaded.tokenizer, cast(Sequence[str], examples))
    return packed if loaded.kind == Kind.CAUSAL else masked(loaded.tokenizer, packed)


def _plan(
    loaded: LoadedModel,
    documents: TrainingSet,
    origin: str,
    options: FineTuningOptions,
    validation: Sequence[Example],
) -> Plan:
    judged: list[object] = [origin, loaded.classes]
    if options.patience:
        judged += [one if isinstance(one, str) else asdict(one) for one in validation]
    return Plan(
        documents=documents,
        steps=options.epochs * steps_per_epoch(documents, options, options.accumulation),
        options=options,
        key=run_key(repr(judged), options, documents, loaded.device.type),
        accumulation=options.accumulation,
        precision=options.precision,
    )


def _stopper(
    loaded: LoadedModel,
    plan: Plan,
    options: FineTuningOptions,
    validation: Sequence[Example],
    resume: Path,
) -> Stopper | None:
    if not options.patience or not validation:
        return None
    return Stopper(
        plan,
        partial(_validated, loaded, validation, options.sequence_length),
        resume,
        epochs=options.epochs,
        evaluations=options.evaluations,
        patience=options.patience,
    )


def _validated(loaded: LoadedModel, validation: Sequence[Example], sequence_length: int) -> float:
    loaded.model.eval()
    found = loss_of(measure(loaded, validation, sequence_length))
    loaded.model.train()
    return found


def _majority(examples: Sequence[Example], held_out: Sequence[Example]) -> float | None:
    """Accuracy on `held_out` of the class that is the most frequent one in `examples`."""
    counts = Counter(one.label for one in examples if isinstance(one, Labelled))
    usual = min(counts, key=lambda label: (-counts[label], label))
    labels = [one.label for one in held_out if isinstance(one, Labelled)]
    return labels.count(usual) / len(labels) if labels else None
