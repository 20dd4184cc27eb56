"""Packing: every token of an epoch is predicted exactly once, whatever the lengths and the order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.base.precision import BFLOAT16, computing_in
from tamis.training import EmptyTextError, PretrainingOptions
from tamis.training.packing import IGNORED, PackedDocuments, pack
from tamis.training.plan import Plan, run_key, steps_for
from tamis.training.tokenizer import encode, load_tokenizer

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30).filter(lambda lengths: sum(lengths) > 1)


def documents_of(lengths: list[int]) -> PackedDocuments:
    """Documents whose tokens are all distinct, so that a token names its place."""
    return PackedDocuments(
        tokens=np.arange(sum(lengths), dtype=np.uint16), offsets=np.cumsum([0, *lengths], dtype=np.int64)
    )


@given(lengths=LENGTHS, sequence_length=st.integers(1, 17), seed=st.integers(0, 5))
@settings(deadline=None, max_examples=25)
def test_rows_hold_every_document_whole_and_once(lengths, sequence_length, seed):
    documents = documents_of(lengths)
    rows = documents.epoch(sequence_length, seed, epoch=0)
    assert rows.shape == (documents.rows(sequence_length), sequence_length + 1)
    targets = rows[:, 1:].ravel()
    stream = np.concatenate((rows[0, :1], targets[targets != IGNORED]))
    assert sorted(stream) == list(range(sum(lengths)))
    assert (targets[len(stream) - 1 :] == IGNORED).all()
    starts = np.flatnonzero(np.isin(stream, documents.offsets[:-1]))
    for start, end in zip(starts, [*starts[1:], len(stream)], strict=True):
        assert (np.diff(stream[start:end].astype(int)) == 1).all()
    np.testing.assert_array_equal(rows[1:, 0], rows[:-1, -1])


@given(
    lengths=LENGTHS, batch_size=st.integers(1, 5), sequence_length=st.integers(1, 9), steps=st.integers(1, 40)
)
@settings(deadline=None, max_examples=25)
def test_tokens_of_a_plan_are_the_targets_of_its_batches(lengths, batch_size, sequence_length, steps):
    options = PretrainingOptions(sequence_length=sequence_length, batch_size=batch_size, seed=1)
    plan = Plan(documents=documents_of(lengths), steps=steps, options=options, key="")
    batches = list(plan.batches(0))
    counts = np.cumsum([batch.count for (batch,) in batches])
    assert [plan.tokens(done + 1) for done in range(steps)] == counts.tolist()
    for (late,), (batch,) in zip(plan.batches(steps // 2), batches[steps // 2 :], strict=True):
        np.testing.assert_array_equal(late.rows, batch.rows)


@given(lengths=LENGTHS, tokens=st.integers(1, 500))
@settings(deadline=None, max_examples=25)
def test_steps_for_is_the_first_that_reaches_the_tokens(lengths, tokens):
    documents = documents_of(lengths)
    options = PretrainingOptions(sequence_length=4, batch_size=2)
    steps = steps_for(documents, options, tokens)
    plan = Plan(documents=documents, steps=steps, options=options, key="")
    assert plan.tokens(steps) >= tokens > plan.tokens(steps - 1)


def test_epochs_differ_and_repeat(tiny):
    documents = pack(load_tokenizer(tiny.tokenizer), tiny.texts)
    first, second = documents.epoch(32, 0, 0), documents.epoch(32, 0, 1)
    assert first.shape == second.shape
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, documents.epoch(32, 0, 0))


def test_pack_writes_boundaries_and_stops_reading(tiny):
    tokenizer = load_tokenizer(tiny.tokenizer)
    texts = ["", *tiny.texts]
    documents = pack(tokenizer, texts)
    first = documents.tokens[: documents.offsets[1]].tolist()
    assert first == [0, *encode(tokenizer, [tiny.texts[0]])[0], 1]
    assert len(documents.offsets) == len(tiny.texts) + 1

    few = pack(tokenizer, iter(texts), maximum_tokens=100)
    assert 100 < len(few.tokens) < len(documents.tokens)
    np.testing.assert_array_equal(few.tokens, documents.tokens[: len(few.tokens)])


def test_nothing_to_pack(tiny):
    with pytest.raises(EmptyTextError):
        pack(load_tokenizer(tiny.tokenizer), ["", ""])


def test_run_key_sees_every_input():
    documents, options = documents_of([3, 4]), PretrainingOptions()
    key = run_key("shape", options, documents, "cpu")
    with computing_in(BFLOAT16):
        in_bfloat16 = run_key("shape", options, documents, "cpu")
    assert key == run_key("shape", PretrainingOptions(), documents_of([3, 4]), "cpu")
    others = {
        run_key("other", options, documents, "cpu"),
        run_key("shape", PretrainingOptions(seed=1), documents, "cpu"),
        run_key("shape", options, documents_of([4, 3]), "cpu"),
        run_key("shape", options, documents, "cuda"),
        in_bfloat16,
    }
    assert len(others | {key}) == 6
