"""Scores by a sequence classifier or regressor of transformers: a folder in safetensors, no remote code.

A value is what transformers' text-classification pipeline gives for the label: a probability, or the number
of a regressor. A text longer than the model's window is cut into windows; its value is the mean of their
values, weighted by tokens. All is computed in float32: values of bfloat16 would differ by up to 1e-2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tamis.base.errors import PermanentError, did_you_mean
from tamis.base.imports import ONE_MODEL_AT_A_TIME
from tamis.base.numbers import named
from tamis.embedding.words import WindowCutter, Windows
from tamis.training.device import choose_device
from tamis.training.errors import MALFORMED, TooFewPositionsError, UnknownModelError, load_problem
from tamis.training.fitting import require_fit, tokenizer_in
from tamis.training.models import require_whole, without_bars

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CLASSIFIER_CODE_VERSION = "1"
"""Raised by hand when the same model gives other values."""
LONGEST_WINDOW = 8_192
"""Tokens of a window of models that could read more: attention over a whole book fills the memory."""
TOKENS_PER_BATCH = {"cpu": 4_096, "cuda": 65_536}
LABELS_SHOWN = 20
CLOSE = 1e-5
PROBES = ("Yes.", "Water boils at 100 degrees.", "The mouse ran up the clock, and the clock struck one.")
"""Texts of different lengths, by which a model shows how it takes rows that are filled up."""


class UnfitClassifierError(PermanentError):
    """A folder whose model scores no text, or has no such label."""

    def __init__(self, name: str, problem: str) -> None:
        self.name, self.problem = name, problem
        super().__init__(f"model {name}: {problem}")


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model with its tokenizer, the number of the label, and how it takes rows.

    `fills`: rows of a batch may be filled up; otherwise those of a batch are equally long.
    """

    model: "PreTrainedModel"
    cutter: WindowCutter
    padding: int
    label: int
    fills: bool


class Classifier:
    """The values that a model gives texts for one label, loaded when it is first asked.

    `source`: a folder, or a hub id in the local cache. `label`: None where the model has one output. Another
    process gets the recipe, and loads it itself.
    """

    def __init__(self, source: str, label: str | None = None) -> None:
        # Workers have other working folders.
        self.source = str(Path(source).absolute()) if Path(source).is_dir() else source
        self.label = label

    def __reduce__(self) -> tuple[Any, ...]:
        return Classifier, (self.source, self.label)

    @cached_property
    def loaded(self) -> Loaded:
        """The model on the accelerator where there is one; raises as `load_classifier` does."""
        return load_classifier(self.source, self.label)

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Return the values [n] of the texts, float64; NaN or infinite where the model's numbers are.

        Raises `UnfitClassifierError`, and as `load_model` of tamis.training does.
        """
        if not texts:
            return np.zeros(0)
        loaded = self.loaded
        windows = loaded.cutter.cut([text.encode(errors="replace").decode() for text in texts])
        values_w = values_of(loaded, windows)
        tokens_n = np.bincount(windows.document_w, windows.lengths_w, minlength=len(texts))
        return np.bincount(windows.document_w, windows.lengths_w * values_w, minlength=len(texts)) / tokens_n


def load_classifier(source: str, label: str | None) -> Loaded:
    """Load a model that classifies or scores sequences, in float32.

    Raises `UnfitClassifierError` where it gives no number for a text, or has several labels and not this one,
    `UnknownModelError`, `NoTokenizerError` and `UnfitTokenizerError` where its files do not load or fit.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        with without_bars(), ONE_MODEL_AT_A_TIME, torch.random.fork_rng():
            heads = AutoConfig.from_pretrained(source, trust_remote_code=False).architectures or []
            if heads and not any("SequenceClassification" in head for head in heads):
                raise UnfitClassifierError(
                    source,
                    f"it is a {' and '.join(heads)}, which gives no score of a text; a score "
                    "needs a model for sequence classification (…ForSequenceClassification in config.json)",
                )
            tokenizer = tokenizer_in(source, source)
            model, report = AutoModelForSequenceClassification.from_pretrained(
                source,
                dtype=torch.float32,
                trust_remote_code=False,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # reported, so that the error can name the weight
                output_loading_info=True,
            )
    except (OSError, ValueError, SafetensorError, *MALFORMED) as error:
        raise UnknownModelError(source, load_problem(error)) from error
    require_whole(source, model, report, new_head=False)
    if not tokenizer.is_fast:
        raise UnfitClassifierError(source, "its folder has no tokenizer.json; save it with a fast tokenizer")
    window = _window(source, model, tokenizer)
    model.to(choose_device("auto")).eval()
    if model.config.pad_token_id is None:  # a causal model finds the last token by it
        model.config.pad_token_id = tokenizer.pad_token_id
    padding = model.config.pad_token_id if model.config.pad_token_id is not None else 0
    number = _number_of(source, model, label)
    probes = [text for text in PROBES if len(tokenizer(text)["input_ids"]) <= window]
    as_alone_n = _alone(model, tokenizer, number, probes)
    for fills in (True, False):
        loaded = Loaded(
            model=model,
            cutter=WindowCutter(tokenizer, window),  # type: ignore[arg-type]
            padding=padding,
            label=number,
            fills=fills,
        )
        # Some read the last place of a row, whatever is there, or number places from the left.
        if np.allclose(
            values_of(loaded, loaded.cutter.cut(probes)), as_alone_n, CLOSE, CLOSE, equal_nan=True
        ):
            return loaded
    raise UnfitClassifierError(
        source,
        "it needs more of a text than its tokens, such as types of segments, so Tamis does not read it as "
        "transformers does; use another model",
    )


