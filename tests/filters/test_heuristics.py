"""Heuristic filters: golden texts worked out by hand, a plain second implementation, and properties."""

import re
from collections import Counter
from math import isfinite

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.filters import FAMILIES, MEASURES, Plan, measured
from tamis.settings.values import RULE_NAMES

SENTENCE = "The river rose to the bridge and nobody in the village had expected that to happen."
LONGER = (
    "They carried the chairs and the books from the school into the church on the hill, and by the end of "
    "the day a boat was tied to the door of the shop. The mayor asked for help from the town at the mouth of "
    "the river, which sent a doctor with a box of bread. In the morning the water fell, and the people went "
    "back to the houses to look at the damage."
)
APART = {
    "word_order_score",
    "unit_hashes",
    "unit_characters",
    "form_logit",
    "form_reasons",
}  # may be null, or lists
DISTINCT = [f"word{number}" for number in range(1_000)]


def flags(*texts: str, families: tuple[str, ...] = tuple(FAMILIES)) -> list[dict]:
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    return measured(frame, Plan(heuristics=families)).to_dicts()


def broken(text: str, family: str) -> set[str]:
    return set(flags(text, families=(family,))[0]["broken"].split(",")) - {""}


def prose(words: int, start: int = 0) -> str:
    """Different words, of which stop words are enough."""
    return " ".join(["and", "the", *DISTINCT[start : start + words - 2]])


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (prose(49), "gopher_word_count"),
        ("the and of " + "ab " * 60, "gopher_mean_word_length"),
        ("the and " + " ".join(word * 2 for word in DISTINCT[:60]), "gopher_mean_word_length"),
        (prose(60) + " #" * 7, "gopher_hash_ratio"),
        (prose(60) + " so... but…" * 4, "gopher_ellipsis_ratio"),
        ("\n".join(f"• the and {word}" for word in DISTINCT[:20]), "gopher_bullet_lines"),
        ("\n".join(f"- the and {word}" for word in DISTINCT[:20]), "gopher_bullet_lines"),
        ("\n".join([prose(30), prose(30, 30), prose(30, 60) + " ..."]), "gopher_ellipsis_lines"),
        (prose(60) + " 1234" * 16, "gopher_alphabetic_words"),
        ("the " + " ".join(DISTINCT[:60]), "gopher_stop_words"),
        ("\n".join([prose(60), "again", "again", "again"]), "gopher_duplicate_lines"),
        ("\n\n".join([prose(60), "again", "again", "again"]), "gopher_duplicate_paragraphs"),
        (prose(60) + "\n" + f"{' '.join(DISTINCT[100:125])}\n" * 2, "gopher_duplicate_line_characters"),
        (prose(60) + f"\n\n{' '.join(DISTINCT[100:125])}" * 2, "gopher_duplicate_paragraph_characters"),
        (prose(60) + "".join(f" left right {word}" for word in DISTINCT[60:90]), "gopher_top_2_grams"),
        (prose(60) + "".join(f" le ri ght {word}" for word in DISTINCT[60:95]), "gopher_top_3_grams"),
        (prose(60) + f" {' '.join(DISTINCT[70:90])}" * 2, "gopher_duplicate_10_grams"),
    ],
)
def test_each_rule_of_gopher_is_broken_by_its_text(text, rule):
    assert rule in broken(text, "gopher")


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        (SENTENCE, set()),
        ("\n".join([SENTENCE.removesuffix(".") + f" {n}" for n in range(8)] + [SENTENCE + " 9."]),
         {"fineweb_line_punctuation"}),
        ("\n".join([SENTENCE.removesuffix(".") + f" {n}" for n in range(7)] + [SENTENCE + " 9.”  "]), set()),
        (f"{SENTENCE}\n{SENTENCE}", {"fineweb_duplicate_characters"}),
        ("One.\n\nTwo.\n\n" + SENTENCE, set()),
        ("One.\n\nTwo.\nThree.\n" + SENTENCE, {"fineweb_short_lines"}),
        ("x" * 29 + ".\n" + "y" * 29 + ".", set()),
        ("x" * 28 + ".\n" + "y" * 28 + ".", {"fineweb_short_lines"}),
    ],
)  # fmt: skip
def test_the_rules_of_fineweb(text, rules):
    assert broken(text, "fineweb") == rules


def test_good_prose_breaks_nothing():
    text = "\n\n".join(
        " ".join([f"In {1900 + n} the water came.", prose(40, 40 * n) + "."]) for n in range(5)
    )
    assert flags(text)[0]["broken"] == ""


