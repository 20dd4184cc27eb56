"""Low-rank adaptation (Hu et al. 2106.09685): a few trained matrices added to frozen weights, merged last.

The checkpoint is merged: one form for every trial, that transformers loads alone and that another training
may begin with, at the price of a whole model on the disk. Its folder `adapter/` holds the matrices as peft
writes them, for whoever keeps one base and many adapters.
"""

import json
import warnings
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from tamis.base.errors import MissingPackageError
from tamis.base.installation import install_command
from tamis.training.errors import UnfitLayersError
from tamis.training.models import Kind, LoadedModel

FOLDER = "adapter"
ALL_LINEAR = "all-linear"
NAMED_LAYERS = ("target_modules", "modules_to_save", "exclude_modules")


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """Rank of the update, whose scale is alpha / rank. targets: names of layers; without any, all linear."""

    rank: int
    alpha: int | None = None
    dropout: float = 0.0
    targets: tuple[str, ...] = ()


def require_peft() -> None:
    """Raise `MissingPackageError` where adapters cannot be made."""
    if find_spec("peft") is None:
        raise MissingPackageError("peft", "lora_rank in tamis.toml", install_command("lora"))


def with_adapter(loaded: LoadedModel, adapter: Adapter, seed: int) -> LoadedModel:
    """Freeze the model and add an adapter drawn from `seed`; a classifier's output layer is trained too.

    Raises `UnfitLayersError` and `MissingPackageError`.
    """
    import torch

    require_peft()
    from peft import LoraConfig, get_peft_model

    _require_layers(loaded, adapter.targets)
    tasks = {
        Kind.CAUSAL: "CAUSAL_LM",
        Kind.ENCODER_DECODER: "SEQ_2_SEQ_LM",
        Kind.CLASSIFIER: "SEQ_CLS",
        Kind.MASKED: None,
    }
    configuration = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha or 2 * adapter.rank,  # a float will do
        lora_dropout=adapter.dropout,
        target_modules=list(adapter.targets) or ALL_LINEAR,
        task_type=tasks[loaded.kind],
    )
    with torch.random.fork_rng(), warnings.catch_warnings():
        # Of layers that hold their weights transposed, as GPT-2's do: peft sees it, and does what is right.
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to False")
        torch.manual_seed(seed)
        return replace(loaded, adapter=get_peft_model(loaded.model, configuration))


def _require_layers(loaded: LoadedModel, targets: tuple[str, ...]) -> None:
    """Raise `UnfitLayersError` for a name that no layer ends with, or that of words going in or out.

    The loss multiplies by the output layer itself, past an adapter, and the two often share their weights.
    """
    ends = {loaded.model.get_input_embeddings(), loaded.model.get_output_embeddings()} - {None}
    for target in targets:
        found = [
            module
            for path, module in loaded.model.named_modules()
            if path == target or path.endswith(f".{target}")
        ]
        if not found:
            raise UnfitLayersError(loaded.name, targets, f"no layer's name ends with {target!r}")
        if ends.intersection(found):
            raise UnfitLayersError(loaded.name, targets, f"{target!r} is the embedding or output layer")


def save_adapter(loaded: LoadedModel, checkpoint: Path) -> None:
    """Write the matrices alone into a checkpoint that is being made; nothing without an adapter."""
    if loaded.adapter is None:
        return
    # Embeddings have no adapter; left to itself, peft asks the hub whether their size has changed.
    loaded.adapter.save_pretrained(checkpoint / FOLDER, save_embedding_layers=False)
    (checkpoint / FOLDER / "README.md").unlink(missing_ok=True)
    path = checkpoint / FOLDER / "adapter_config.json"
    # A manifest has the digest of this file, so the path of the base model goes, and sets are in order.
    written = json.loads(path.read_text())
    named = {key: sorted(written[key]) for key in NAMED_LAYERS if isinstance(written.get(key), list)}
    path.write_text(json.dumps({**written, **named, "base_model_name_or_path": None}, indent=2))


def merged(loaded: LoadedModel) -> LoadedModel:
    """Return the model with its adapter added to its weights; itself without one."""
    if loaded.adapter is None:
        return loaded
    return replace(loaded, model=loaded.adapter.merge_and_unload(), adapter=None)
