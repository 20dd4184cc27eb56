"""Ask-LLM: how likely a judge is to answer "yes" when asked whether a document is worth learning from.

Sachdeva et al. 2402.09668, Section 3.1. The paper keeps P("yes") of one token; here all single-token
spellings of yes and no are summed and the margin log P(yes) - log P(no) is the score, since P("yes") ties
near 1 and hides a judge that answers neither. The embedded judge reads 2.3 documents of 128 tokens a second
and core in float32, 4.1 in bfloat16.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.base.arguments import as_whole, strings
from tamis.base.errors import UnknownNameError
from tamis.base.progress import Advance, ignore
from tamis.base.unfit import Refusal, Unfit, read_each
from tamis.quality.endpoint import (
    Endpoint,
    EndpointRejectedError,
    MissingLogProbabilitiesError,
    UnusableAnswerError,
    first_token_log_probabilities,
)
from tamis.quality.identity import (
    DTYPES,
    JudgeModelError,
    judge_identity,
    judge_prompt,
    judge_source,
    model_name,
)
from tamis.quality.judge_loading import NO, YES, asked_with, load_local_judge
from tamis.quality.local_judge import LocalJudge
from tamis.quality.prompts import Prompt, neutralised
from tamis.quality.usage import Usage

ENDPOINT_CHARACTERS_PER_TOKEN = 4  # an endpoint's tokenizer is out of reach
SMALLEST_PROBABILITY = 1e-12
SCHEMA = {
    "logp_yes_raw": pl.Float32,
    "logp_yes": pl.Float32,
    "logp_no": pl.Float32,
    "answer_mass": pl.Float32,
    "margin": pl.Float32,
    "truncated": pl.Boolean,
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Result of asking about some texts.

    scores: as `AskLLM.score` gives them, a row per text in order. refused: why some have none, by position.
    stopped: what ended the asking; the texts at `unasked` have no answer because of it.
    """

    scores: pl.DataFrame
    refused: Mapping[int, Refusal] = field(default_factory=dict)
    unasked: Sequence[int] = ()
    stopped: Exception | None = None


class AskLLM:
    """A judge and its question; the model is loaded at the first score.

    model: "smollm2-135m" (embedded), a transformers folder or hub id ("org/name@revision"), or an
    `Endpoint`. prompt: "ask-llm" (the paper's), "examples" (small models), "auto" (by model). max_tokens
    bounds the document, never the question; for an endpoint a token counts as four characters. batch_size
    is an upper bound, and the number of requests in flight for an endpoint. dtype "bfloat16" is another
    scorer: padding moves its margins by .1. Raises `UnknownNameError`, `JudgeModelError`,
    `MissingPackageError`; `BadArgumentError` for sizes below 1.
    """

    def __init__(
        self,
        model: str | Path | Endpoint,
        *,
        prompt: str | Prompt = "auto",
        batch_size: int = 16,
        max_tokens: int = 512,
        dtype: str = "float32",
        device: str = "auto",
    ) -> None:
        batch_size, max_tokens = as_whole("batch_size", batch_size, 1), as_whole("max_tokens", max_tokens, 1)
        if dtype not in DTYPES:
            raise UnknownNameError("dtype", dtype, DTYPES)
        self.model = model if isinstance(model, Endpoint) else model_name(model)
        self.batch_size, self.max_tokens = batch_size, max_tokens
        self.dtype, self.device = dtype, device
        self.prompt = judge_prompt(self.model, prompt)
        self.usage = Usage()
        self._judge: LocalJudge | None = None
        self._shares_model_of: AskLLM | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """As a recipe: another process loads the model itself and sees that it is the same one."""
        options = ("batch_size", "max_tokens", "dtype", "device")
        named = {"prompt": self.prompt, **{name: getattr(self, name) for name in options}}
        return _opened_again, (self.model, named, self.fingerprint)

    @property
    def fingerprint(self) -> str:
        """`judge_identity` of this judge: what the rows it scores are stored under."""
        return judge_identity(self.model, self.prompt, max_tokens=self.max_tokens, dtype=self.dtype)

    def asking(self, prompt: Prompt) -> "AskLLM":
        """The same model asked another question; loaded once, its costs counted together."""
        other = AskLLM(
            self.model,
            prompt=prompt,
            batch_size=self.batch_size,
            max_tokens=self.max_tokens,
            dtype=self.dtype,
            device=self.device,
        )
        other.usage, other._shares_model_of = self.usage, self
        return other

    def score(self, texts: Sequence[str], advance: Advance = ignore) -> pl.DataFrame:
        """A row per text in order: log-probabilities (natural), answer mass, margin, whether it was cut.

        logp_yes_raw is the paper's score; answer_mass = P(yes) + P(no) over all single-token spellings. All
        five numbers of a row are null where the judge's logits are not finite, and where the judge refuses a
        text or fails on it. Float32 scores do not depend on the batch (1e-4). Raises the errors of
        `tamis.quality.endpoint` for an `Endpoint`, also when it refuses every text.
        """
        asked = self.ask(texts, advance)
        if asked.stopped is not None:
            raise asked.stopped
        errors = [why.error for why in asked.refused.values() if why.error is not None]
        if errors and len(errors) == len(texts):
            raise errors[0]
        return asked.scores

    def ask(self, texts: Sequence[str], advance: Advance = ignore) -> Asked:
        """The same with the reason for each text without a score; answers survive an error of the server."""
        texts = strings("texts", texts)
        with self.usage.asking(len(texts)):
            if isinstance(self.model, Endpoint):
                return _ask_endpoint(self, self.model, texts, advance)
            return _ask_locally(self, texts, advance)

    def local_judge(self) -> LocalJudge:
        """The loaded model, for callers that report its answer tokens or ask it something else."""
        if self._judge is None and self._shares_model_of is not None:
            loaded, source = self._shares_model_of.local_judge(), judge_source(self.model)
            self._judge = asked_with(loaded.model, loaded.tokenizer, self.prompt, self.max_tokens, source)
        if self._judge is None:
            self._judge = load_local_judge(
                judge_source(self.model),
                self.prompt,
                max_tokens=self.max_tokens,
                dtype=self.dtype,
                device=self.device,
            )
        return self._judge