def test_measures_of_a_text_worked_out_by_hand():
    text = "# The cat, and the dog...\n- one 12\n- one 12\n\n... — !"
    found = flags(text)[0]
    assert found["n_words"] == 9  # of 14; #, -, -, ..., — and ! are none, dog... is one
    assert found["mean_word_length"] == pytest.approx((3 + 4 + 3 + 3 + 6 + 3 + 2 + 3 + 2) / 9)
    assert found["hash_ratio"] == pytest.approx(1 / 15)
    assert found["ellipsis_ratio"] == pytest.approx(2 / 15)
    assert found["bullet_line_share"] == pytest.approx(2 / 4)
    assert found["ellipsis_line_share"] == pytest.approx(1 / 4)
    assert found["alphabetic_word_share"] == pytest.approx(7 / 15)
    assert found["stop_words"] == 3
    assert found["duplicate_line_share"] == pytest.approx(1 / 4)
    assert found["duplicate_line_character_share"] == pytest.approx(8 / len(text))
    assert found["duplicate_paragraph_share"] == 0
    assert found["top_2_gram_share"] == pytest.approx(2 * 4 / 37)  # "- one", twice
    assert found["top_3_gram_share"] == pytest.approx(2 * 6 / 37)
    assert found["top_4_gram_share"] == found["duplicate_5_gram_share"] == 0
    assert found["punctuated_line_share"] == pytest.approx(2 / 4)
    assert found["repeated_line_character_share"] == pytest.approx(8 / (len(text) - 4))
    assert found["short_line_share"] == 1


@pytest.mark.parametrize(
    ("text", "share"),
    [
        (SENTENCE, 0),  # opens: The, to(the), the, the, to(happen); The is capital and does not count
        ("he went to the of and from is", 1 / 4),  # the of, of (and: no), from is: 2 pairs, 4 openers
        ("the the river", 0),  # one slip is forgiven
        ("the the the river", 1 / 3),
        ("a will of May can of the", 0),  # nouns that are spelt as function words
        ("the, of a. is the", 0),  # punctuation ends a pair
        ("", 0),
    ],
)
def test_misplaced_words_worked_out_by_hand(text, share):
    assert flags(text, families=("word_order",))[0]["misplaced_word_share"] == pytest.approx(share)


def test_shuffled_prose_breaks_the_rule_of_word_order_and_prose_does_not():
    prose_words = (SENTENCE + " " + LONGER).split()
    assert broken(" ".join(prose_words), "word_order") == set()
    found = [
        broken(" ".join(np.random.default_rng(seed).permutation(prose_words)), "word_order")
        for seed in range(40)
    ]
    assert sum(rules == {"word_order_misplaced"} for rules in found) >= 34


def top_share(words: list[str], n: int) -> float:
    """Most frequent n-gram, the earliest of equals, none that occurs once."""
    counts = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    gram, count = max(counts.items(), key=lambda item: item[1], default=((), 1))
    return count * sum(map(len, gram)) / sum(map(len, words)) if count > 1 else 0.0


def covered_share(words: list[str], n: int) -> float:
    """Characters of the words in n-grams that were seen before."""
    seen, inside = set(), set()
    for i in range(len(words) - n + 1):
        gram = tuple(words[i : i + n])
        inside |= set(range(i, i + n)) if gram in seen else set()
        seen.add(gram)
    return sum(len(words[i]) for i in inside) / max(sum(map(len, words)), 1)


TEXTS = st.lists(st.sampled_from(["a", "bb", "ccc", "dé", " ", "\n", "\n\n"]), max_size=80).map(" ".join)


@settings(deadline=None, max_examples=60)
@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_repetition_equals_a_plain_count(texts):
    for text, found in zip(texts, flags(*texts, families=("gopher",)), strict=True):
        words = text.split()
        for n in (2, 3, 4):
            assert found[f"top_{n}_gram_share"] == pytest.approx(top_share(words, n))
        for n in range(5, 11):
            assert found[f"duplicate_{n}_gram_share"] == pytest.approx(covered_share(words, n))
        lines = [line for line in text.split("\n") if line.strip()]
        again = len(lines) - len(set(lines))
        assert found["duplicate_line_share"] == pytest.approx(again / max(len(lines), 1))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=4))
def test_any_text_has_finite_measures_that_depend_on_it_alone(texts):
    together = flags(*texts)
    assert together == [flags(text)[0] for text in texts]
    columns = [name for names in MEASURES.values() for name in names if name not in APART]
    for row in together:
        assert row["word_order_score"] is None or isfinite(row["word_order_score"])
        assert all(row[name] is not None and row[name] == row[name] for name in columns)
        assert all(0 <= row[name] <= 1.0 + 1e-9 for name in columns if name.endswith("share"))
        assert set(row["broken"].split(",")) <= {*RULE_NAMES, ""}


def test_rules_have_names_of_their_family_and_stand_in_its_order():
    for family, rules in FAMILIES.items():
        assert all(rule.name.startswith(f"{family}_") for rule in rules)
    assert tuple(rule.name for rules in FAMILIES.values() for rule in rules) == RULE_NAMES
    assert len(set(RULE_NAMES)) == len(RULE_NAMES) == 34
    names = flags("x")[0]["broken"].split(",")
    assert names == [name for name in RULE_NAMES if name in names]
    assert re.fullmatch(r"[a-z_,0-9]+", ",".join(RULE_NAMES))
