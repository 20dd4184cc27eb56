"""Documents that a model, an encoder or a judge's server cannot work with, separated from the others.

A failure is a document's own only if the same model copes with a plain sentence, and if neither memory, disk
nor network is behind it: everything else stops the stage.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import TypeVar

import numpy as np

from tamis.base.errors import PermanentError, TransientError, out_of_memory

PLAIN = "A plain sentence."
"""What every model can read: one that fails on it is itself at fault."""

Result = TypeVar("Result")


class Unfit(StrEnum):
    """Why a document is set aside; the code in quarantine, in decisions and in explanations."""

    JUDGE_REFUSED = "judge_refused"
    """The judge's server refused it, or answered without log-probabilities."""
    MODEL_FAILED = "model_failed"
    """A model or its tokenizer failed on it."""
    NO_VECTOR = "no_vector"
    """The encoder gave a vector that is zero or not finite."""
    NO_SCORE = "no_score"
    """The model's numbers for it are not finite."""
    PLUGIN_FAILED = "plugin_failed"
    """A plug-in of the project raised an error on it."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why one document is set aside. `detail` holds nothing of its text, nor of what a server said of it.

    `error`: what was raised, for callers that stop because everything is refused.
    """

    reason: Unfit
    detail: str
    error: Exception | None = field(default=None, compare=False, repr=False)


class NoNumbersError(PermanentError):
    """A model gives no finite number, whatever it reads."""

    def __init__(self) -> None:
        super().__init__(
            "the model outputs no finite number even for a plain sentence, so its weights are damaged or its "
            "training has diverged; retrain the model with a smaller learning rate, or choose another model"
        )


def read_each(
    read: Callable[[list[str]], Result], texts: Sequence[str], cuts: Sequence[int] = ()
) -> tuple[list[tuple[list[int], Result]], dict[int, Refusal]]:
    """Results of `read` with the positions of their texts, and refusals of texts it fails on, by position.

    Texts are read together; what fails is cut, first at `cuts` if there are any, then into halves, until the
    texts at fault are alone. Raises what `read` raises when memory, disk or network is the cause, or when it
    fails on a plain sentence too.
    """
    try:
        return [(list(range(len(texts))), read(list(texts)))], {}
    except BaseException as error:
        if not _of_a_text(error):
            raise
    read(
        [PLAIN]
    )  # not within the handler: what fails here would carry the first message, which may quote texts
    results: list[tuple[list[int], Result]] = []
    refused: dict[int, Refusal] = {}
    ends = [0, *(cuts or [len(texts) // 2]), len(texts)]
    _read_parts(read, texts, [list(range(start, end)) for start, end in pairwise(ends)], results, refused)
    return results, refused


def finite_each(
    read: Callable[[list[str]], np.ndarray], texts: Sequence[str]
) -> tuple[np.ndarray, dict[int, Refusal]]:
    """Numbers [n] of texts, NaN where `read` gives none that is finite, and by position why.

    Raises `NoNumbersError` when it gives none for a plain sentence either.
    """
    parts, refused = read_each(read, texts)
    found_n = np.full(len(texts), np.nan)
    for places, some in parts:
        found_n[places] = np.where(np.isfinite(some), some, np.nan)
    why = Refusal(reason=Unfit.NO_SCORE, detail="the model gave no finite number")
    empty = np.flatnonzero(np.isnan(found_n)).tolist()
    if len(empty) > len(refused) and not np.isfinite(read([PLAIN])).all():
        raise NoNumbersError
    return found_n, dict.fromkeys(empty, why) | refused


def _read_parts(
    read: Callable[[list[str]], Result],
    texts: Sequence[str],
    parts: Sequence[list[int]],
    results: list[tuple[list[int], Result]],
    refused: dict[int, Refusal],
) -> None:
    """Read texts that failed together in these parts, and a part that fails in halves."""
    for part in parts:
        if not part:
            continue
        try:
            results.append((part, read([texts[place] for place in part])))
            continue
        except BaseException as error:
            if not _of_a_text(error):
                raise
            failure = type(error).__name__  # the message may repeat the text
        if len(part) > 1:
            middle = len(part) // 2
            _read_parts(read, texts, (part[:middle], part[middle:]), results, refused)
        else:
            detail = f"the model or its tokenizer failed on it with {failure}"
            refused[part[0]] = Refusal(reason=Unfit.MODEL_FAILED, detail=detail)


def _of_a_text(error: BaseException) -> bool:
    """Whether a text may be the cause. A panic of a tokenizer in Rust is no `Exception`."""
    if type(error).__name__ == "PanicException":
        return True
    if not isinstance(error, Exception) or isinstance(error, OSError | TransientError):
        return False
    return not out_of_memory(error)
