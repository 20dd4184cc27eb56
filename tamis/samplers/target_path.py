"""Target path (arXiv 2605.09404): documents by how far a short training on the target lowers their loss.

A model is warmed up on the target's examples: an adapter of rank 4, one epoch at most. With the mean loss of
a document before (l0) and after it (l1), the score is the paper's normalized endpoint loss drop,
(l0 - l1) / l0, which takes no gradients of documents. Two forward passes over the pool; the warm-up itself
takes 2 to 5 s for 160 examples of 80 words and 0.8M parameters on two cores.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tamis.base.errors import MissingPackageError
from tamis.base.installation import install_command
from tamis.base.progress import Advance, ignore
from tamis.settings.samplers import TARGET_PATH
from tamis.training.adapters import Adapter, with_adapter
from tamis.training.device import choose_device
from tamis.training.evaluation import document_losses
from tamis.training.fine_tuning import training_set
from tamis.training.loop import train
from tamis.training.models import LoadedModel, load_model, model_identity
from tamis.training.options import FineTuningOptions, Runtime, Session
from tamis.training.plan import Plan, run_key, steps_per_epoch

if TYPE_CHECKING:
    from torch import Tensor, nn

Floats = npt.NDArray[np.float64]
WARM_UP = FineTuningOptions(epochs=1, learning_rate=5e-3, precision="float32", adapter=Adapter(rank=4))
"""In float32 on every machine: the scores are differences of losses."""
MOST_STEPS = 200
"""Of the warm-up, also where the target's examples would fill more."""
SHORT_TOKENS = 8
"""Tokens of the model under which a text comes last: its mean loss is that of a few words."""
LAST = -2.0
"""Score of texts that are too short, or that the model predicts without any loss."""
WORST = -1.0
"""Smallest score of other texts: the loss has doubled."""


def recipe() -> dict[str, Any]:
    """Return what decides a score besides the model, its examples, the seed and the tokens that are read."""
    warm_up = json.loads(json.dumps(asdict(WARM_UP)))  # as a manifest has it when it is read again
    limits = {"most_steps": MOST_STEPS, "short_tokens": SHORT_TOKENS, "scores": [LAST, WORST]}
    return {"target_path": {"warm_up": warm_up, **limits}}


def require_adapters(model: str) -> None:
    """Raise `MissingPackageError` where a model cannot be given an adapter."""
    if find_spec("peft") is None:
        raise MissingPackageError("peft", f"the sampler {TARGET_PATH}:{model}", install_command("lora"))


@dataclass(frozen=True, kw_only=True)
class LossDrops:
    """Documents under the model before and after its warm-up.

    score_n: normalized drop of the loss, larger is better, NaN where the model gives no loss. before_n: mean
    loss a token before the warm-up, nats. tokens_n: tokens that were read, at most those asked for.
    """

    score_n: Floats
    before_n: Floats
    tokens_n: npt.NDArray[np.int64]


def normalized_drop(before_n: Floats, after_n: Floats, tokens_n: npt.NDArray[np.int64]) -> Floats:
    """Return (before - after) / before [n], at least `WORST`; `LAST` where it says nothing of the text."""
    with np.errstate(invalid="ignore", divide="ignore"):
        drop_n = np.maximum((before_n - after_n) / before_n, WORST)
    return np.where((tokens_n < SHORT_TOKENS) | (before_n == 0), LAST, drop_n)


@dataclass(frozen=True, kw_only=True)
class TargetPath:
    """A model that can be read before and after its warm-up; its files are left as they are.

    first: the values before the warm-up of the weights it moved, where these are the model's own.
    """

    loaded: LoadedModel
    max_tokens: int
    first: "dict[str, Tensor]"

    def drops(self, texts: Sequence[str]) -> LossDrops:
        """Return the drops of documents, by their first `max_tokens` tokens."""
        with self._before():
            before_n, tokens_n = document_losses(self.loaded, texts, max_tokens=self.max_tokens)
        after_n, _tokens = document_losses(self.loaded, texts, max_tokens=self.max_tokens)
        score_n = normalized_drop(before_n, after_n, tokens_n)
        return LossDrops(score_n=score_n, before_n=before_n, tokens_n=tokens_n)

    @contextmanager
    def _before(self) -> Iterator[None]:
        """Give the model its first weights for a while; no second copy of the whole model is held."""
        if self.loaded.adapter is not None:
            with self.loaded.adapter.disable_adapter():
                yield
            return
        weights = {name: self.loaded.model.get_parameter(name) for name in self.first}
        warmed = {name: weight.data for name, weight in weights.items()}
        try:
            for name, weight in weights.items():
                weight.data = self.first[name]
            yield
        finally:
            for name, weight in weights.items():
                weight.data = warmed[name]


def warm_up(
    base: Path | str,
    examples: Sequence[str],
    resume: Path,
    *,
    max_tokens: int = 128,
    seed: int = 0,
    runtime: Runtime = Runtime(),  # noqa: B008 (frozen)
    advance: Advance = ignore,
) -> TargetPath:
    """Train `base` briefly on the texts of the target's examples, and write nothing but `resume` for a while.

    Same base, examples in the same order and seed: same weights. Rows have as many tokens as are read of a
    document, so a model that can read documents can be warmed up. Raises `EmptyTextError`, `NotCausalError`,
    `NeedsPairsError`, `DivergedError` and `MissingPackageError`.
    """
    loaded = load_model(base, choose_device(runtime.device), max_tokens)
    options = replace(WARM_UP, seed=seed, sequence_length=max_tokens)
    documents = training_set(loaded, examples, options)  # refuses an encoder-decoder
    if options.adapter is not None and _has_linear_layers(loaded):
        require_adapters(loaded.name)
        loaded = with_adapter(loaded, options.adapter, seed)
        first = {}
    else:
        options = replace(options, adapter=None)
        first = _first_of_last_block(loaded)
    plan = Plan(
        documents=documents,
        steps=min(options.epochs * steps_per_epoch(documents, options), MOST_STEPS),
        options=options,
        key=run_key(f"{TARGET_PATH} {model_identity(base)}", options, documents, loaded.device.type),
        precision=options.precision,
    )
    train(loaded, plan, Session(resume=resume, runtime=runtime, advance=advance))
    shutil.rmtree(resume, ignore_errors=True)
    return TargetPath(loaded=loaded, max_tokens=max_tokens, first=first)


def _has_linear_layers(loaded: LoadedModel) -> bool:
    """Return whether peft has a layer to adapt: a linear one besides the output layer."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head = loaded.model.get_output_embeddings()
    return any(
        isinstance(layer, nn.Linear | Conv1D) and layer is not head for layer in loaded.model.modules()
    )


def _first_of_last_block(loaded: LoadedModel) -> "dict[str, Tensor]":
    """Freeze all but the last block of the model, and return copies of that block's weights by name."""
    block = _last_block(loaded.model)
    loaded.model.requires_grad_(False)
    block.requires_grad_(True)
    return {
        name: weight.detach().clone()
        for name, weight in loaded.model.named_parameters()
        if weight.requires_grad
    }


def _last_block(model: "nn.Module") -> "nn.Module":
    """Return the last of the longest list of modules, the model itself where it has no list."""
    from torch import nn

    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module)]
    return max(lists, key=len)[-1] if lists else model
