"""Scores documents with a model in this process: causal, or encoder-decoder.

Documents are truncated, never the question; batches are padded on the left, so the answer's position is the
last one and only its logits are computed; what every question starts with goes through the model once and
its keys and values are used again. Scores in float32 agree to 1e-4 whatever else is in the batch.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tamis.base.progress import Advance, ignore
from tamis.quality.prompts import Prompt, neutralised

if TYPE_CHECKING:
    import torch

WINDOW = 1_024  # documents tokenized and sorted by length together
CPU_BATCH = 4  # as fast as 16 on a CPU (.43 s a document and core, measured), and progress moves each second
CHARACTERS_PER_TOKEN = 64  # a document is cut here before tokenizing; ordinary text has 4
CACHE_NAMES = ("cache", "past_key_values")
"""Keys and values, as an argument and in the output: transformers 5.40 removes the second name."""


@dataclass(frozen=True, kw_only=True)
class AnswerTokens:
    """Token ids of the answers; `raw` is the one spelling of "yes" that the prompt asks for."""

    raw: int
    yes: tuple[int, ...]
    no: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class PrefixCache:
    """Tokens that (almost) every question starts with, and each layer's keys and values of them."""

    ids: list[int]
    layers: list[tuple["torch.Tensor", "torch.Tensor"]]  # [1, heads, tokens, width]


