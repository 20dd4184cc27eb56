"""What a file's documents share is left out of their comparison; small edits of one text are one document."""

import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from near_texts import SYSTEM, chats, doc_id, edited, random_text

from tamis.duplicates.near_duplicates import find_near_duplicates
from tamis.duplicates.shared_text import own_words_of_file


def compared(texts, ends=None):
    """The texts as they are compared, and which share of the words of each is left out."""
    ends = pl.Series("end", ends or [0] * len(texts), pl.Int64)
    ids = pl.Series("doc_id", [doc_id(text) for text in texts], pl.String)
    own = own_words_of_file(ids, pl.Series("text", texts, pl.String), ends)
    return own.compared().to_list(), own.shares


def dropped(texts, ends=None):
    """How many of these documents of one file repeat another."""
    return len(find_near_duplicates([doc_id(text) for text in texts], compared(texts, ends)[0]))


def test_different_documents_below_a_header_are_no_near_duplicates():
    texts = chats(120)
    assert len(find_near_duplicates([doc_id(text) for text in texts], texts)) == 119, "the case"
    assert dropped(texts) == 0
    _, shares = compared(texts)
    assert np.allclose(shares, 420 / 444)


@pytest.mark.parametrize("words", [1, 2, 12])
def test_below_a_system_turn_answers_may_be_as_short_as_they_like(words):
    texts = chats(60, words)
    assert dropped(texts, [len(SYSTEM) + 2] * 60) == 0
    assert compared(texts, [len(SYSTEM) + 2] * 60)[0][0].endswith(
        texts[0][len(SYSTEM) + 2 :].replace("\n\n", " ")
    )


def test_a_system_turn_of_one_conversation_is_text_like_any_other():
    texts = [*chats(1), *chats(1, system=random_text(random.Random(9), 300)), random_text(random.Random(2))]
    assert compared(texts, [len(SYSTEM) + 2, 0, 0])[0] == texts


def test_the_same_answer_below_two_system_turns_is_two_documents_only_while_it_says_little():
    other = random_text(random.Random(9), 420)
    said = ["yes no", random_text(random.Random(3), 60)]
    texts = [f"{system}\n\n{text}" for text in said for system in (SYSTEM, other)]
    texts += [f"{system}\n\nwhat {number}" for system in (SYSTEM, other) for number in range(5)]
    ends = [len(SYSTEM) + 2 if text.startswith(SYSTEM) else len(other) + 2 for text in texts]
    found = find_near_duplicates([doc_id(text) for text in texts], compared(texts, ends)[0])
    assert set(found["doc_id"]) | set(found["kept"]) == {doc_id(text) for text in texts[2:4]}


@pytest.mark.parametrize("place", ["header", "footer", "both", "some have none", "two of them"])
def test_shared_text_counts_nowhere(place):
    rng = random.Random(5)
    head, foot = random_text(rng, 300), random_text(rng, 320)
    parts = {
        "header": lambda n, own: f"{head} {own}",
        "footer": lambda n, own: f"{own} {foot}",
        "both": lambda n, own: f"{head} {own} {foot}",
        "some have none": lambda n, own: f"{head} {own}" if n % 3 else f"{own} {own[::-1]}",
        "two of them": lambda n, own: f"{(head, foot)[n % 2]} {own}",
    }
    texts = [parts[place](number, random_text(rng, 20)) for number in range(90)]
    assert len(find_near_duplicates([doc_id(text) for text in texts], texts)) > 50, "the case"
    assert dropped(texts) == 0
    own = [text.split() for text in compared(texts)[0]]
    assert max(map(len, own)) <= 40


def test_repeats_below_a_header_are_found():
    texts = chats(100, 40)
    again = [edited(random.Random(number), text, 0) + " indeed" for number, text in enumerate(texts[:30])]
    assert dropped([*texts, *again]) == 30


@pytest.mark.parametrize("change", ["none", "edits", "endings", "beginnings", "signatures"])
def test_copies_of_one_text_with_small_edits_stay_one_document(change):
    rng = random.Random(7)
    release = random_text(rng, 400)
    ways = {
        "none": lambda number: f"{release} {number}",
        "edits": lambda number: edited(rng, release, 3),
        "endings": lambda number: f"{release} {random_text(rng, 4)} {number}",
        "beginnings": lambda number: f"dear {random_text(rng, 2)} {number} {release}",
        "signatures": lambda number: f"{number} {release} yours {random_text(rng, 3)}",
    }
    texts = list(dict.fromkeys(ways[change](number) for number in range(200)))
    assert compared(texts)[0] == texts
    assert dropped(texts) == len(texts) - 1


def test_copies_within_a_file_of_others_stay_one_document():
    rng = random.Random(8)
    release = random_text(rng, 300)
    texts = [edited(rng, release, 2) for _ in range(200)] + [random_text(rng, 80) for _ in range(300)]
    assert dropped(texts) == 199


def test_a_template_that_is_filled_in_a_word_here_and_there_is_one_document():
    rng = random.Random(3)
    form = [random_text(rng, 60) for _ in range(6)]
    texts = [f" {random_text(rng, 1)} ".join(form) for _ in range(50)]
    assert compared(texts)[0] == texts


def test_characters_are_words_in_scripts_without_spaces():
    draw = random.Random(4)

    def text(count):
        return "".join(chr(draw.randrange(0x4E00, 0x5A00)) for _ in range(count))

    head = text(200)
    texts = [f"{head}\n\n{text(30)}。" for _ in range(40)]
    assert dropped(texts) == 0


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1_000), st.integers(0, 40))
def test_without_shared_text_nothing_is_left_out(seed, count):
    rng = random.Random(seed)
    texts = [random_text(rng, rng.randint(0, 60)) for _ in range(count)]
    assert compared(texts)[0] == texts


@settings(deadline=None, max_examples=10)
@given(st.randoms())
def test_the_order_does_not_matter(order):
    texts = [*chats(30), *chats(10, 3, seed=2), random_text(random.Random(6))]
    expected = dict(zip(texts, compared(texts)[0], strict=True))
    order.shuffle(texts)
    assert dict(zip(texts, compared(texts)[0], strict=True)) == expected


def test_own_words_have_no_word_for_the_system_turn():
    texts = chats(10)
    ends = pl.Series("end", [len(SYSTEM) + 2] * 10)
    own = own_words_of_file(pl.Series(map(doc_id, texts)), pl.Series(texts), ends)
    assert own.own_texts()[0] == texts[0][len(SYSTEM) + 2 :].replace("\n\n", " ")
