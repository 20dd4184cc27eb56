"""Runs for a number of tokens whose held-out loss is followed: repeatable, resumable, of equal cost."""

from dataclasses import replace

import numpy as np
import pytest

from tamis.training import evaluate
from tamis.training.followed import MeasuredOptions, Start, train_measured
from tamis.training.loop import Keeper
from tamis.training.options import Session

OPTIONS = MeasuredOptions(tokens=1_500, evaluations=4, sequence_length=32, batch_size=4, seed=5)


def run(tiny, folder, texts=None, start=None, options=OPTIONS):
    held_out = {"target": tiny.held_out, "pool": tiny.texts[:7]}
    begin = start or Start(shape=tiny.shape, model=tiny.tokenizer)
    session = Session(resume=folder, runtime=tiny.runtime)
    return train_measured(begin, texts or tiny.texts[10:], options, held_out, session)


def test_sets_of_all_sizes_cost_the_same_tokens(tiny, tmp_path):
    large, small = run(tiny, tmp_path / "a"), run(tiny, tmp_path / "b", tiny.texts[10:20])
    assert large.tokens >= 1_500
    assert abs(large.tokens - small.tokens) <= 128  # a batch
    assert small.epochs > 2 * large.epochs


def test_the_curve_falls_and_ends_where_the_run_ends(tiny, tmp_path):
    found = run(tiny, tmp_path / "a")
    tokens, losses = zip(*found.curve, strict=True)
    assert len(found.curve) == 4
    assert list(tokens) == sorted(tokens)
    assert tokens[-1] == found.tokens
    assert losses[-1] == found.evaluations["target"].bits_per_byte < losses[0]
    assert set(found.evaluations) == {"target", "pool"}
    assert len(found.evaluations["pool"].document_bits) == 7


def test_a_run_is_a_function_of_its_seed(tiny, tmp_path):
    first, again = run(tiny, tmp_path / "a"), run(tiny, tmp_path / "b")
    other = run(tiny, tmp_path / "c", options=replace(OPTIONS, seed=6))
    assert first.curve == again.curve
    assert first.curve != other.curve


def test_looking_on_the_way_changes_nothing(tiny, tmp_path):
    often, never = (run(tiny, tmp_path / str(n), options=replace(OPTIONS, evaluations=n)) for n in (9, 1))
    assert often.evaluations["target"].nats == never.evaluations["target"].nats
    assert len(never.curve) == 1


def test_a_given_model_is_where_a_run_begins(tiny, tmp_path):
    before = evaluate(tiny.model, tiny.held_out, sequence_length=32, device="cpu").bits_per_byte
    found = run(tiny, tmp_path / "a", start=Start(model=tiny.model), options=replace(OPTIONS, tokens=200))
    assert found.evaluations["target"].bits_per_byte == pytest.approx(before, abs=0.3)


def test_a_killed_run_goes_on_and_ends_the_same(tiny, tmp_path, monkeypatch):
    undisturbed = run(tiny, tmp_path / "a")
    after = Keeper.after

    def killed(keeper, done):
        after(keeper, done)
        keeper._save(done)
        if done == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(Keeper, "after", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, tmp_path / "b")
    monkeypatch.setattr(Keeper, "after", after)
    resumed = run(tiny, tmp_path / "b")
    assert resumed.curve == undisturbed.curve
    assert np.array_equal(
        resumed.evaluations["pool"].document_bits, undisturbed.evaluations["pool"].document_bits
    )
    assert not (tmp_path / "b").exists()
