"""Early stopping on validation examples: training ends when they stop getting cheaper, at the best weights.

The examples must be neither trained on nor part of what the result is measured with: a held-out set that
decided when to stop is no longer a clean measure. The losses on the way depend on the steps alone and are
kept next to the resume state, so a killed run stops where an undisturbed one does. Of all weights on the way
only the best are kept (4 bytes a trained parameter).
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tamis.base.files import whole_file
from tamis.training.plan import Plan
from tamis.training.results import read_losses, write_losses
from tamis.training.weights import MasterWeights

FILE = "validation.json"
BEST = "best-{}.safetensors"


class Stopper:
    """Evaluates at equal steps, keeps the best weights, and knows when to end.

    evaluate: the loss to be brought down. evaluations: how many an epoch. patience: evaluations in a row
    without a smaller loss after which training ends.
    """

    def __init__(
        self,
        plan: Plan,
        evaluate: Callable[[], float],
        resume: Path,
        *,
        epochs: int,
        evaluations: int,
        patience: int,
    ) -> None:
        self._key, self._evaluate, self._resume, self._patience = plan.key, evaluate, resume, patience
        places = np.linspace(0, plan.steps, epochs * evaluations + 1)[1:]
        self._steps = {int(step) for step in np.round(places) if step >= 1}
        self._found: dict[int, float] = {}

    @property
    def best_step(self) -> int | None:
        """The first step with the smallest loss so far; None before the first finite one."""
        finite = {step: loss for step, loss in self._found.items() if math.isfinite(loss)}
        return min(finite, key=lambda step: (finite[step], step)) if finite else None

    @property
    def exhausted(self) -> bool:
        """Whether the last evaluations, as many as patience allows, brought nothing better."""
        best = self.best_step or 0
        return sum(step > best for step in self._found) >= self._patience

    def resume_at(self, done: int) -> None:
        """Restore the losses up to a step, and nothing later: that will be measured again."""
        found = read_losses(self._resume / FILE, self._key)
        self._found = {step: loss for step, loss in found.items() if step <= done}

    def after(self, done: int, weights: MasterWeights) -> None:
        """Called when `done` steps are finished."""
        if done not in self._steps:
            return
        before = self.best_step
        self._found[done] = self._evaluate()
        self._resume.mkdir(parents=True, exist_ok=True)
        if self.best_step != before:
            from safetensors.torch import save_file

            tensors = {name: one.cpu().contiguous() for name, one in weights.values().items()}
            with whole_file(self._resume / BEST.format(done)) as draft:
                save_file(tensors, draft)
        write_losses(self._resume / FILE, self._key, self._found)

    def forget_others(self) -> None:
        """Remove weights that are not the best, once the resume state is past them."""
        for path in self._resume.glob(BEST.format("*")):
            if path.name != BEST.format(self.best_step):
                path.unlink()

    def give_best(self, weights: MasterWeights) -> None:
        """Give back the best weights; those of the last step where none had a finite loss."""
        from safetensors.torch import load_file

        if self.best_step is not None:
            weights.take(load_file(self._resume / BEST.format(self.best_step)))
