"""target-path: documents by the share of their loss that a short training on the target takes away."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from projects import sentences

from tamis.base.errors import MissingPackageError
from tamis.samplers import target_path as module
from tamis.samplers.target_path import (
    LAST,
    SHORT_TOKENS,
    WORST,
    normalized_drop,
    warm_up,
)
from tamis.training import (
    ModelShape,
    PretrainingOptions,
    Runtime,
    document_bits_per_byte,
    model_identity,
    pretrain,
    train_tokenizer,
)
from tamis.training.errors import EmptyTextError

CPU = Runtime(device="cpu")
TOPICS = ("algebra", "cooking", "sailing")
GOAL, *OTHERS = TOPICS
MAX_TOKENS = 64
SHAPE = ModelShape(
    hidden_size=64, intermediate_size=128, layers=2, heads=2, vocabulary=512, maximum_positions=64
)
LOSSES = arrays.arrays(np.float64, 20, elements=st.floats(1e-3, 20))


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A model of all three topics, so that it has losses to lose on each."""
    folder = tmp_path_factory.mktemp("base")
    texts = [text for topic in TOPICS for text in sentences(topic, 40, 1)]
    train_tokenizer(texts, folder / "tokenizer", vocabulary=SHAPE.vocabulary)
    options = PretrainingOptions(tokens=8_000, sequence_length=MAX_TOKENS, seed=1)
    pretrain(SHAPE, texts, folder / "tokenizer", options, folder / "model", folder / "resume", runtime=CPU)
    return folder / "model"


@pytest.fixture(scope="module")
def pool() -> list[str]:
    return [text for topic in TOPICS for text in sentences(topic, 20, 3)]


def warmed(base, folder, seed=0, examples=None):
    examples = sentences(GOAL, 40, 2) if examples is None else examples
    return warm_up(base, examples, folder / "resume", max_tokens=MAX_TOKENS, seed=seed, runtime=CPU)


@pytest.fixture(scope="module")
def path(base, tmp_path_factory):
    return warmed(base, tmp_path_factory.mktemp("path"))


@given(before=LOSSES, after=LOSSES)
def test_the_score_is_the_share_of_the_loss_that_is_gone(before, after):
    score = normalized_drop(before, after, np.full(20, SHORT_TOKENS))
    assert score == pytest.approx(np.maximum(1 - after / before, WORST))
    order = np.argsort(-score, kind="stable")
    assert np.all(np.diff(np.maximum(1 - after / before, WORST)[order]) <= 1e-9)


@given(before=LOSSES, after=LOSSES, tokens=arrays.arrays(np.int64, 20, elements=st.integers(0, 20)))
def test_texts_of_few_tokens_or_without_a_loss_come_last(before, after, tokens):
    before[3], tokens[3] = 0.0, 20
    score = normalized_drop(before, after, tokens)
    last = (tokens < SHORT_TOKENS) | (before == 0)
    assert np.all(score[last] == LAST)
    assert np.all(score[~last] >= WORST)
    assert WORST > LAST


def test_a_text_whose_loss_is_not_a_number_has_no_score():
    known = np.array([1.0, np.nan, 1.0])
    score = normalized_drop(known, np.array([0.5, 0.5, np.nan]), np.full(3, 20))
    assert score[0] == 0.5
    assert np.isnan(score[1:]).all()


def test_texts_like_the_target_come_first(path, pool):
    order = np.argsort(-path.drops(pool).score_n)
    assert sum(place < 20 for place in order[:20]) >= 18, "the first twenty are of the goal's topic"


def test_the_target_decides_and_not_the_pool(base, pool, tmp_path):
    score_n = warmed(base, tmp_path, examples=sentences("sailing", 40, 2)).drops(pool).score_n
    assert sum(place >= 40 for place in np.argsort(-score_n)[:20]) >= 18