def _opened_again(model: str | Endpoint, options: dict[str, Any], fingerprint: str) -> AskLLM:
    judge = AskLLM(model, **options)
    if judge.fingerprint != fingerprint:
        raise JudgeModelError(
            str(model),
            "the judge's files differ between the nodes of the cluster; copy the same files to each node",
        )
    return judge


def _frame(scores_n3: NDArray[np.float32], cut_n: NDArray[np.bool_]) -> pl.DataFrame:
    raw, yes, no = np.where(np.isfinite(scores_n3).all(axis=1, keepdims=True), scores_n3, np.nan).T
    mass = np.minimum(np.exp(yes) + np.exp(no), 1.0)  # rounding may pass 1
    return pl.DataFrame(
        dict(zip(SCHEMA, (raw, yes, no, mass, yes - no, cut_n), strict=True)), schema=SCHEMA
    ).with_columns(pl.col(pl.Float32).fill_nan(None))


def _ask_locally(judge: AskLLM, texts: Sequence[str], advance: Advance) -> Asked:
    """Ask the model of this process; a text that it or its tokenizer fails on is refused."""
    local = judge.local_judge()
    parts, refused = read_each(
        lambda some: local.score(some, judge.batch_size, advance, judge.usage.count_tokens), texts
    )
    scores_n3 = np.full((len(texts), 3), np.nan, dtype=np.float32)
    cut_n = np.zeros(len(texts), dtype=np.bool_)
    for places, (found, cut) in parts:
        scores_n3[places], cut_n[places] = found, cut
    return Asked(scores=_frame(scores_n3, cut_n), refused=refused)


def _ask_endpoint(judge: AskLLM, endpoint: Endpoint, texts: Sequence[str], advance: Advance) -> Asked:
    """Ask a server, a request a text; an error that no text can cause stops it once all in flight are in."""
    longest = judge.max_tokens * ENDPOINT_CHARACTERS_PER_TOKEN
    prompt, stop = judge.prompt, Event()
    documents = neutralised([text[:longest] for text in texts], prompt)

    def answer(document: str) -> tuple[float, float, float] | Exception | None:
        if stop.is_set():
            return None
        try:
            shown = first_token_log_probabilities(
                endpoint, prompt, prompt.around(document), judge.usage.count_tokens
            )
        except Exception as error:
            if _refusal(error) is None:
                stop.set()
            return error
        return _answer_shares(shown, prompt)

    scores_n3 = np.full((len(texts), 3), np.nan, dtype=np.float32)
    refused: dict[int, Refusal] = {}
    unasked: list[int] = []
    stopped: Exception | None = None
    with ThreadPoolExecutor(max_workers=judge.batch_size) as threads:
        for row, found in enumerate(threads.map(answer, documents)):
            if isinstance(found, tuple):
                scores_n3[row] = found
            elif found is not None and (refusal := _refusal(found)) is not None:
                refused[row] = refusal
            else:
                stopped = stopped or found
                unasked.append(row)
                continue
            advance(1)
    cut_n = np.array([len(text) > longest for text in texts], dtype=np.bool_)
    return Asked(scores=_frame(scores_n3, cut_n), refused=refused, unasked=unasked, stopped=stopped)


def _refusal(error: Exception) -> Refusal | None:
    """Return what an error of the server says of the document that was asked about; None for nothing."""
    if isinstance(error, EndpointRejectedError) and error.of_the_document:
        detail = f"the judge's server refused it: status {error.status} ({error.detail})"
    elif isinstance(error, MissingLogProbabilitiesError):
        detail = "the judge's server answered without log-probabilities"
    elif isinstance(error, UnusableAnswerError):
        detail = f"the judge's server gave no usable answer in {error.attempts} attempts: {error.problem}"
    else:
        return None
    numbers = isinstance(error, UnusableAnswerError) and error.numbers
    return Refusal(reason=Unfit.NO_SCORE if numbers else Unfit.JUDGE_REFUSED, detail=detail, error=error)


def _answer_shares(alternatives: dict[str, float], prompt: Prompt) -> tuple[float, float, float]:
    values = list(alternatives.values())
    rest = 1.0 - sum(math.exp(value) for value in values)
    # What is not shown is no likelier than the least likely shown, nor than all that is left over.
    bound = min(min(values), math.log(max(rest, SMALLEST_PROBABILITY)))
    shown = {token: value for token, value in alternatives.items() if token.strip() in {"yes", "Yes", "YES"}}
    raw = [shown[token] for token in (prompt.answer, prompt.answer.strip()) if token in shown]
    return raw[0] if raw else bound, _summed(alternatives, YES, bound), _summed(alternatives, NO, bound)


def _summed(alternatives: dict[str, float], spellings: Sequence[str], bound: float) -> float:
    found = [value for token, value in alternatives.items() if token in spellings]
    return float(np.logaddexp.reduce(found)) if found else bound
