"""Base models, loaded by name with their tokenizers: safetensors only, no remote code."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.base.files import content_digest
from tamis.base.imports import ONE_MODEL_AT_A_TIME
from tamis.training.attention import choose_attention
from tamis.training.errors import (
    MALFORMED,
    NeedsPairsError,
    NotCausalError,
    UnknownModelError,
    load_problem,
)
from tamis.training.fitting import require_fit, tokenizer_in
from tamis.training.gguf_model import embedded_model_file, load_gguf, load_gguf_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SMOLLM2 = "smollm2-135m"
SMOLLM2_VERSION = b"2"
"""Raised by hand when the same file gives another model or tokenizer."""
NAMED = 3  # weights that an error names
DRAWN_LATER = ("pooler.",)  # of the base model: new whenever the output layer of a classifier is


def tokenizer_of(name: str | Path) -> "PreTrainedTokenizerBase":
    """Return the tokenizer of a model; raises `MissingPackageError`, or as `tokenizer_in` does."""
    if str(name) == SMOLLM2:
        return load_gguf_tokenizer(embedded_model_file())
    return tokenizer_in(str(name), str(name))


def model_identity(name: str | Path) -> str:
    """Return the SHA-256 (hex) of the files of a model: relative paths and bytes, sorted; 0.2 s for 100 MB.

    Of the embedded model also of how it is read. A hub id is resolved in the local cache. Raises
    `UnknownModelError` when there are no files.
    """
    root, files = model_files(name)
    total = sha256(SMOLLM2_VERSION if str(name) == SMOLLM2 else b"")
    for path in files:
        total.update(f"{path.relative_to(root).as_posix()}\n{content_digest(path)}\n".encode())
    return total.hexdigest()


def model_files(name: str | Path) -> tuple[Path, list[Path]]:
    """Return the folder of a model and its files, sorted; raises `UnknownModelError` when there are none."""
    if str(name) == SMOLLM2:
        file = embedded_model_file()
        return file.parent, [file]
    given = Path(name) if isinstance(name, str | Path) else None
    root = given if given is not None and given.is_dir() else _cached_snapshot(str(name))
    files = sorted(path for path in root.rglob("*") if path.is_file())
    if not files:
        raise UnknownModelError(str(name), "the folder of the model is empty")
    return root, files


def count_parameters(name: str | Path) -> int | None:
    """Count the parameters of a model by the headers of its files; None where none states them."""
    return sum(_parameters_in(path) for path in model_files(name)[1]) or None


def _parameters_in(path: Path) -> int:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "np") as tensors:
                return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118 (no mapping)
        except SafetensorError as error:
            raise UnknownModelError(str(path.parent), f"{path.name}: {error}") from error
    if path.suffix == ".gguf":
        from gguf import GGUFReader

        return sum(int(tensor.n_elements) for tensor in GGUFReader(path).tensors)
    return 0


def _cached_snapshot(model_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model_id, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError) as error:
        raise UnknownModelError(
            model_id, "no folder has this name, and the local hub cache contains no model of this name"
        ) from error


def require_whole(name: str, model: "PreTrainedModel", report: Mapping[str, Any], new_head: bool) -> None:
    """Raise `UnknownModelError` where weights are missing, other in shape, or not finite.

    `report`: what transformers says of the loading. `new_head`: the output layer may be drawn again.
    """
    import torch

    lost = sorted({*report["missing_keys"], *(found[0] for found in report["mismatched_keys"])})
    prefix = f"{model.base_model_prefix}."
    if new_head:
        lost = [
            key
            for key in lost
            if key.startswith(prefix) and not key.removeprefix(prefix).startswith(DRAWN_LATER)
        ]
    if lost:
        raise UnknownModelError(
            name,
            f"{len(lost)} of the weights that config.json requires are missing or have another shape: "
            f"{_some(lost)}",
        )
    broken = [key for key, weight in model.named_parameters() if not bool(torch.isfinite(weight).all())]
    if broken:
        raise UnknownModelError(name, f"these weights contain NaN or infinite values: {_some(broken)}")


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:NAMED]) + (f" and {len(keys) - NAMED} more" if len(keys) > NAMED else "")


class Kind(StrEnum):
    """Ways in which a model reads text."""

    CAUSAL = "causal"
    ENCODER_DECODER = "encoder-decoder"
    CLASSIFIER = "classifier"
    MASKED = "masked"


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model with its tokenizer; `plain_head`: logits = last hidden state @ weight.T.

    classes: labels of a classifier in the order of its outputs. adapter: the wrapper of what low-rank
    adaptation added to `model`, None without.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    plain_head: bool
    kind: Kind = Kind.CAUSAL
    classes: tuple[str, ...] = ()
    adapter: Any = None

    @property
    def device(self) -> "torch.device":
        """Device of the model."""
        return self.model.device

    def hidden(self, tokens_bl: "torch.Tensor") -> "torch.Tensor":
        """Last hidden state [b, l, d] of token ids [b, l]."""
        return self.model.base_model(input_ids=tokens_bl, use_cache=False).last_hidden_state

    @property
    def head(self) -> "torch.nn.Parameter":
        """Weight of the output layer [V, d]."""
        return self.model.get_output_embeddings().weight

    @property
    def width(self) -> int:
        """Hidden size."""
        table: Any = self.model.get_output_embeddings() or self.model.get_input_embeddings()
        return int(table.weight.shape[1])

    @property
    def name(self) -> str:
        """Name or folder that the model was loaded from, for people."""
        return str(self.model.name_or_path)


def load_model(
    name: str | Path,
    device: "torch.device",
    sequence_length: int,
    *,
    classes: Sequence[str] = (),
    seed: int = 0,
    hiding: bool = False,
) -> LoadedModel:
    """Load in float32, for rows of `sequence_length`: an encoder-decoder where the model is one, else causal.

    With `classes` a classifier, whose output layer is drawn from `seed` where the model has none for them.
    With `hiding` an encoder is loaded to predict hidden tokens, which without it is an error.
    Raises `UnknownModelError`, `NoTokenizerError`, `UnfitTokenizerError`, `TooFewPositionsError`,
    `NotCausalError`, `NeedsPairsError`, `MissingPackageError`.
    """
    import torch
    from safetensors import SafetensorError

    tokenizer: PreTrainedTokenizerBase
    try:
        with without_bars(), ONE_MODEL_AT_A_TIME, torch.random.fork_rng():
            torch.manual_seed(seed)
            if str(name) == SMOLLM2:
                kind = Kind.CLASSIFIER if classes else Kind.CAUSAL
                model, tokenizer = load_gguf(embedded_model_file(), _labels(classes))
                model.name_or_path = SMOLLM2
            else:
                kind, model, tokenizer = _loaded(str(name), classes, hiding)
    except (OSError, ValueError, SafetensorError, *MALFORMED) as error:
        raise UnknownModelError(str(name), load_problem(error)) from error
    require_fit(str(name), model, tokenizer, sequence_length, filled=kind in (Kind.CLASSIFIER, Kind.MASKED))
    if kind == Kind.CAUSAL:
        return prepared(model, tokenizer, device, sequence_length)
    model.to(device)  # type: ignore[arg-type]
    if kind == Kind.CLASSIFIER and model.config.pad_token_id is None:
        # A causal model classifies by its last token, which it finds by what fills a row up.
        own = tokenizer.pad_token_id
        model.config.pad_token_id = tokenizer.eos_token_id if own is None else own
    if kind == Kind.CLASSIFIER:
        choose_attention(model, sequence_length)
    return LoadedModel(model=model, tokenizer=tokenizer, plain_head=False, kind=kind, classes=tuple(classes))


def _loaded(
    name: str, classes: Sequence[str], hiding: bool
) -> tuple[Kind, "PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Return the kind of the model of a folder or hub id, the model, which lacks no weight, its tokenizer."""
    tokenizer = tokenizer_in(name, name)
    wanted = _labels(classes) | {"use_safetensors": True}
    kind = _kind(name, classes)
    model, report = _model(name, kind, wanted)
    if kind == Kind.CAUSAL and _looks_ahead(model):
        kind = Kind.MASKED
    if kind == Kind.MASKED:
        if not hiding:
            raise NotCausalError(name)
        model, report = _model(name, kind, wanted)
    require_whole(name, model, report, new_head=kind in (Kind.CLASSIFIER, Kind.MASKED))
    return kind, model, tokenizer


