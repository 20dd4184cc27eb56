"""What a training run reports: steps, tokens, operations, time, memory, losses, bits per byte.

Costs are counted, not estimated: tokens are predicted tokens, operations follow Kaplan et al. 2001.08361
(6 N T to train, 2 N T to evaluate, N = all distinct parameters), seconds span interruptions.
"""

import json
from dataclasses import asdict, dataclass

HISTORY_POINTS = 200


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """Cost and quality of one run; `losses` are (step, mean loss in nats a token since the entry before)."""

    steps: int
    tokens: int
    flops: float
    seconds: float
    peak_memory_bytes: int
    parameters: int
    losses: list[tuple[int, float]]
    zero_shot_bits_per_byte: float | None = None
    held_out_bits_per_byte: float | None = None

    def to_json(self) -> str:
        """One JSON object; `from_json` gives back an equal result."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "TrainingResult":
        """The result that `to_json` wrote."""
        values = json.loads(text)
        values["losses"] = [(int(step), float(loss)) for step, loss in values["losses"]]
        return TrainingResult(**values)


def training_flops(parameters: int, tokens: int) -> float:
    """Operations of forward and backward passes over `tokens`."""
    return 6.0 * parameters * tokens


def evaluation_flops(parameters: int, tokens: int) -> float:
    """Operations of a forward pass over `tokens`."""
    return 2.0 * parameters * tokens


def history(losses: list[float]) -> list[tuple[int, float]]:
    """At most `HISTORY_POINTS` means of equally long stretches: [(last step of the stretch, mean loss)]."""
    stretch = max(1, -(-len(losses) // HISTORY_POINTS))
    cuts = range(0, len(losses), stretch)
    parts = [losses[start : start + stretch] for start in cuts]
    return [(start + len(part), sum(part) / len(part)) for start, part in zip(cuts, parts, strict=True)]
