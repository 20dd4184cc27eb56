"""Bits per byte against a computation by hand, one document and one window at a time."""

import math

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tamis.base.errors import UnknownNameError
from tamis.training import EmptyTextError, document_bits_per_byte, evaluate
from tamis.training.evaluation import evaluate_loaded
from tamis.training.models import load_model

TEXTS = ["mean of the sample", "naïve 中文 distribution returns an array " * 9, "", "x", "scale shape " * 30]


@pytest.fixture(scope="module")
def by_hand(tiny):
    """A function: bits of the first `limit` tokens of a text, windows of `length`, float64 arithmetic."""
    model = AutoModelForCausalLM.from_pretrained(tiny.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny.model)

    def bits(text: str, length: int, limit: int = 10**9) -> float:
        ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"][:limit]]
        total = 0.0
        for start in range(0, len(ids) - 1, length):
            window = ids[start : start + length + 1]
            with torch.no_grad():
                logits = model(torch.tensor([window[:-1]])).logits[0].double()
            chosen = logits.log_softmax(-1)[range(len(window) - 1), window[1:]]
            total -= float(chosen.sum()) / math.log(2)
        return total

    return bits


@pytest.mark.parametrize("sequence_length", [7, 32])
def test_evaluation_matches_a_hand_computation(tiny, by_hand, sequence_length):
    found = evaluate(
        tiny.model, TEXTS, sequence_length=sequence_length, batch_size=3, device="cpu", dtype="float32"
    )
    expected = [by_hand(text, sequence_length) for text in TEXTS]
    n_bytes = len("".join(TEXTS).encode())
    tokenizer = AutoTokenizer.from_pretrained(tiny.model)
    assert found.n_bytes == n_bytes
    assert found.n_tokens == sum(
        len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in TEXTS
    )
    np.testing.assert_allclose(found.document_bits, expected, rtol=1e-5, atol=1e-6)
    assert found.document_bytes.tolist() == [len(text.encode()) for text in TEXTS]
    assert found.bits_per_byte == pytest.approx(sum(expected) / n_bytes, rel=1e-5)
    assert found.nats == pytest.approx(sum(expected) * math.log(2), rel=1e-5)


def test_half_precision_moves_little_and_leaves_the_model_alone(tiny):
    loaded = load_model(tiny.model, torch.device("cpu"), 32)
    before = [parameter.clone() for parameter in loaded.model.parameters()]
    whole = evaluate_loaded(loaded, tiny.texts, 32, 16, "float32").bits_per_byte
    half = evaluate_loaded(loaded, tiny.texts, 32, 16, "bfloat16").bits_per_byte
    assert whole != half
    assert half == pytest.approx(whole, abs=2e-3)
    assert all(torch.equal(a, b) for a, b in zip(before, loaded.model.parameters(), strict=True))
    with pytest.raises(UnknownNameError, match="valid: auto, bfloat16, float32"):
        evaluate_loaded(loaded, tiny.texts, 32, 16, "float16")


def test_document_scores_match_a_hand_computation(tiny, by_hand):
    tokenizer = AutoTokenizer.from_pretrained(tiny.model)
    scores = document_bits_per_byte(tiny.model, TEXTS, max_tokens=16, device="cpu")
    assert scores.dtype == np.float32
    assert np.isnan(scores[2])
    for text, score in zip(TEXTS, scores, strict=True):
        if text:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"][:16]
            covered = tokenizer.decode(ids) if len(ids) == 16 else text
            assert score == pytest.approx(by_hand(text, 16, limit=16) / len(covered.encode()), rel=1e-5)


def test_score_does_not_depend_on_company(tiny):
    texts = [*tiny.texts, *TEXTS]
    together = document_bits_per_byte(tiny.model, texts, max_tokens=48, device="cpu")
    for batch_size, order in ((1, slice(None)), (7, slice(None, None, -1))):
        apart = document_bits_per_byte(
            tiny.model, texts[order], max_tokens=48, batch_size=batch_size, device="cpu"
        )
        np.testing.assert_allclose(apart[order], together, atol=1e-4)


def test_every_document_is_reported_once(tiny):
    texts, seen = [*TEXTS, *tiny.texts], []
    evaluate(tiny.model, texts, sequence_length=16, batch_size=5, device="cpu", advance=seen.append)
    assert sum(seen) == len(texts)
    assert len(seen) > 10


def test_nothing_to_evaluate(tiny):
    with pytest.raises(EmptyTextError, match="evaluation"):
        evaluate(tiny.model, ["", ""], device="cpu")
    assert len(document_bits_per_byte(tiny.model, [], device="cpu")) == 0
    assert np.isnan(document_bits_per_byte(tiny.model, ["", ""], device="cpu")).all()