def _window(source: str, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> int:
    """Return the tokens that the model reads at once, with those that open and close a text."""
    stated = [
        _whole(source, tokenizer.model_max_length),
        getattr(model.config, "max_position_embeddings", None),
    ]
    window = min([LONGEST_WINDOW, *(int(one) for one in stated if one and one > 0)])  # -1: no limit
    try:
        require_fit(source, model, tokenizer, window, filled=True)
    except TooFewPositionsError as error:
        window = error.positions
    return window


def _whole(source: str, longest: object) -> int | float:
    if isinstance(longest, int | float):
        return longest
    problem = f"model_max_length in tokenizer_config.json is {longest!r}; expected a whole number"
    raise UnfitClassifierError(source, problem)


def _number_of(source: str, model: "PreTrainedModel", label: str | None) -> int:
    """Return the number of the output that is the score; raises `UnfitClassifierError`."""
    named_labels = model.config.id2label or {}
    labels = [str(named_labels.get(number, number)) for number in range(model.config.num_labels)]
    if label is None and len(labels) == 1:
        return 0
    if label is None:
        raise UnfitClassifierError(
            source,
            f"it has {len(labels)} labels, so [[score]] needs `label`, the one that counts: "
            f"{named([repr(one) for one in labels], LABELS_SHOWN)}",
        )
    if label not in labels:
        raise UnfitClassifierError(
            source,
            f"it has no label {label!r}; its labels: {named([repr(one) for one in labels], LABELS_SHOWN)}"
            f"{did_you_mean(label, labels)}",
        )
    if labels.count(label) > 1:
        raise UnfitClassifierError(
            source, f"{labels.count(label)} of its labels are {label!r}; correct id2label in config.json"
        )
    return labels.index(label)


def values_of(loaded: Loaded, windows: Windows) -> np.ndarray:
    """Return the value of the label for each window [w], float64."""
    import torch

    values_w = np.zeros(len(windows.lengths_w))
    device = loaded.model.device
    for batch in _batches(windows, TOKENS_PER_BATCH.get(device.type, TOKENS_PER_BATCH["cuda"]), loaded.fills):
        rows = windows.padded(batch, "right", loaded.padding)
        with torch.inference_mode():
            logits_bc = loaded.model(
                **{name: torch.from_numpy(row).to(device) for name, row in rows.items()}
            ).logits
            values_w[batch] = _values(loaded.model, logits_bc)[:, loaded.label].cpu().numpy()
    return values_w


def _batches(windows: Windows, tokens: int, fills: bool) -> Iterator[np.ndarray]:
    """Yield positions of windows that are read together: of like length, or of one length each."""
    for batch in windows.batches(tokens):
        if fills:
            yield batch
        else:
            lengths_b = windows.lengths_w[batch]
            yield from np.split(batch, np.flatnonzero(np.diff(lengths_b)) + 1)


def _values(model: "PreTrainedModel", logits_bc: "torch.Tensor") -> "torch.Tensor":
    """Return what transformers' pipeline makes of the outputs [b, c]."""
    import torch

    kind, labels = model.config.problem_type, model.config.num_labels
    if kind == "regression":
        return logits_bc.float()
    if kind == "multi_label_classification" or labels == 1:
        return torch.sigmoid(logits_bc.float())
    return torch.softmax(logits_bc.float(), dim=-1)


def _alone(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", label: int, texts: Sequence[str]
) -> np.ndarray:
    """Return the values of texts [n], each read alone as the tokenizer gives it."""
    import torch

    with torch.inference_mode():
        read = [model(**tokenizer(text, return_tensors="pt").to(model.device)).logits for text in texts]
    return np.array([float(_values(model, logits_bc)[0, label]) for logits_bc in read])
