"""The classifier of target against pool: finds what is alike, and is fair to the negatives it saw."""

import random

import numpy as np
import pytest

from tamis.samplers import classifier
from tamis.samplers.classifier import classifier_log_odds

KITCHEN = ["butter", "oven", "dough", "spice", "simmer", "garlic", "flour", "whisk", "sauce", "broth"]
HARBOUR = ["mast", "anchor", "harbour", "tide", "rudder", "deck", "knot", "hull", "storm", "sail"]


def texts(words: list[str], count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choice(words) for _ in range(30)) for _ in range(count)]


def ids(count: int) -> list[str]:
    return [f"{number:032x}" for number in range(count)]


def test_what_is_like_the_target_comes_first():
    pool = texts(HARBOUR, 180, 0) + texts(KITCHEN, 20, 1)
    odds = classifier_log_odds(texts(KITCHEN, 15, 2), pool, ids(200))
    assert set(np.argsort(-odds)[:20]) == set(range(180, 200))
    assert np.median(odds[180:]) > 0
    assert (odds[:180] < 0).all()


def test_order_is_nothing_and_the_seed_decides():
    pool, names = texts([*HARBOUR, *KITCHEN], 60, 3), ids(60)
    odds = classifier_log_odds(texts(KITCHEN, 9, 4), pool, names)
    order = random.Random(5).sample(range(60), 60)
    shuffled = classifier_log_odds(texts(KITCHEN, 9, 4), [pool[n] for n in order], [names[n] for n in order])
    np.testing.assert_allclose(shuffled, odds[order], atol=1e-9)
    assert not np.array_equal(odds, classifier_log_odds(texts(KITCHEN, 9, 4), pool, names, seed=1))


def test_no_document_is_scored_by_a_model_that_saw_it_as_a_negative(monkeypatch):
    """Of a pool without structure, the negatives must not come out below the documents never sampled."""
    monkeypatch.setattr(classifier, "FEWEST_NEGATIVES", 200)
    monkeypatch.setattr(classifier, "NEGATIVES_PER_POSITIVE", 1)
    words = [f"w{number}" for number in range(4_000)]
    pool = texts(words, 1_000, 6)
    odds = classifier_log_odds(texts(words, 50, 7), pool, ids(1_000))
    draw = classifier.keyed_hash(ids(1_000), 0, "class negatives").astype(np.float64)
    sampled = np.argsort(draw)[:200]
    place = odds.argsort().argsort() / 999
    assert abs(place[sampled].mean() - 0.5) < 0.08  # standard error .02; a model's own negatives lie at .1


@pytest.mark.parametrize("pool", [["one text"], ["", "", ""], ["🙂", "a b"]])
def test_pools_of_nothing_to_tell_have_finite_odds(pool):
    assert np.isfinite(classifier_log_odds(["a text", ""], pool, ids(len(pool)))).all()


def test_without_a_target_there_is_no_classifier():
    with pytest.raises(ValueError, match="target texts"):
        classifier_log_odds([], ["a"], ids(1))


def test_what_is_like_the_target_comes_first_in_a_script_without_spaces():
    draw = random.Random(7)

    def clauses(first: int) -> str:
        return "，".join("".join(chr(first + draw.randrange(300)) for _ in range(8)) for _ in range(8))

    pool = [clauses(0x5000) for _ in range(60)] + [clauses(0x6000) for _ in range(20)]
    odds = classifier_log_odds([clauses(0x6000) for _ in range(20)], pool, ids(80))
    assert set(np.argsort(-odds)[:20]) == set(range(60, 80))
