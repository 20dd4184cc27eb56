"""A run of a million letters holds no training of a tokenizer up; ordinary texts are left as they are."""

import random
import time

import pytest

from tamis.training import count_tokens, train_tokenizer
from tamis.training.tokenizer import LONGEST_RUN, short_runs

ORDINARY = [
    "A text of words, some long: " + "x" * LONGEST_RUN + " and " + "1" * LONGEST_RUN,
    "人人生而自由，在尊严和权利上一律平等。" * 200,
    "https://example.org/" + "a1b2/" * 1_000,
    " " * LONGEST_RUN + "indented",
    "",
]
RUNS = {
    "letters": "x" * 5 * LONGEST_RUN,
    "digits": "7" * (2 * LONGEST_RUN + 1),
    "signs": "_-" * LONGEST_RUN,
    "blanks": " \n" * LONGEST_RUN,
    "Chinese": "天" * (LONGEST_RUN + 1),
}


def test_ordinary_texts_are_not_cut():
    assert [*short_runs(ORDINARY)] == ORDINARY


@pytest.mark.parametrize("kind", RUNS)
def test_a_long_run_is_cut_and_nothing_is_lost(kind):
    text = f"before {RUNS[kind]} after"
    parts = [*short_runs(["one", text, "two"])]
    assert (parts[0], parts[-1], "".join(parts[1:-1])) == ("one", "two", text)
    assert len(parts) > 3
    assert max(map(len, parts)) <= LONGEST_RUN + len("before  ")


def test_training_on_a_run_of_a_million_letters_takes_seconds(tmp_path):
    draw = random.Random(0)
    texts = ["some words and more words, " * 20] * 5
    giant = "".join(draw.choices("abcdefghijklmnop", k=1_000_000))
    began = time.process_time()
    train_tokenizer([*texts, giant, "7" * 200_000, " " * 200_000], tmp_path / "made", 600)
    assert time.process_time() - began < 10
    assert count_tokens(tmp_path / "made", ["some words"])[0] <= 4


@pytest.mark.parametrize("run", ["x" * (LONGEST_RUN - 1) + "1", "x" * (LONGEST_RUN - 1) + " "])
def test_runs_just_under_the_limit_are_read_once(run):
    began = time.process_time()
    assert [*short_runs([run * 1_000])] == [run * 1_000]
    assert time.process_time() - began < 5
