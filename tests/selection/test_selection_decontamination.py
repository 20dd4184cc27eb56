"""Decontamination against brute force over word tuples."""

import random
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leaks_at_once import find_contaminated, find_contaminated_in_batches

from tamis.selection.leaks import runs_of_texts, shared_runs

WORDS = [f"w{number}" for number in range(400)]


def runs(text, size):
    words = re.findall(r"\w+", text.lower())
    if not words:
        return set()
    return {tuple(words[i : i + size]) for i in range(max(1, len(words) - size + 1))}


def brute_force(ids, texts, held_out, size, share):
    held = set().union(*(runs(text, size) for text in held_out))
    shared = {doc_id: runs(text, size) & held for doc_id, text in zip(ids, texts, strict=True)}
    holders = Counter(run for found in shared.values() for run in found)
    most = max(share * len(ids), 3)
    kept = {doc_id: {run for run in found if holders[run] <= most} for doc_id, found in shared.items()}
    return {doc_id: found for doc_id, found in kept.items() if found}, holders


def pool(seed):
    """Texts with pieces of the held-out ones, pieces of a template, and short ones."""
    rng = random.Random(seed)
    held_out = [" ".join(rng.choices(WORDS, k=rng.choice([2, 4, 30]))) for _ in range(12)]
    template = rng.choices(WORDS, k=9)
    held_out[0] = " ".join([*rng.choices(WORDS, k=5), *template])
    texts = []
    for _ in range(60):
        words = rng.choices(WORDS, k=rng.choice([1, 4, 25]))
        if rng.random() < 0.3:
            source = rng.choice(held_out).split()
            start = rng.randrange(len(source))
            words[rng.randrange(len(words)) :] = source[start : start + rng.randint(3, 12)]
        if rng.random() < 0.3:
            words += template
        texts.append(" ".join(words))
    texts += [held_out[3].upper(), f"{held_out[4]}!"]
    return [f"{number:032x}" for number in range(len(texts))], texts, held_out


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([3, 6]), st.sampled_from([0.01, 0.1, 1.0]))
def test_the_documents_that_brute_force_finds(seed, size, share):
    ids, texts, held_out = pool(seed)
    found = find_contaminated(ids, texts, held_out, ngram=size, maximum_share=share)
    expected, holders = brute_force(ids, texts, held_out, size, share)
    assert expected
    assert found["doc_id"].to_list() == sorted(expected)
    for doc_id, ngram in found.iter_rows():
        run = tuple(ngram.split())
        assert run in expected[doc_id]
        assert holders[run] == min(holders[other] for other in expected[doc_id])


def test_batches_and_their_order_do_not_matter():
    ids, texts, held_out = pool(1)
    whole = find_contaminated(ids, texts, held_out, ngram=5)
    batches = [(ids[start : start + 7], texts[start : start + 7]) for start in range(0, len(ids), 7)]
    assert find_contaminated_in_batches(iter(batches[::-1]), held_out, ngram=5).equals(whole)


def test_template_text_is_ignored_and_a_leak_is_not():
    rng = random.Random(2)
    template = " ".join(rng.choices(WORDS, k=20))
    secret = " ".join(rng.choices(WORDS, k=20))
    held_out = [f"{template} {secret}"]
    texts = [f"{template} {' '.join(rng.choices(WORDS, k=10))}" for _ in range(20)]
    texts += [" ".join(rng.choices(WORDS, k=40)) for _ in range(380)]
    texts[30] = f"something before {secret} and after"
    ids = [f"{number:032x}" for number in range(400)]
    found = find_contaminated(ids, texts, held_out)
    assert found.rows() == [(ids[30], secret)]
    assert len(find_contaminated(ids, texts, held_out, maximum_share=0.05)) == 21


def test_a_short_text_counts_only_as_a_whole():
    held_out = ["Exactly these words."]
    texts = ["exactly these WORDS", "exactly these words and more", "exactly these", "...", ""]
    found = find_contaminated(list("abcde"), texts, held_out)
    assert found.rows() == [("a", "exactly these words")]


@pytest.mark.parametrize(("texts", "held_out"), [([], ["a b"]), (["a b"], []), (["..."], [""]), ([], [])])
def test_nothing_to_find(texts, held_out):
    found = find_contaminated(list("abc")[: len(texts)], texts, held_out)
    assert found.is_empty()
    assert found.columns == ["doc_id", "ngram"]


def test_progress_counts_every_document():
    seen = []
    ids = [str(number) for number in range(8_000)]
    batches = ((ids[start : start + 4_000], ["some words"] * 4_000) for start in range(0, 8_000, 4_000))
    shared_runs(batches, runs_of_texts(["other words"], 20), advance=seen.append)
    assert seen == [4_000, 4_000]


def test_a_leak_in_a_script_without_spaces_is_found_within_other_text():
    rng = random.Random(4)

    def clauses(count: int) -> str:
        return "。".join("".join(chr(rng.randrange(0x4E00, 0x5A00)) for _ in range(30)) for _ in range(count))

    held_out = [clauses(6)]
    texts = [f"{clauses(1)}{held_out[0]}{clauses(2)}", clauses(9)]
    found = find_contaminated(["a", "b"], texts, held_out)
    assert found["doc_id"].to_list() == ["a"]
    assert len(found["ngram"][0].split()) == 20
