"""Sentence-transformers models: documents of any length, batched by length, in float32 or bfloat16.

A document longer than the model's window is cut into windows; its vector is the mean of their vectors,
weighted by tokens, brought back to length 1. Vectors of bfloat16 differ by up to 2e-3 from those of float32
and between batches, so they have a fingerprint of their own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tamis.base.arguments import strings
from tamis.base.errors import PermanentError
from tamis.base.loading import ONE_MODEL_AT_A_TIME
from tamis.base.precision import BFLOAT16, FLOAT32
from tamis.base.progress import Advance, ignore
from tamis.embedding.identity import EncoderUnavailableError, fingerprint_of, locate
from tamis.embedding.quiet import quiet_libraries

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BLANK_TEXT = "."
DEFAULT_WINDOW = 512
GROUP_DOCUMENTS = 2_048
GROUP_CHARACTERS = 8_000_000
TOKENS_PER_BATCH = {"cpu": 4_096, "cuda": 65_536}


class UnusableVectorError(PermanentError, ValueError):
    """A model gave a vector that is not finite or zero; `vectors_nd` are all of them, NaN where unusable."""

    def __init__(self, encoder: str, row: int, vectors_nd: np.ndarray) -> None:
        self.encoder, self.row, self.vectors_nd = encoder, row, vectors_nd
        super().__init__(
            f"encoder {encoder!r} returned a vector that is zero or not finite for text {row}; check the "
            "model files, or use another encoder"
        )


@dataclass(frozen=True, kw_only=True)
class _Windows:
    """Token ids of each window, and the position of the document it belongs to [w]."""

    ids: list[list[int]]
    document_w: np.ndarray


class SentenceEncoder:
    """An `Encoder` from a folder in sentence-transformers format; no remote code, no network.

    A text without tokens is encoded as a full stop, so that its vector is finite and not zero. A model's
    default prompt is put before each text. Models that are no transformers (static ones) have no window.
    """

    def __init__(
        self, name: str, folder: Path, fingerprint: str, device: str = "auto", precision: str = FLOAT32
    ) -> None:
        self.name, self.fingerprint = name, fingerprint
        self._asked_device, self._precision = device, precision
        self._model = _load(name, folder, device)
        self._device = self._model.device.type
        self._has_windows = hasattr(self._model[0], "auto_model") and self._model.tokenizer.is_fast
        self._prompt = (self._model.prompts or {}).get(self._model.default_prompt_name or "") or ""
        self.dimension = int(self.encode([BLANK_TEXT]).shape[1])

    def __reduce__(self) -> tuple[Any, ...]:
        """As a recipe: another process finds the files by name and sees that they are the same ones."""
        return _opened_again, (self.name, self.fingerprint, self._asked_device, self._precision)

    def encode(self, texts: Sequence[str], advance: Advance = ignore) -> np.ndarray:
        """Vectors [n, d], float32, of length 1, in the order of the texts.

        Raises `UnusableVectorError` when the model gives one that is zero or not finite.
        """
        texts = strings("texts", texts)
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        blocks = []
        for group in groups(texts):
            sums_nd = self._encode_group([self._prompt + _valid(text) for text in group], advance)
            blocks.append(sums_nd)
        vectors_nd = np.concatenate(blocks)
        norms_n = np.linalg.norm(vectors_nd, axis=1)
        unusable_n = ~(np.isfinite(norms_n) & (norms_n > 0))
        unit_nd = np.asarray(vectors_nd / np.where(unusable_n, np.nan, norms_n)[:, None], dtype=np.float32)
        if unusable_n.any():
            raise UnusableVectorError(self.name, int(np.argmax(unusable_n)), unit_nd)
        return unit_nd

    def _encode_group(self, texts: list[str], advance: Advance) -> np.ndarray:
        """Sums over windows, each weighted by its tokens [n, d], not normalised."""
        if not self._has_windows:
            with quiet_libraries():
                vectors_nd = self._model.encode(texts, show_progress_bar=False, convert_to_numpy=True)
            advance(len(texts))
            return np.asarray(vectors_nd, dtype=np.float64)
        windows = self._cut(texts)
        left_n = np.bincount(windows.document_w, minlength=len(texts))
        sums_nd: np.ndarray | None = None
        for batch in _batches(windows, TOKENS_PER_BATCH.get(self._device, TOKENS_PER_BATCH["cuda"])):
            vectors_bd = self._forward([windows.ids[index] for index in batch])
            documents_b = windows.document_w[batch]
            if sums_nd is None:
                sums_nd = np.zeros((len(texts), vectors_bd.shape[1]))
            tokens_b = np.array([len(windows.ids[index]) for index in batch])
            np.add.at(sums_nd, documents_b, vectors_bd * tokens_b[:, None])
            np.subtract.at(left_n, documents_b, 1)
            advance(int((left_n[np.unique(documents_b)] == 0).sum()))
        assert sums_nd is not None
        return sums_nd

    def _cut(self, texts: list[str]) -> _Windows:
        tokens = self._model.tokenizer(
            texts,
            truncation=True,
            max_length=int(self._model.max_seq_length or DEFAULT_WINDOW),
            return_overflowing_tokens=True,
            return_attention_mask=False,
            padding=False,
        )
        ids = [window or self._model.tokenizer(BLANK_TEXT)["input_ids"] for window in tokens["input_ids"]]
        return _Windows(ids=ids, document_w=np.array(tokens["overflow_to_sample_mapping"]))

    def _forward(self, ids: list[list[int]]) -> np.ndarray:
        """Vectors of windows [b, d], float32."""
        import torch

        padded = {name: torch.from_numpy(rows).to(self._device) for name, rows in self._padded(ids).items()}
        reduced = torch.autocast(self._device, torch.bfloat16, enabled=self._precision == BFLOAT16)
        with torch.inference_mode(), reduced:
            vectors_bd = self._model(padded)["sentence_embedding"]
        return np.asarray(vectors_bd.float().cpu())

    def _padded(self, ids: list[list[int]]) -> dict[str, np.ndarray]:
        """Token ids and attention mask [b, t], equal to those of `tokenizer.pad`; id 0 where no token pads.

        That takes many times as long (`minilm_padding` of benchmarks.encoding), and a GPU would wait for it.
        """
        tokenizer = self._model.tokenizer
        length_b = np.array([len(window) for window in ids])
        mask_bt = np.arange(length_b.max()) < length_b[:, None]
        if tokenizer.padding_side == "left":
            mask_bt = mask_bt[:, ::-1]
        ids_bt = np.full(mask_bt.shape, tokenizer.pad_token_id or 0)
        ids_bt[mask_bt] = np.fromiter(chain.from_iterable(ids), np.int64, count=int(length_b.sum()))
        return {"input_ids": ids_bt, "attention_mask": mask_bt.astype(np.int64)}


def _opened_again(name: str, fingerprint: str, device: str, precision: str) -> SentenceEncoder:
    files = locate(name)
    if (found := fingerprint_of(name, files, precision)) != fingerprint:
        problem = f"the model files on this machine have the fingerprint {found} instead of {fingerprint}"
        raise EncoderUnavailableError(name, problem, "put the same model files on every node of the cluster")
    return SentenceEncoder(name, files.folder, fingerprint, device, precision)


def _load(name: str, folder: Path, device: str) -> "SentenceTransformer":
    import torch
    from sentence_transformers import SentenceTransformer

    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        with quiet_libraries(), ONE_MODEL_AT_A_TIME:
            model = SentenceTransformer(
                str(folder),
                device=chosen,
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"use_safetensors": True, "dtype": torch.float32},
            )
    except (OSError, ValueError, ImportError, KeyError) as error:
        remedy = "use a model in sentence-transformers format that does not need remote code"
        raise EncoderUnavailableError(name, f"the model cannot be loaded ({error})", remedy) from error
    return model.eval()


def groups(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Runs of texts that are tokenized and sorted together, bounded in documents and characters."""
    start, characters = 0, 0
    for position, text in enumerate(texts):
        characters += len(text)
        if position + 1 - start == GROUP_DOCUMENTS or characters >= GROUP_CHARACTERS:
            yield texts[start : position + 1]
            start, characters = position + 1, 0
    if start < len(texts):
        yield texts[start:]


def _batches(windows: _Windows, tokens_per_batch: int) -> Iterator[np.ndarray]:
    """Positions of windows of like length, longest first, padded size at most `tokens_per_batch`."""
    lengths_w = np.array([len(window) for window in windows.ids])
    order_w = np.argsort(-lengths_w, kind="stable")
    start = 0
    while start < len(order_w):
        size = max(tokens_per_batch // int(lengths_w[order_w[start]]), 1)
        yield order_w[start : start + size]
        start += size


def _valid(text: str) -> str:
    """The text in valid Unicode; one without a visible character becomes a full stop."""
    return text.encode("utf-8", "replace").decode("utf-8") if text.strip() else BLANK_TEXT
