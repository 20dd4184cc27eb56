"""Planted noise and the area that measures how well it is recognized."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.quality import AskLLM, auc, check_judge, planted_noise

TEXTS = [
    f"Sentence number {number} says that water boils at a lower temperature on a mountain."
    for number in range(18)
]
scores = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30)


def test_noise_has_every_kind_differs_from_its_text_and_can_be_made_again():
    noise = planted_noise(TEXTS, seed=4)
    many = planted_noise([f"{text} {number}" for text in TEXTS for number in range(20)])
    counts = many["kind"].value_counts()["count"]
    assert len(counts) == 6
    assert counts.min() > 30
    assert planted_noise(TEXTS[::-1], seed=4)[::-1].equals(noise)  # a row does not depend on the others
    assert all(bad != good for bad, good in zip(noise["text"], TEXTS, strict=True))
    assert noise.equals(planted_noise(TEXTS, seed=4))
    assert not noise.equals(planted_noise(TEXTS, seed=5))


def test_noise_of_empty_and_one_word_texts_is_text():
    noise = planted_noise(["", "word", " \n"] * 6, seed=0)
    assert noise["text"].str.len_chars().min() > 0


def test_noise_of_scripts_without_spaces_is_of_parts_of_clauses():
    texts = ["".join(chr(0x4E00 + 40 * number + place) for place in range(40)) for number in range(60)]
    noise = planted_noise(texts).with_columns(clean=pl.Series(texts))
    shuffled = noise.filter(pl.col("kind") == "shuffled_words")
    assert len(shuffled) > 3
    for bad, good in shuffled.select("text", "clean").iter_rows():
        assert bad != good
        assert sorted(bad) == sorted(good)
    repeated = noise.filter(pl.col("kind") == "repeated_ngram")
    assert all(
        len(set(bad)) < len(bad) / 2 < len(good) for bad, good in repeated.select("text", "clean").iter_rows()
    )
    fragments = noise.filter(pl.col("kind") == "fragments")
    assert all(bad.count(" ... ") >= 2 for bad in fragments["text"])


def test_noise_keeps_the_spaces_that_a_script_without_them_has():
    text = "ภาษาไทย และ Python 3.12 ดี " * 8
    noise = planted_noise([f"{text}{number}" for number in range(40)])
    shuffled = noise.filter(pl.col("kind") == "shuffled_words")["text"]
    assert len(shuffled) > 2
    assert (shuffled.str.count_matches(" ") == text.count(" ")).all()


@settings(deadline=None, max_examples=25)
@given(scores, scores)
def test_auc_counts_pairs(clean, noisy):
    pairs = np.subtract.outer(np.array(clean), np.array(noisy))
    area = auc(clean, noisy, resamples=20)
    assert area.value == pytest.approx(np.mean((pairs > 0) + (pairs == 0) / 2))
    assert 0 <= area.low <= area.high <= 1


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    truth = 0.76025  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt(2))
    covered = 0
    for seed in range(60):
        area = auc(generator.normal(1, 1, 60), generator.normal(0, 1, 60), seed=seed, resamples=200)
        covered += area.low <= truth <= area.high
    assert covered >= 50


def test_missing_scores_are_left_out_and_none_at_all_is_an_error():
    assert auc([1.0, np.nan], [0.0], resamples=5).n_clean == 1
    with pytest.raises(ValueError, match="scores of both clean and noisy texts"):
        auc([np.nan], [0.0])


def test_a_random_judge_does_not_pass_for_a_good_one(tmp_path, word_tokenizer, save_llama):
    save_llama(tmp_path, word_tokenizer())
    check = check_judge(AskLLM(str(tmp_path), max_tokens=64), TEXTS, seed=0)
    assert check.judge.n_clean == check.judge.n_noisy == 18
    assert set(check.by_kind) == set(planted_noise(TEXTS)["kind"])
    assert 0.5 <= check.length_only <= 1
    assert check.beats_length == (check.judge.low > check.length_only)
    judge = AskLLM(str(tmp_path), max_tokens=64)
    assert check_judge(judge, TEXTS, answers=judge.score(TEXTS), seed=0) == check
    assert not check.answers  # yes and no are four of nineteen tokens to it