@dataclass(frozen=True, kw_only=True)
class LocalJudge:
    """A loaded model with what is constant over all documents."""

    model: Any
    tokenizer: Any
    prompt: Prompt
    answers: AnswerTokens
    special_tokens: tuple[str, ...]
    adds_special_tokens: bool
    max_tokens: int
    prefix: PrefixCache | None = None

    def score(
        self, texts: Sequence[str], batch_size: int, advance: Advance, count_tokens: Advance = ignore
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Log-probabilities [n, 3] of raw yes, all yes and all no tokens, and which texts were cut [n].

        `count_tokens` gets the tokens of the questions, those of a kept prefix included.
        """
        if self.model.device.type == "cpu":
            batch_size = min(batch_size, CPU_BATCH)
        scores_n3 = np.empty((len(texts), 3), dtype=np.float32)
        cut_n = np.zeros(len(texts), dtype=np.bool_)
        for start in range(0, len(texts), WINDOW):
            documents, cut_n[start : start + WINDOW] = bounded_documents(self, texts[start : start + WINDOW])
            questions = question_ids(self, documents)
            count_tokens(sum(map(len, questions)))
            for rows in _by_length(questions, batch_size):
                scores_n3[start + rows] = _answer_log_probabilities(self, [questions[row] for row in rows])
                advance(len(rows))
        return scores_n3, cut_n


def bounded_documents(judge: LocalJudge, texts: Sequence[str]) -> tuple[list[str], list[bool]]:
    """Neutralised texts of at most `max_tokens` tokens each, and which of them lost their end."""
    longest = judge.max_tokens * CHARACTERS_PER_TOKEN
    documents = neutralised([text[:longest] for text in texts], judge.prompt, judge.special_tokens)
    encoded = judge.tokenizer(
        documents, add_special_tokens=False, return_offsets_mapping=judge.tokenizer.is_fast, verbose=False
    )
    cut = [len(text) > longest for text in texts]
    for row, ids in enumerate(encoded["input_ids"]):
        if len(ids) > judge.max_tokens:
            cut[row] = True
            if judge.tokenizer.is_fast:
                documents[row] = documents[row][: encoded["offset_mapping"][row][judge.max_tokens - 1][1]]
            else:
                documents[row] = judge.tokenizer.decode(ids[: judge.max_tokens])
    return documents, cut


def question_ids(judge: LocalJudge, documents: Sequence[str]) -> list[list[int]]:
    """Token ids of the whole question about each document."""
    questions = [judge.prompt.around(document) for document in documents]
    ids: list[list[int]] = judge.tokenizer(
        questions, add_special_tokens=judge.adds_special_tokens, verbose=False
    )["input_ids"]
    if judge.model.config.is_encoder_decoder:
        return ids
    end = judge.tokenizer.eos_token_id  # some causal tokenizers close the text, after which no answer follows
    return [row[:-1] if judge.adds_special_tokens and row[-1] == end else row for row in ids]


def _by_length(questions: Sequence[Sequence[int]], batch_size: int) -> Iterator[NDArray[np.intp]]:
    # Longest first: memory runs out at once or not at all.
    order = np.argsort([-len(ids) for ids in questions], kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _answer_log_probabilities(judge: LocalJudge, rows: list[list[int]]) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        log_p = torch.log_softmax(answer_logits(judge, rows).float(), dim=-1)  # [b, vocabulary]
        yes, no = (log_p[:, list(ids)].logsumexp(dim=-1) for ids in (judge.answers.yes, judge.answers.no))
        return torch.stack([log_p[:, judge.answers.raw], yes, no], dim=1).cpu().numpy()


def answer_logits(judge: LocalJudge, rows: list[list[int]]) -> "torch.Tensor":
    """Logits [b, vocabulary] at the first answer position of a batch of questions."""
    import torch

    if judge.model.config.is_encoder_decoder:
        ids, mask = padded(judge, rows)
        start = torch.full((len(rows), 1), _decoder_start(judge), device=judge.model.device)
        return judge.model(input_ids=ids, attention_mask=mask, decoder_input_ids=start).logits[:, -1]
    past = judge.prefix
    if past is not None and any(row[: len(past.ids)] != past.ids for row in rows):
        past = None
    known = len(past.ids) if past is not None else 0
    ids, mask = padded(judge, [row[known:] for row in rows])
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    accepted = inspect.signature(judge.model.forward).parameters
    if past is not None:
        seen = torch.ones((len(rows), known), dtype=mask.dtype, device=mask.device)
        inputs["attention_mask"] = torch.cat([seen, mask], dim=1)
        name = next((name for name in CACHE_NAMES if name in accepted), CACHE_NAMES[-1])
        inputs[name] = _repeated(past, len(rows))
    if "position_ids" in accepted:
        inputs["position_ids"] = token_positions(mask) + known
    if "logits_to_keep" in accepted:
        inputs["logits_to_keep"] = 1
    return judge.model(**inputs, use_cache=past is not None).logits[:, -1]


def token_positions(mask: "torch.Tensor") -> "torch.Tensor":
    """Position [b, width] of each token within its own question."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def padded(judge: LocalJudge, rows: list[list[int]]) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Token ids and mask [b, width] of rows that end together, or of an encoder begin together.

    The answer follows the last token of a causal model. Some encoders, such as BART's, have absolute
    positions, which count from the first column.
    """
    import torch

    lengths = np.array([len(row) for row in rows])
    width = int(lengths.max())
    first = np.zeros_like(lengths) if judge.model.config.is_encoder_decoder else width - lengths
    columns = np.arange(width)
    mask = (columns >= first[:, None]) & (columns < (first + lengths)[:, None])
    ids = np.full(mask.shape, judge.tokenizer.pad_token_id or 0, dtype=np.int64)
    ids[mask] = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
    device = judge.model.device
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask.astype(np.int64)).to(device)


def _decoder_start(judge: LocalJudge) -> int:
    names = ("decoder_start_token_id", "bos_token_id", "pad_token_id")
    tokens = (getattr(judge.model.config, name, None) for name in names)
    return next((int(token) for token in tokens if token is not None), 0)


def _repeated(prefix: PrefixCache, rows: int) -> Any:
    from transformers import DynamicCache

    cache = DynamicCache()
    for index, (keys, values) in enumerate(prefix.layers):
        cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), index)
    return cache


def prefix_cache(judge: LocalJudge, shortest: int = 16, freed: int = 2) -> PrefixCache | None:
    """Keys and values of the prompt's prefix, or None where they cannot be used again exactly.

    The last `freed` tokens are left out, because they may merge with the first characters of a document; a
    cache under `shortest` tokens costs more to copy than it saves. Only caches of plain full attention are
    used.
    """
    import torch
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    columns = zip(*question_ids(judge, ["", "a", "0"]), strict=False)
    common = [tokens[0] for tokens in takewhile(lambda tokens: len(set(tokens)) == 1, columns)]
    known = common[: max(len(common) - freed, 0)]
    if judge.model.config.is_encoder_decoder or len(known) < shortest:
        return None
    with torch.inference_mode():
        inputs = torch.tensor([known], device=judge.model.device)
        output = judge.model(input_ids=inputs, use_cache=True)
    cache = next((getattr(output, name) for name in CACHE_NAMES if hasattr(output, name)), None)
    if not isinstance(cache, DynamicCache) or any(type(layer) is not DynamicLayer for layer in cache.layers):
        return None
    layers: list[Any] = cache.layers
    return PrefixCache(ids=known, layers=[(layer.keys, layer.values) for layer in layers]) if layers else None
