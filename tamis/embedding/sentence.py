"""Sentence-transformers models: documents of any length, batched by length, in float32 or bfloat16.

A document longer than the model's window is cut into windows; its vector is the mean of their vectors,
weighted by tokens, brought back to length 1. Vectors of bfloat16 differ by up to 2e-3 from those of float32
and between batches, so they have a fingerprint of their own.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tamis.base.arguments import strings
from tamis.base.errors import PermanentError
from tamis.base.imports import ONE_MODEL_AT_A_TIME
from tamis.base.precision import BFLOAT16, FLOAT32
from tamis.base.progress import Advance, ignore
from tamis.base.threads import ahead
from tamis.embedding.identity import EncoderUnavailableError, fingerprint_of, locate, model_folder
from tamis.embedding.quiet import quiet_libraries
from tamis.embedding.static import text_runs, valid_text
from tamis.embedding.words import BLANK_TEXT, WindowCutter, Windows

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

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


class SentenceEncoder:
    """An `Encoder` from a folder in sentence-transformers format; no remote code, no network.

    A blank text is encoded as a full stop, so that its vector is finite and not zero. A model's
    default prompt is put before each text. Models that are no transformers (static ones) have no window.
    """

    def __init__(
        self, name: str, folder: Path, fingerprint: str, device: str = "auto", precision: str = FLOAT32
    ) -> None:
        self.name, self.fingerprint = name, fingerprint
        self._asked_device, self._precision = device, precision
        self._model = _load(name, folder, device)
        self._device = self._model.device.type
        self._cutter = _cutter(self._model)
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
        with closing(ahead(self._prepared(group) for group in groups(texts))) as prepared:
            blocks = [self._encode_group(group, windows, advance) for group, windows in prepared]
        vectors_nd = np.concatenate(blocks)
        norms_n = np.linalg.norm(vectors_nd, axis=1)
        unusable_n = ~(np.isfinite(norms_n) & (norms_n > 0))
        unit_nd = np.asarray(vectors_nd / np.where(unusable_n, np.nan, norms_n)[:, None], dtype=np.float32)
        if unusable_n.any():
            raise UnusableVectorError(self.name, int(np.argmax(unusable_n)), unit_nd)
        return unit_nd

    def _prepared(self, texts: Sequence[str]) -> tuple[list[str], Windows | None]:
        """Return a group's texts after the prompt, and their windows, if the model has a window.

        A thread does this for the next group while the model works on the one before: a GPU would wait.
        """
        # A text without a visible character becomes a full stop.
        prompted = [self._prompt + (valid_text(text) if text.strip() else BLANK_TEXT) for text in texts]
        return prompted, self._cutter.cut(prompted) if self._cutter else None

    def _encode_group(self, texts: list[str], windows: Windows | None, advance: Advance) -> np.ndarray:
        """Sums over windows, each weighted by its tokens [n, d], not normalised."""
        if windows is None:
            with quiet_libraries():
                vectors_nd = self._model.encode(texts, show_progress_bar=False, convert_to_numpy=True)
            advance(len(texts))
            return np.asarray(vectors_nd, dtype=np.float64)
        left_n = np.bincount(windows.document_w, minlength=len(texts))
        sums_nd: np.ndarray | None = None
        for batch in windows.batches(TOKENS_PER_BATCH.get(self._device, TOKENS_PER_BATCH["cuda"])):
            vectors_bd = self._forward(windows, batch)
            if sums_nd is None:
                sums_nd = np.zeros((len(texts), vectors_bd.shape[1]))
            weighted_bd = vectors_bd * windows.lengths_w[batch][:, None]
            documents_b, windows_b = np.unique(windows.document_w[batch], return_counts=True)
            if len(documents_b) == len(batch):  # np.add.at would take five times as long
                sums_nd[windows.document_w[batch]] += weighted_bd
            else:
                np.add.at(sums_nd, windows.document_w[batch], weighted_bd)
            left_n[documents_b] -= windows_b
            advance(int((left_n[documents_b] == 0).sum()))
        assert sums_nd is not None
        return sums_nd

    def _forward(self, windows: Windows, batch: np.ndarray) -> np.ndarray:
        """Vectors of windows [b, d], float32; filled up with id 0 where no token pads."""
        import torch

        tokenizer = self._model.tokenizer
        padded = windows.padded(batch, tokenizer.padding_side, tokenizer.pad_token_id or 0)
        on_device = {name: torch.from_numpy(rows).to(self._device) for name, rows in padded.items()}
        reduced = torch.autocast(self._device, torch.bfloat16, enabled=self._precision == BFLOAT16)
        with torch.inference_mode(), reduced:
            vectors_bd = self._model(on_device)["sentence_embedding"]
        return np.asarray(vectors_bd.float().cpu())


def _opened_again(name: str, fingerprint: str, device: str, precision: str) -> SentenceEncoder:
    files = locate(name)
    if (found := fingerprint_of(name, files, precision)) != fingerprint:
        raise EncoderUnavailableError(
            name,
            f"the model files on this machine have the fingerprint {found} instead of {fingerprint}",
            "put the same model files on every node of the cluster",
        )
    return SentenceEncoder(name, model_folder(name, files), fingerprint, device, precision)


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
        raise EncoderUnavailableError(
            name,
            f"the model cannot be loaded ({error})",
            "use a model in sentence-transformers format that does not need remote code",
        ) from error
    return model.eval()


def _cutter(model: "SentenceTransformer") -> WindowCutter | None:
    if not hasattr(model[0], "auto_model") or not model.tokenizer.is_fast:
        return None
    return WindowCutter(model.tokenizer, int(model.max_seq_length or DEFAULT_WINDOW))


def groups(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Runs of texts that are tokenized and sorted together, bounded in documents and characters."""
    return (texts[rows] for rows in text_runs(texts, GROUP_DOCUMENTS, GROUP_CHARACTERS))
