"""Texts of a few words come last where a sampler would choose them for being like nothing else."""

import numpy as np
import pytest

from tamis.samplers.methods import METHODS, SHORT_TOKENS, MethodProblem


@pytest.mark.parametrize("method", ["semdedup", "prototypes"])
def test_short_texts_come_last_and_keep_their_order(method):
    draw = np.random.default_rng(0)
    vectors_nd = draw.standard_normal((60, 8)).astype(np.float32)
    vectors_nd /= np.linalg.norm(vectors_nd, axis=1, keepdims=True)
    tokens = np.where(np.arange(60) % 3 == 0, SHORT_TOKENS - 1, SHORT_TOKENS)

    def score(tokens_n: np.ndarray | None) -> np.ndarray:
        problem = MethodProblem(
            target=None,
            candidates=[vectors_nd],
            k=10,
            ids=[f"{n:032x}" for n in range(60)],
            seed=0,
            settings={},
            tokens=tokens_n,
        )
        return METHODS[method](problem)

    plain, ranked = score(None), score(tokens)
    short = tokens < SHORT_TOKENS
    assert ranked[~short].max() < ranked[short].min()
    assert ranked[~short].tolist() == plain[~short].tolist()
    assert (
        np.argsort(ranked[short], kind="stable").tolist() == np.argsort(plain[short], kind="stable").tolist()
    )
    assert score(np.full(60, SHORT_TOKENS - 1)).tolist() == plain.tolist()  # nothing longer is there
