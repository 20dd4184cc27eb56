"""Losses on controls, before and after the training of each trial that shows what a choice is worth.

A measurement is kept while model, texts and method stay the same, so a further trial measures itself alone.
200 documents of 2,000 bytes take 2.5M parameters some 3 s on two cores.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tamis.base.progress import Advance, ignore
from tamis.evaluation import CODE_VERSION
from tamis.evaluation.controls import Control
from tamis.evaluation.paired import Difference, difference
from tamis.evaluation.stage import CONTROL_LOSSES
from tamis.store.digests import canonical_digest
from tamis.store.tables import Store, quoted
from tamis.training.errors import NeedsPairsError, NoTokenizerError, UnknownModelError
from tamis.training.evaluation import Evaluation, evaluate

OF_LABELS = "the model answers with labels, so it has no loss on texts"
OF_RESPONSES = "an encoder-decoder has a loss on responses alone"
OF_TRAINER = "transformers cannot load the model that the trainer wrote, or its tokenizer"


@dataclass(frozen=True, kw_only=True)
class MeasuredModel:
    """A trial's model before and after training: folder or name, and data version of each.

    `answers_labels`: its last layer is no language model any more. `by_command`: trained by the command of
    [trainer], whose models may be of any kind.
    """

    trial: str
    start: Path | str
    start_version: str
    trained: Path
    trained_version: str
    answers_labels: bool
    by_command: bool = False


def update_control_losses(
    store: Store,
    models: Sequence[MeasuredModel],
    controls: Sequence[Control],
    sequence_length: int,
    advance: Advance = ignore,
    say: Callable[[str], None] = lambda text: None,
) -> pl.DataFrame:
    """Measure what is not measured yet, and drop rows of other trials and controls; return all rows.

    `sequence_length`: tokens of a window. `advance` counts measurements.
    """
    stored = store.read(CONTROL_LOSSES.name, ["trial", "control", "measurement"])
    known = {(trial, control): measurement for trial, control, measurement in stored.iter_rows()}
    starts: dict[tuple[str, str], Evaluation | str] = {}
    for model in models:
        for control in controls:
            named = [
                model.start_version,
                model.trained_version,
                control.digest,
                sequence_length,
                CODE_VERSION,
            ]
            measurement = canonical_digest(json.dumps([*named, model.answers_labels]))[:32]
            if known.get((model.trial, control.name)) != (measurement,):
                say(f"{model.trial} on control {control.name}")
                place = (model.start_version, control.name)
                if place not in starts:
                    starts[place] = _measured(model.start, control, sequence_length, model.by_command)
                after: Evaluation | str = OF_LABELS
                if not model.answers_labels:
                    after = _measured(model.trained, control, sequence_length, model.by_command)
                row = {"trial": model.trial, "control": control.name, "measurement": measurement}
                store.merge_values(CONTROL_LOSSES.name, [row | _values(starts[place], after)])
            advance(1)
    planned = {(model.trial, control.name) for model in models for control in controls}
    for trial, control in sorted(known.keys() - planned):
        store.delete(CONTROL_LOSSES.name, f"trial = {quoted(trial)} AND control = {quoted(control)}")
    return store.read(CONTROL_LOSSES.name).sort("trial", "control")


def _measured(
    model: Path | str, control: Control, sequence_length: int, by_command: bool
) -> Evaluation | str:
    try:
        return evaluate(model, control.texts, sequence_length=sequence_length)
    except NeedsPairsError:
        return OF_RESPONSES
    except (UnknownModelError, NoTokenizerError):
        if not by_command:
            raise
        return OF_TRAINER


def _values(start: Evaluation | str, after: Evaluation | str) -> dict[str, Any]:
    for one in (after, start):
        if isinstance(one, str):
            return {"not_measured": one}
    assert isinstance(start, Evaluation)
    assert isinstance(after, Evaluation)
    found = difference(after.document_bits, start.document_bits, after.document_bytes)
    return {
        "documents": len(after.document_bits),
        "start_bits_per_byte": start.bits_per_byte,
        "bits_per_byte": after.bits_per_byte,
        "difference": found.mean,
        "difference_low": found.low,
        "difference_high": found.high,
        "start_document_bits": start.document_bits.tolist(),
        "document_bits": after.document_bits.tolist(),
        "document_bytes": after.document_bytes.tolist(),
    }


def paired_losses(store: Store, trial: str, against: str) -> dict[str, Difference]:
    """Return, by control, the difference of two trials' losses over the same documents, in bits per byte."""
    columns = ["control", "document_bits", "document_bytes"]
    own, other = (
        store.read(CONTROL_LOSSES.name, columns, f"trial = {quoted(name)} AND not_measured IS NULL")
        for name in (trial, against)
    )
    pairs = own.join(other, on="control", suffix="_other").sort("control")
    return {
        row["control"]: difference(row["document_bits"], row["document_bits_other"], row["document_bytes"])
        for row in pairs.iter_rows(named=True)
        if row["document_bytes"] == row["document_bytes_other"]
    }
