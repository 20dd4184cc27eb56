"""What runs cost, as plain values: of one model, of those that failed, of all."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What training took or would take: examples seen, floating-point operations, seconds (NaN = unknown)."""

    examples: float
    flops: float
    seconds: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            examples=self.examples + other.examples,
            flops=self.flops + other.flops,
            seconds=self.seconds + other.seconds,
        )

    def times(self, count: float) -> "Cost":
        """The cost of doing it so often."""
        return Cost(examples=count * self.examples, flops=count * self.flops, seconds=count * self.seconds)


NOTHING = Cost(examples=0.0, flops=0.0, seconds=0.0)


@dataclass(frozen=True, kw_only=True)
class FailedRun:
    """A run that was left out: the model, its size, why, and what it cost at most."""

    model: str
    size: int
    reason: str
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class ModelCosts:
    """What runs of one model cost: training, an example, and evaluating, a run, whatever its size.

    `spent`: on all its runs; None: as many examples as its curve has, and an evaluation each.
    """

    example: Cost
    run: Cost = NOTHING
    spent: Cost | None = None

    def at(self, examples: float, runs: float = 1.0) -> Cost:
        """Of so many runs on so many examples in all."""
        return self.example.times(examples) + self.run.times(runs)