def _kind(folder: str, classes: Sequence[str]) -> Kind:
    """Return the kind of a model, as far as its configuration says; some encoders pass for causal models."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    configuration = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if classes:
        if configuration.is_encoder_decoder:
            raise NeedsPairsError(folder)
        return Kind.CLASSIFIER
    if configuration.is_encoder_decoder:
        return Kind.ENCODER_DECODER
    return Kind.CAUSAL if configuration.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else Kind.MASKED


def _model(folder: str, kind: Kind, options: dict[str, Any]) -> tuple["PreTrainedModel", dict[str, Any]]:
    """Load the model, with transformers' report on weights that are missing or of another shape."""
    import torch
    import transformers

    families = {
        Kind.CAUSAL: transformers.AutoModelForCausalLM,
        Kind.ENCODER_DECODER: transformers.AutoModelForSeq2SeqLM,
        Kind.CLASSIFIER: transformers.AutoModelForSequenceClassification,
        Kind.MASKED: transformers.AutoModelForMaskedLM,
    }
    # A shape that differs is reported and not raised, so that the error can name it.
    settings = {"ignore_mismatched_sizes": True, "output_loading_info": True} | options
    return families[kind].from_pretrained(folder, dtype=torch.float32, trust_remote_code=False, **settings)


def _labels(classes: Sequence[str]) -> dict[str, Any]:
    """Return the entries of a configuration that name the labels in the checkpoint; {} without labels."""
    if not classes:
        return {}
    named = dict(enumerate(classes))
    # A model that was trained on other labels gets a new output layer.
    return {
        "id2label": named,
        "label2id": {label: number for number, label in named.items()},
        "num_labels": len(classes),
    }


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


def _looks_ahead(model: "PreTrainedModel") -> bool:
    """Return whether the prediction at a token depends on later tokens, which would give the answer away."""
    import torch

    with torch.no_grad():
        model.eval()
        tokens = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5]], device=model.device)
        logits = model(input_ids=tokens, use_cache=False).logits[:, :3]
    # Weights without a finite value say nothing here; they are named later.
    return not torch.allclose(logits[0], logits[1], rtol=1e-4, atol=1e-4, equal_nan=True)


@contextmanager
def without_bars() -> Iterator[None]:
    """transformers draws no progress bars inside, ours are the only ones, and reports nothing.

    Its report on loading warns of an output layer that is new or not needed, by intent; what is missing
    otherwise is an error of `require_whole`.
    """
    from transformers.utils import logging

    drawn, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
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
