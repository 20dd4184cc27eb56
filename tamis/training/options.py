"""Settings of a training run; the defaults were chosen by held-out bits per byte on package docstrings.

Small batches matter most: 300,000 tokens in steps of 4 x 256 bring 0.8M parameters to 2.63, in steps of
16 x 256 to 2.97, at 12 % less speed. Fine-tuning at .001, .002, .003: 2.275, 2.279, 2.306 with 25 documents,
1.937, 1.847, 1.811 with 200; .002 is the compromise, since a trial must not change its recipe with its size.
"""

from dataclasses import dataclass
from pathlib import Path

from tamis.base.progress import Advance, ignore
from tamis.training.adapters import Adapter
from tamis.training.pooling import LAST

REFERENCE_WIDTH = 256
WIDTH_EXPONENT = 0.75


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """Options of every training step, whatever the data."""

    sequence_length: int = 256
    batch_size: int = 4
    """Rows of `sequence_length` tokens a step."""
    learning_rate: float = 3e-3
    """Peak for a model 256 wide; a model of width w gets it times (256 / w)^0.75 (`peak_rate`)."""
    warm_up_share: float = 0.05
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    maximum_norm: float = 1.0
    """Gradients longer than this are scaled down to it."""
    seed: int = 0
    compile: bool = False
    """Fuse the model's operations by PyTorch's compiler: quicker steps after a first one of a minute."""

    def peak_rate(self, width: int) -> float:
        """Peak learning rate of a model of that hidden size.

        One setting then serves every model of a study. The exponent fits the best rates found for widths
        128, 256 and 448 (.005, .003, .002); theory for Adam says 1 (Yang et al. 2203.03466, table 3).
        """
        return self.learning_rate * (REFERENCE_WIDTH / width) ** WIDTH_EXPONENT


@dataclass(frozen=True, kw_only=True)
class PretrainingOptions(StepOptions):
    """Training from nothing for a number of tokens."""

    tokens: int = 700_000


@dataclass(frozen=True, kw_only=True)
class FineTuningOptions(StepOptions):
    """Training of an existing model for a number of epochs over a small set."""

    epochs: int = 3
    learning_rate: float = 2e-3
    warm_up_share: float = 0.1
    accumulation: int = 1
    """Batches whose gradients make one step."""
    precision: str = "auto"
    """bfloat16 working weights, autocast, or float32; `auto` is the precision in force. The weights that are
    learnt are float32 in all of them."""
    patience: int = 0
    """Evaluations on the validation examples without a smaller loss that end the training; 0: it is not ended
    early."""
    evaluations: int = 4
    """On the validation examples, an epoch."""
    pooling: str = LAST
    """How a causal model reads a labelled text: by its last token, or the mean over all of them."""
    adapter: Adapter | None = None
    """Low-rank adaptation instead of training all weights."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Device of a run and how often it saves; nothing here changes what is learnt on a given device."""

    device: str = "auto"
    save_seconds: float = 15.0
    """Seconds between resume states."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """One process at work on a training: the folder of its resume state, and who counts its tokens."""

    resume: Path
    runtime: Runtime = Runtime()
    advance: Advance = ignore
