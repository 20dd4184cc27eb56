"""Results of a training run: steps, tokens, operations, time, memory, losses, bits per byte.

Costs are counted, not estimated: tokens are those that the model reads, operations follow
`tamis.training.cost`, seconds span interruptions.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tamis.base.files import write_atomically

HISTORY_POINTS = 200


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """Outcome of every held-out example, in their order, so that intervals can be drawn from it.

    bits, n_bytes: code length of texts and responses. expected, predicted: classes of labelled texts, and
    nats what the right one cost.
    """

    bits: list[float] = field(default_factory=list)
    n_bytes: list[int] = field(default_factory=list)
    expected: list[int] = field(default_factory=list)
    predicted: list[int] = field(default_factory=list)
    nats: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """Cost and quality of one run; `losses` are (step, mean loss in nats a token since the entry before).

    tokens: all that were read. trainable_parameters: those that were moved, an adapter's where there is one.
    held_out_loss: of labelled texts, nats an example; majority_accuracy: of always saying the class that is
    the most frequent one among the training examples. best_step: whose weights were kept, when validated.
    evaluation_flops, evaluation_seconds: their part that no amount of training data changes, that of
    evaluating on the held-out examples and of writing the checkpoint.
    """

    steps: int
    tokens: int
    flops: float
    seconds: float
    peak_memory_bytes: int
    parameters: int
    losses: list[tuple[int, float]]
    zero_shot_bits_per_byte: float | None = None
    held_out_bits_per_byte: float | None = None
    trainable_parameters: int | None = None
    held_out_loss: float | None = None
    accuracy: float | None = None
    macro_f1: float | None = None
    majority_accuracy: float | None = None
    best_step: int | None = None
    outcomes: Outcomes | None = None
    evaluation_flops: float = 0.0
    evaluation_seconds: float = 0.0

    def to_json(self) -> str:
        """One JSON object; `from_json` gives back an equal result."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "TrainingResult":
        """The result that `to_json` wrote."""
        values = json.loads(text)
        values["losses"] = [(int(step), float(loss)) for step, loss in values["losses"]]
        if values.get("outcomes") is not None:
            values["outcomes"] = Outcomes(**values["outcomes"])
        return TrainingResult(**values)


def read_losses(path: Path, key: str) -> dict[int, float]:
    """Losses by step that `write_losses` wrote for the run `key`; none where there are no such."""
    try:
        stored = json.loads(path.read_text())
    except (OSError, ValueError):
        stored = {}
    found = stored.get("found", {}) if stored.get("key") == key else {}
    return {int(step): float(loss) for step, loss in found.items()}


def write_losses(path: Path, key: str, found: Mapping[int, float]) -> None:
    """Write losses by step next to the resume state of a run."""
    write_atomically(path, json.dumps({"key": key, "found": found}).encode())


def history(losses: list[float]) -> list[tuple[int, float]]:
    """At most `HISTORY_POINTS` means of equally long stretches: [(last step of the stretch, mean loss)]."""
    stretch = max(1, -(-len(losses) // HISTORY_POINTS))
    cuts = range(0, len(losses), stretch)
    parts = [losses[start : start + stretch] for start in cuts]
    return [(start + len(part), sum(part) / len(part)) for start, part in zip(cuts, parts, strict=True)]