def test_the_loss_before_is_that_of_the_model_as_perplexity_measures_it(base, path, pool):
    drops = path.drops(pool)
    tokens_n = drops.tokens_n
    sizes_n = np.array([len(text.encode()) for text in pool])
    whole_n = tokens_n < MAX_TOKENS
    assert whole_n.any(), "texts that are read to their end"
    bits_n = document_bits_per_byte(base, pool, max_tokens=MAX_TOKENS, device="cpu")
    own_n = drops.before_n * tokens_n / np.log(2) / sizes_n
    assert own_n[whole_n] == pytest.approx(bits_n[whole_n], abs=1e-5)


def test_same_seed_same_scores_and_another_seed_others(base, path, pool, tmp_path):
    again = warmed(base, tmp_path).drops(pool)
    assert np.array_equal(again.score_n, path.drops(pool).score_n)
    other = warmed(base, tmp_path, seed=1).drops(pool)
    assert not np.array_equal(other.score_n, again.score_n)
    assert np.array_equal(other.before_n, again.before_n)


def test_neither_order_nor_batches_matter(path, pool):
    whole = path.drops(pool).score_n
    turned = path.drops(pool[::-1]).score_n[::-1]
    apart = np.concatenate([path.drops(pool[start : start + 7]).score_n for start in range(0, len(pool), 7)])
    assert turned == pytest.approx(whole, abs=1e-5)
    assert apart == pytest.approx(whole, abs=1e-5)


def test_short_and_empty_texts_are_behind_all_others(path, pool):
    score_n = path.drops([*pool, "", "ok", "matrix vector"]).score_n
    assert np.all(score_n[-3:] == LAST)
    assert score_n[:-3].min() > LAST


def test_the_model_of_the_project_stays_as_it_is(base, pool, tmp_path):
    before = model_identity(base)
    warmed(base, tmp_path).drops(pool)
    assert model_identity(base) == before
    assert list(tmp_path.rglob("*")) == [], "no weights are left, nor a resume state"


class StoppedError(Exception):
    pass


def test_a_warm_up_that_was_stopped_goes_on_to_the_same_weights(base, path, pool, tmp_path, monkeypatch):
    def stop(_tokens: int) -> None:
        if (tmp_path / "resume" / "state.safetensors").exists():
            raise StoppedError

    monkeypatch.setattr("tamis.training.loop.REPORT_SECONDS", 0.0)
    often, examples = Runtime(device="cpu", save_seconds=0.0), sentences(GOAL, 40, 2)
    with pytest.raises(StoppedError):
        warm_up(base, examples, tmp_path / "resume", max_tokens=MAX_TOKENS, runtime=often, advance=stop)
    assert np.array_equal(warmed(base, tmp_path).drops(pool).score_n, path.drops(pool).score_n)


def test_a_model_without_layers_for_an_adapter_trains_its_last_block(base, pool, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_has_linear_layers", lambda loaded: False)
    path = warmed(base, tmp_path)
    assert path.loaded.adapter is None
    assert {".".join(name.split(".")[:3]) for name in path.first} == {"model.layers.1"}
    drops = path.drops(pool)
    untouched = document_bits_per_byte(base, pool, max_tokens=MAX_TOKENS, device="cpu")
    whole_n = drops.tokens_n < MAX_TOKENS
    sizes_n = np.array([len(text.encode()) for text in pool])
    own_n = drops.before_n * drops.tokens_n / np.log(2) / sizes_n
    assert own_n[whole_n] == pytest.approx(untouched[whole_n], abs=1e-5)
    assert sum(place < 20 for place in np.argsort(-drops.score_n)[:20]) >= 15
    assert np.array_equal(path.drops(pool).score_n, drops.score_n), "the warmed weights are back"


def test_the_warm_up_is_short_however_large_the_target_is(base, tmp_path, monkeypatch):
    seen = []

    def noted(loaded, plan, session):
        seen.append(plan.steps)

    monkeypatch.setattr(module, "train", noted)
    warmed(base, tmp_path)
    warmed(base, tmp_path, examples=sentences(GOAL, 400, 2) * 4)
    assert 0 < seen[0] < seen[1] == module.MOST_STEPS


def test_what_is_missing_is_named(base, tmp_path, monkeypatch):
    with pytest.raises(EmptyTextError):
        warmed(base, tmp_path, examples=[])
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"target-path:.* needs the package 'peft'"):
        warmed(base, tmp_path)
