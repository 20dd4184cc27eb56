"""The training loop: steps over packed rows, a resume state every few seconds, exact to the bit on a CPU.

Nothing but the step number and the saved tensors decides what comes next: rows are a function of (seed,
epoch), dropout of (seed, step). So a run killed at any moment ends with the weights of an undisturbed one
(same machine and number of threads). Saving costs 0.1 s for 6M parameters, 1 % at the default interval.
"""

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tamis.base.files import replace_folder, whole_file
from tamis.training.adapters import FOLDER as ADAPTER_FOLDER
from tamis.training.adapters import merged, save_adapter
from tamis.training.compiling import fused
from tamis.training.cost import sizes_of
from tamis.training.device import (
    AUTOCAST,
    casting,
    memory_in_use,
    precision_of,
    retained_heap,
)
from tamis.training.errors import DivergedError
from tamis.training.evaluation import Classification, Evaluation, measure
from tamis.training.examples import Example
from tamis.training.models import LoadedModel, without_bars
from tamis.training.objective import backward
from tamis.training.options import Session, StepOptions
from tamis.training.packing import Batch
from tamis.training.plan import Plan
from tamis.training.results import TrainingResult, history
from tamis.training.stopping import Stopper
from tamis.training.weights import MasterWeights

if TYPE_CHECKING:
    from torch import Tensor

FLOOR_SHARE = 0.1
FILE = "state.safetensors"
FOLDER = "training"
"""Of the cache: resume states of every kind of training, none of which removes those of another."""
REPORT_SECONDS = 0.5
LARGE_PRIME = 1_000_003
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Peak learning rate, steps in all, and the share of them that warms up."""

    peak: float
    steps: int
    warm_up_share: float

    def rate(self, step: int) -> float:
        """Learning rate of `step`, counted from 0."""
        warm_up = max(1, round(self.warm_up_share * self.steps))
        if step < warm_up:
            return self.peak * (step + 1) / warm_up
        progress = (step - warm_up) / max(1, self.steps - warm_up)
        return self.peak * (FLOOR_SHARE + (1 - FLOOR_SHARE) * 0.5 * (1 + math.cos(math.pi * progress)))


@dataclass(frozen=True, kw_only=True)
class SavedState:
    """The state of a run: steps done, seconds spent, tensors by name."""

    step: int
    seconds: float
    tensors: Mapping[str, "Tensor"]


def save_state(folder: Path, key: str, state: SavedState) -> None:
    """Replace the state in `folder`; a kill at any moment leaves the old one or the new one."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    metadata = {"key": key, "step": str(state.step), "seconds": repr(state.seconds)}
    with whole_file(folder / FILE) as draft:
        save_file(tensors, draft, metadata=metadata)


def load_state(folder: Path, key: str) -> SavedState | None:
    """The state of the run `key`, or None when there is none (or it is another run's)."""
    from safetensors import SafetensorError, safe_open

    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("key") != key:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError:
        return None
    return SavedState(step=int(metadata["step"]), seconds=float(metadata["seconds"]), tensors=tensors)


def resume_folder(cache: Path, kind: str, name: str) -> Path:
    """Folder in which a training of this kind keeps its resume state; `kind` is the asset that trains."""
    return cache / FOLDER / f"{kind}-{name}"


def keep_newest(folder: Path, count: int, kind: str = "") -> list[Path]:
    """Of the resume folders of a kind in `folder`, remove all but the `count` written to last; returns them.

    Those of other kinds stay: a base model may have trained for weeks when a trial begins. A finished run
    removes its own, so what is there belongs to runs that were stopped: the newest may go on, older ones are
    mostly of settings that have changed since.
    """
    found = [path for path in folder.glob(f"{kind}-*" if kind else "*") if path.is_dir()]
    removed = sorted(found, key=_last_written, reverse=True)[count:]
    for path in removed:
        shutil.rmtree(path, ignore_errors=True)
    return removed


