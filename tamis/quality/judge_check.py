"""A judge's own mark: how well it tells documents of the pool from noise made of them.

Belongs into the metadata of every judged sample. A judge that does not beat length alone, or whose answers
carry little probability (it wants to say something else than yes or no), ranks the pool by accident. 60
documents take the embedded judge half a minute and give the AUC to +-.08.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl

from tamis.base.arguments import as_frame, strings
from tamis.base.errors import BadArgumentError
from tamis.base.progress import Advance, ignore
from tamis.quality.noise import AreaUnderCurve, auc, planted_noise

LEAST_ANSWER_MASS = 0.5


class Asked(Protocol):
    """A judge to ask: `AskLLM`, or one that remembers its answers."""

    def score(self, texts: Sequence[str], advance: Advance = ignore) -> pl.DataFrame:
        """At least the columns `margin` and `answer_mass`, a row per text."""
        ...


@dataclass(frozen=True, kw_only=True)
class JudgeCheck:
    """AUC of the judge on planted noise, by kind and against length alone (longer or shorter).

    `beats_length`: even the lower end of the interval is above the AUC of length.
    """

    judge: AreaUnderCurve
    by_kind: dict[str, float]
    length_only: float
    median_answer_mass: float
    beats_length: bool
    answers: bool


def check_judge(
    judge: Asked,
    texts: Sequence[str],
    *,
    answers: pl.DataFrame | None = None,
    seed: int = 0,
    advance: Advance = ignore,
) -> JudgeCheck:
    """Score texts [n] and one piece of noise made of each, 2n questions in all.

    `answers`: margin and answer_mass [n] of the texts where the judge has given them already: n questions.
    Raises `NoScoresError` when the judge gives no score to either side, `BadArgumentError` for answers of
    other texts.
    """
    texts = strings("texts", texts)
    noise = planted_noise(texts, seed)
    answers = judge.score(texts, advance) if answers is None else as_frame("answers", answers)
    if len(answers) != len(texts):
        raise BadArgumentError("answers", f"{len(answers)} rows", f"{len(texts)}, one for each text")
    of_noise = judge.score(noise["text"].to_list(), advance)
    asked = pl.concat(
        [frame.select("margin", "answer_mass") for frame in (answers, of_noise)], how="vertical_relaxed"
    )
    margins = asked["margin"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    clean, noisy = margins[: len(texts)], margins[len(texts) :]
    kinds = noise["kind"].to_numpy()
    whole = auc(clean, noisy, seed=seed)
    by_length = auc(
        [len(text) for text in texts], noise["text"].str.len_chars().to_numpy(), resamples=1
    ).value
    length_only = max(by_length, 1.0 - by_length)
    mass = asked["answer_mass"].median()
    median_mass = float(mass) if isinstance(mass, float) else 0.0
    return JudgeCheck(
        judge=whole,
        by_kind={
            str(kind): auc(clean, noisy[kinds == kind], resamples=1).value
            for kind in np.unique(kinds[np.isfinite(noisy)])
        },
        length_only=length_only,
        median_answer_mass=median_mass,
        beats_length=whole.low > length_only,
        answers=median_mass >= LEAST_ANSWER_MASS,
    )
