"""Pairs: the loss is over the response alone, never across examples, and every byte of it is counted once."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from families import PAIRS, t5
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from tamis.training import EmptyTextError, FineTuningOptions, document_bits_per_byte, evaluate, fine_tune
from tamis.training.errors import NeedsPairsError
from tamis.training.evaluation import evaluate_pairs
from tamis.training.examples import Pair, _windows, pair_rows
from tamis.training.models import load_model
from tamis.training.objective import backward
from tamis.training.packing import IGNORED
from tamis.training.plan import Plan

OPTIONS = FineTuningOptions(sequence_length=32, batch_size=4, epochs=3, seed=5)
CPU = torch.device("cpu")


@given(prompt=st.integers(0, 60), answer=st.integers(1, 60), length=st.integers(2, 20))
@settings(deadline=None, max_examples=60)
def test_every_token_of_a_response_is_scored_once_and_no_prompt_is(prompt, answer, length):
    rows = list(_windows(0, list(range(1_000, 1_000 + prompt)), list(range(1, answer + 1)), length))
    scored = [token for tokens, first in rows for token in tokens[1 + first :]]
    assert scored == list(range(1, answer + 1))
    assert all(len(tokens) <= length + 1 for tokens, _ in rows)
    for (before, _), (after, _) in itertools.pairwise(rows):
        assert before[-1] == after[0]
    if prompt and answer < length // 2:
        assert rows[0][0][1] >= 1_000, "room for the prompt was not used"


def by_hand(model, tokenizer, pair: Pair, ending: bool) -> float:
    """Nats of a short response, one pair at a time in float64."""
    prompt = tokenizer(pair.prompt + "\n\n", add_special_tokens=False)["input_ids"]
    answer = tokenizer(pair.response, add_special_tokens=False)["input_ids"]
    answer += [tokenizer.eos_token_id] * ending
    ids = [tokenizer.bos_token_id, *prompt, *answer]
    with torch.no_grad():
        logits = model(torch.tensor([ids[:-1]])).logits[0].double().log_softmax(-1)
    return -float(logits[range(len(prompt), len(ids) - 1), ids[len(prompt) + 1 :]].sum())


def test_held_out_bits_are_those_of_the_responses(tiny):
    model = AutoModelForCausalLM.from_pretrained(tiny.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny.model)
    pairs = [*PAIRS[:9], Pair(prompt="", response="naïve 中文")]
    found = evaluate_pairs(tiny.model, pairs, sequence_length=64, device="cpu", dtype="float32")
    expected = [by_hand(model, tokenizer, pair, ending=False) / math.log(2) for pair in pairs[:9]]
    np.testing.assert_allclose(found.document_bits[:9], expected, rtol=1e-5)
    assert found.document_bytes.tolist() == [len(pair.response.encode()) for pair in pairs]
    alone = evaluate(tiny.model, [pairs[9].response], sequence_length=64, device="cpu", dtype="float32")
    assert found.document_bits[9] == pytest.approx(alone.document_bits[0], rel=1e-5)
    assert found.bits_per_byte == pytest.approx(found.document_bits.sum() / found.n_bytes)


def test_the_loss_of_a_batch_is_over_its_responses(tiny):
    loaded = load_model(tiny.model, CPU, 64)
    batch = pair_rows(loaded, PAIRS[:6], 64).chosen(np.arange(6))
    model, tokenizer = loaded.model, loaded.tokenizer
    total = sum(by_hand(model, tokenizer, pair, ending=True) for pair in PAIRS[:6])
    count = sum(
        len(tokenizer(pair.response, add_special_tokens=False)["input_ids"]) + 1 for pair in PAIRS[:6]
    )
    assert batch.count == count
    for plain in (True, False):
        found = backward(dataclasses.replace(loaded, plain_head=plain), batch)
        assert found.item() == pytest.approx(total / count, rel=1e-4)


def test_a_row_holds_one_example_and_padding_changes_nothing(tiny):
    loaded = load_model(tiny.model, CPU, 64)
    rows = pair_rows(loaded, [*PAIRS[:5], Pair(prompt="a" * 200, response="b c d " * 60)], 64)
    begin = loaded.tokenizer.bos_token_id
    together = rows.batch(64, 0, 0, slice(0, 100))
    assert ((together.rows == begin).sum(1) <= 1).all()
    assert (together.targets != IGNORED).sum() == together.count < (together.rows != IGNORED).sum()
    plan = Plan(documents=rows, steps=9, options=dataclasses.replace(OPTIONS, batch_size=3), key="")
    read = np.cumsum([(batch.rows[:, 1:] != IGNORED).sum() for (batch,) in plan.batches(0)])
    assert [plan.tokens(done + 1) for done in range(9)] == read.tolist()


def test_training_on_responses_improves_them_and_counts_what_it_read(tiny, tmp_path):
    result = fine_tune(
        tiny.model,
        PAIRS[:30],
        OPTIONS,
        PAIRS[30:],
        tmp_path / "out",
        tmp_path / "resume",
        runtime=tiny.runtime,
    )
    before = evaluate_pairs(tiny.model, PAIRS[30:], sequence_length=32, device="cpu")
    after = evaluate_pairs(tmp_path / "out", PAIRS[30:], sequence_length=32, device="cpu")
    assert result.zero_shot_bits_per_byte == pytest.approx(before.bits_per_byte, rel=1e-6)
    assert result.held_out_bits_per_byte == pytest.approx(after.bits_per_byte, rel=1e-6)
    assert after.bits_per_byte < before.bits_per_byte - 0.3
    read = sum(len(row) - 1 for row in pair_rows(load_model(tiny.model, CPU, 32), PAIRS[:30], 32).tokens)
    assert result.tokens == 3 * read
    assert result.flops == result.parameters * (6 * result.tokens + 2 * (before.n_tokens + after.n_tokens))


def test_an_encoder_decoder_reads_the_prompt_and_learns_the_response(tiny, tmp_path):
    base = t5(tiny.tokenizer, tmp_path / "t5")
    model = AutoModelForSeq2SeqLM.from_pretrained(base, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(base)
    found = evaluate_pairs(base, PAIRS[:5], sequence_length=32, device="cpu", dtype="float32")
    for pair, bits in zip(PAIRS[:5], found.document_bits, strict=True):
        source = [*tokenizer(pair.prompt + "\n\n", add_special_tokens=False)["input_ids"], 1]
        answer = tokenizer(pair.response, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([source]), labels=torch.tensor([answer])).loss
        assert bits == pytest.approx(float(loss) * len(answer) / math.log(2), rel=1e-4)

    result = fine_tune(
        base, PAIRS[:30], OPTIONS, PAIRS[30:], tmp_path / "out", tmp_path / "resume", runtime=tiny.runtime
    )
    assert result.held_out_bits_per_byte < result.zero_shot_bits_per_byte - 0.3
    rows = pair_rows(load_model(base, CPU, 32), PAIRS[:30], 32)
    read, written = 3 * int(rows.source_lengths.sum()), 3 * int(rows.lengths.sum())
    assert result.tokens == read + written
    encoder = sum(one.numel() for one in model.get_encoder().parameters())
    decoder = sum(one.numel() for one in model.get_decoder().parameters())
    both = pair_rows(load_model(base, CPU, 32), PAIRS[30:], 32, ending=False)
    evaluated = encoder * both.source_lengths.sum() + decoder * both.lengths.sum()
    assert result.flops == 6 * (encoder * read + decoder * written) + 2 * 2 * evaluated


def test_plain_text_is_nothing_for_an_encoder_decoder(tiny, tmp_path):
    base = t5(tiny.tokenizer, tmp_path / "t5")
    with pytest.raises(NeedsPairsError, match="prompt_column"):
        fine_tune(base, tiny.texts, OPTIONS, [], tmp_path / "out", tmp_path / "resume", runtime=tiny.runtime)
    # A trial is measured before it is trained, and documents for their perplexity alone.
    with pytest.raises(NeedsPairsError, match="prompt_column"):
        evaluate(base, tiny.texts[:2], sequence_length=32, device="cpu")
    with pytest.raises(NeedsPairsError, match="prompt_column"):
        document_bits_per_byte(base, tiny.texts[:2], device="cpu")


def test_responses_without_a_token(tiny, tmp_path):
    empty = [Pair(prompt="what", response="")]
    with pytest.raises(EmptyTextError):
        evaluate_pairs(tiny.model, empty, device="cpu")
    with pytest.raises(EmptyTextError):
        fine_tune(tiny.model, empty, OPTIONS, [], tmp_path / "out", tmp_path / "resume", runtime=tiny.runtime)