def _last_written(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Outcome of a run; `losses` are nats a token, one a step.

    tokens: all that were read; source_tokens: those of them that an encoder read. best_step: the step whose
    weights were kept, where training was stopped early or could have been.
    """

    tokens: int
    source_tokens: int = 0
    best_step: int | None = None
    seconds: float
    peak_memory_bytes: int
    losses: list[float]


def train(
    loaded: LoadedModel,
    plan: Plan,
    session: Session,
    observe: Callable[[int], None] | None = None,
    stopper: Stopper | None = None,
) -> Outcome:
    """Run the plan to its end, from the resume state if it is this plan's; the model ends in float32.

    `observe` is called with the number of finished steps after each of them and may evaluate the model. A
    `stopper` may end it earlier, and the weights are then the best it has seen. Raises `DivergedError` when
    the loss is not finite, `NoCompilerError`.
    """
    import torch

    options = plan.options
    peak = options.peak_rate(loaded.width)
    schedule = Schedule(peak=peak, steps=plan.steps, warm_up_share=options.warm_up_share)
    weights = MasterWeights(
        loaded.model,
        precision_of(plan.precision, loaded.device),
        betas=options.betas,
        weight_decay=options.weight_decay,
    )
    losses = torch.zeros(plan.steps, device=loaded.device)
    keeper = Keeper(plan=plan, weights=weights, losses=losses, session=session)
    done = keeper.restore()
    if stopper is not None:
        stopper.resume_at(done)
    loaded.model.train()
    with retained_heap(), torch.random.fork_rng(), fused(loaded.model, options.compile):
        for step, batches in enumerate(plan.batches(done), start=done):
            if stopper is not None and stopper.exhausted:
                break
            torch.manual_seed(options.seed * LARGE_PRIME + step)
            losses[step] = _gradient(loaded, batches, plan.precision)
            weights.step(schedule.rate(step), options.maximum_norm)
            done = step + 1
            if observe is not None:
                observe(done)
            if stopper is not None:
                stopper.after(done, weights)
            if keeper.after(done) and stopper is not None:
                stopper.forget_others()
    if stopper is not None:
        keeper.ended(done)
        stopper.give_best(weights)
    weights.release()
    loaded.model.eval()
    return replace(keeper.outcome(done), best_step=stopper.best_step if stopper else None)


def _gradient(loaded: LoadedModel, batches: list[Batch], precision: str) -> "Tensor":
    """Mean loss [] over the targets of all batches of a step, gradients added to the parameters."""
    if precision == AUTOCAST:
        loaded = replace(loaded, plain_head=False)  # our own output layer knows one precision alone
    with casting(precision, loaded.device):
        if len(batches) == 1:
            return backward(loaded, batches[0])
        count = sum(batch.count for batch in batches)
        total = backward(loaded, batches[0], count)
        for batch in batches[1:]:
            total = total + backward(loaded, batch, count)
        return total


class Keeper:
    """Keeps the resume state, the clock, the memory peak and the progress report of one run."""

    def __init__(self, *, plan: Plan, weights: MasterWeights, losses: "Tensor", session: Session) -> None:
        self._plan, self._weights, self._losses, self._session = plan, weights, losses, session
        self._seconds_before, self._started = 0.0, time.monotonic()
        self._saved = self._reported = self._started
        self._reported_tokens = self._peak = 0

    @property
    def seconds(self) -> float:
        """Seconds of training, the interrupted runs that led here included."""
        return self._seconds_before + time.monotonic() - self._started

    def restore(self) -> int:
        """Take over the saved state of this plan, if any; the first step still to do."""
        state = load_state(self._session.resume, self._plan.key)
        if state is None:
            return 0
        self._seconds_before = state.seconds
        self._weights.restore(state.tensors)
        self._losses.copy_(state.tensors["losses"])
        self._report(state.step)
        return state.step

    def after(self, done: int) -> bool:
        """Called when `done` steps are finished; whether the state was saved."""
        now = time.monotonic()
        if now - self._reported >= REPORT_SECONDS or done == self._plan.steps:
            self.ended(done)
            self._reported = now
        if now - self._saved < self._session.runtime.save_seconds or done == self._plan.steps:
            return False
        self._save(done)
        self._saved = time.monotonic()
        return True

    def ended(self, done: int) -> None:
        """Look at the memory and the losses, and report, after any step and after the last."""
        import torch

        self._peak = max(self._peak, memory_in_use(self._losses.device))
        bad = torch.nonzero(~torch.isfinite(self._losses[:done]))
        if len(bad):
            raise DivergedError(int(bad[0]), self._plan.options.learning_rate)
        self._report(done)

    def outcome(self, done: int) -> Outcome:
        """Outcome of the run that is finished after `done` steps."""
        return Outcome(
            tokens=self._plan.tokens(done),
            source_tokens=self._plan.source_tokens(done),
            seconds=self.seconds,
            peak_memory_bytes=self._peak,
            losses=self._losses[:done].tolist(),
        )

    def _report(self, done: int) -> None:
        tokens = self._plan.tokens(done)
        self._session.advance(tokens - self._reported_tokens)
        self._reported_tokens = tokens

    def _save(self, done: int) -> None:
        tensors = {**self._weights.tensors(), "losses": self._losses}
        state = SavedState(step=done, seconds=self.seconds, tensors=tensors)
        save_state(self._session.resume, self._plan.key, state)


def finish(
    loaded: LoadedModel,
    outcome: Outcome,
    options: StepOptions,
    output: Path,
    resume: Path,
    *,
    held_out: Sequence[Example],
    zero_shot: Evaluation | float | None,
) -> TrainingResult:
    """Evaluate on `held_out` (if any), write `output`, remove `resume`; the run's result.

    Evaluations made for this run count towards its operations; a zero-shot figure that was given does not,
    nor do those on validation examples, which are part of its seconds alone.
    """
    started = time.monotonic()
    sizes = sizes_of(loaded)
    save_adapter(loaded, resume)
    whole = merged(loaded)
    after = measure(whole, held_out, options.sequence_length) if held_out else None
    evaluated = [done for done in (zero_shot, after) if isinstance(done, Evaluation | Classification)]
    reading = sum(sizes.reading(one.n_tokens, one.source_tokens) for one in evaluated)
    save_checkpoint(whole, output, kept=resume)
    shutil.rmtree(resume, ignore_errors=True)
    ended = time.monotonic() - started
    return TrainingResult(
        steps=len(outcome.losses),
        tokens=outcome.tokens,
        flops=sizes.training(outcome.tokens, outcome.source_tokens) + reading,
        seconds=outcome.seconds + ended,
        evaluation_flops=float(reading),
        evaluation_seconds=ended,
        peak_memory_bytes=outcome.peak_memory_bytes,
        parameters=sizes.whole.parameters,
        trainable_parameters=sizes.whole.trained,
        losses=history(outcome.losses),
        zero_shot_bits_per_byte=zero_shot.bits_per_byte if isinstance(zero_shot, Evaluation) else zero_shot,
        best_step=outcome.best_step,
        **(after.figures() if after else {}),
    )


def checkpoint_folder(model: Path, share: float) -> Path:
    """Folder in which a model is kept as it was after a share of its training."""
    return model / CHECKPOINTS / f"{share:g}"


def save_checkpoint(loaded: LoadedModel, output: Path, kept: Path | None = None) -> None:
    """Write config.json, model.safetensors and the tokenizer to `output`, all or nothing.

    Also copy what training has `kept` next to its resume state: earlier checkpoints, and the adapter.
    """
    with replace_folder(output) as draft, without_bars():
        loaded.model.save_pretrained(draft)
        if loaded.tokenizer.is_fast:  # it keeps the length that it was last asked to cut labelled texts to
            loaded.tokenizer.backend_tokenizer.no_truncation()
        loaded.tokenizer.save_pretrained(draft)
        for name in (CHECKPOINTS, ADAPTER_FOLDER):
            if kept is not None and (kept / name).is_dir():
                shutil.copytree(kept / name, draft / name)
