"""Near-duplicates against brute force: same verdicts, whatever the order, and only from the content."""

import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from near_texts import VOCABULARY, doc_id, edited, pool_of, random_text

from tamis.duplicates.minhash import band_keys, buckets_of, word_windows
from tamis.duplicates.near_duplicates import (
    NearDuplicateInputError,
    _blocks_of,
    _components,
    _Similarity,
    _verified,
    find_near_duplicates,
    near_duplicate_groups,
)


def shingles(text, size=5):
    words = text.lower().split()
    return {tuple(words[i : i + size]) for i in range(max(1, len(words) - size + 1))}


def jaccard(one, other):
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b)


def greedy(ids, texts, threshold):
    """The definition, one document at a time: {dropped: (smallest kept neighbour, similarity)}."""
    sets = {one: shingles(text) for one, text in zip(ids, texts, strict=True)}
    kept, dropped = [], {}
    for one in sorted(ids):
        near = [(other, len(sets[other] & sets[one]) / len(sets[other] | sets[one])) for other in kept]
        near = [(other, similar) for other, similar in near if similar >= threshold]
        if near:
            dropped[one] = near[0]
        else:
            kept.append(one)
    return dropped


def as_dict(found):
    return {row[0]: (row[1], pytest.approx(row[2])) for row in found.iter_rows()}


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.6, 0.8]))
def test_the_verdicts_of_the_definition(seed, threshold):
    ids, texts = pool_of(seed)
    found = find_near_duplicates(ids, texts, threshold=threshold)
    expected = greedy(ids, texts, threshold)
    assert expected
    assert as_dict(found) == expected
    assert found["doc_id"].is_sorted()
    assert found.columns == ["doc_id", "kept", "jaccard"]


def test_the_verdicts_of_the_definition_over_several_stretches():
    ids, texts = pool_of(7, families=220, loners=40)
    assert len(ids) > 512
    assert as_dict(find_near_duplicates(ids, texts)) == greedy(ids, texts, 0.8)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10_000), st.randoms())
def test_the_order_of_arrival_does_not_matter(seed, order):
    ids, texts = pool_of(seed)
    shuffled = list(zip(ids, texts, strict=True))
    order.shuffle(shuffled)
    again = find_near_duplicates(*zip(*shuffled, strict=True))
    assert again.equals(find_near_duplicates(ids, texts))


def test_planted_duplicates_are_recalled():
    rng = random.Random(1)
    originals = [random_text(rng, 120) for _ in range(600)]
    copies = [edited(rng, text, 2) for text in originals]  # Jaccard about .84
    texts = originals + copies
    ids = [doc_id(text) for text in texts]
    close = sum(jaccard(*pair) >= 0.8 for pair in zip(originals, copies, strict=True))
    assert close > 500
    assert len(find_near_duplicates(ids, texts)) == close


def test_many_copies_and_many_cousins_over_several_stretches():
    """More documents than the first stretch: one cluster of equals, one of documents just too different."""
    rng = random.Random(2)
    template, equal = random_text(rng, 40), random_text(rng, 80)
    cousins = [f"{template} {random_text(rng, 25)}" for _ in range(500)]
    equals = [f"{equal} {number}" for number in range(700)]
    texts = cousins + equals
    ids = [doc_id(text) for text in texts]
    found = find_near_duplicates(ids, texts)
    assert set(found["doc_id"]) == set(ids[500:]) - {min(ids[500:])}
    assert set(found["kept"]) == {min(ids[500:])}


def test_removing_the_kept_document_promotes_the_next():
    rng = random.Random(3)
    original = random_text(rng, 100)
    texts = [f"{original} {ending}" for ending in ("one", "two", "three")]
    ids = [doc_id(text) for text in texts]
    first, second, third = sorted(ids)
    assert set(find_near_duplicates(ids, texts)["kept"]) == {first}
    rest = [(i, text) for i, text in zip(ids, texts, strict=True) if i != first]
    found = find_near_duplicates(*zip(*rest, strict=True))
    assert found.select("doc_id", "kept").rows() == [(third, second)]


def test_a_chain_keeps_what_resembles_nothing_kept():
    rng = random.Random(4)
    chain = [random_text(rng, 100)]
    for step in range(6):
        words = chain[-1].split()
        words[step * 15 + 6 : step * 15 + 9] = rng.choices(VOCABULARY, k=3)
        chain.append(" ".join(words))
    ids = [f"{position:032x}" for position in range(7)]
    assert jaccard(chain[0], chain[1]) >= 0.8 > jaccard(chain[0], chain[2])
    found = find_near_duplicates(ids, chain)
    assert found.select("doc_id", "kept").rows() == [(ids[i], ids[i - 1]) for i in (1, 3, 5)]
    assert near_duplicate_groups(ids, chain)["group"].to_list() == [ids[0]] * 7


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10_000))
def test_groups_are_the_connected_components(seed):
    ids, texts = pool_of(seed)
    group = {one: one for one in sorted(ids)}
    text_of = dict(zip(ids, texts, strict=True))
    for one in sorted(ids):
        for other in sorted(ids):
            if one < other and jaccard(text_of[one], text_of[other]) >= 0.8:
                low, high = sorted([group[one], group[other]])
                group = {key: low if value == high else value for key, value in group.items()}
    found = near_duplicate_groups(ids, texts)
    assert found.rows() == sorted(group.items())


def all_pairs(ids, texts, threshold):
    """Groups by comparing every proposed pair, as was done before."""
    order = sorted(range(len(ids)), key=ids.__getitem__)
    ordered = pl.Series([texts[place] for place in order], dtype=pl.String)
    buckets = buckets_of(band_keys(ordered, threshold, 5, 128))
    similarity = _Similarity(_blocks_of(ordered, buckets), len(ordered), 5)
    edges, _ = _verified(buckets, np.ones(len(ids), dtype=bool), similarity, threshold)
    return [ids[order[place]] for place in _components(edges, len(ids))]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.8, 0.95]))
def test_groups_are_those_of_comparing_all_pairs(seed, threshold):
    rng = random.Random(seed)
    text = random_text(rng, 60)
    texts = pool_of(seed)[1] + [edited(rng, text, rng.choice([1, 2, 4])) for _ in range(rng.randint(0, 80))]
    texts = list(dict.fromkeys(texts))
    ids = [doc_id(text) for text in texts]
    groups = near_duplicate_groups(ids, texts, threshold=threshold)["group"].to_list()
    assert groups == all_pairs(ids, texts, threshold)


def test_near_equal_examples_are_grouped_without_comparing_all_pairs(monkeypatch):
    rng, compared = random.Random(6), []
    text = random_text(rng, 100)
    texts = [f"{edited(rng, text, 1)} {number}" for number in range(1_500)] + pool_of(1)[1]
    of_pairs = _Similarity.of_pairs
    monkeypatch.setattr(
        _Similarity, "of_pairs", lambda self, a, b: compared.append(len(a)) or of_pairs(self, a, b)
    )
    found = near_duplicate_groups([doc_id(text) for text in texts], texts)
    assert found["group"].value_counts()["count"].max() == 1_500
    assert sum(compared) < 20 * len(texts)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 60), st.booleans())
def test_similarities_of_a_few_documents_and_of_many_are_those_of_the_sets(seed, pairs, few):
    rng = random.Random(seed)
    texts = [edited(rng, random_text(rng, 40), 2) for _ in range(3)] + ["one", "one two"]
    texts += [f"{texts[0]} {random_text(rng, rng.randint(1, 9))}" for _ in range(30)]
    documents = np.arange(3 if few else len(texts))
    a, b = (np.array(rng.choices(documents.tolist(), k=pairs)) for _ in range(2))
    found = _Similarity([(np.arange(len(texts)), pl.Series(texts))], len(texts), 5).of_pairs(a, b)
    expected = [jaccard(texts[one], texts[other]) for one, other in zip(a, b, strict=True)]
    assert found.tolist() == expected


def test_short_and_wordless_texts():
    texts = ["Two words", "two, words!", "two", "", "---", "...", "words two"]
    ids = [f"{position:032x}" for position in range(len(texts))]
    assert find_near_duplicates(ids, texts).rows() == [(ids[1], ids[0], 1.0)]
    assert near_duplicate_groups(ids, texts)["group"].n_unique() == len(texts) - 1


@pytest.mark.parametrize("texts", [[], ["..."], ["only one"], ["", "?"]])
def test_nothing_to_find(texts):
    ids = [f"{position:032x}" for position in range(len(texts))]
    found = find_near_duplicates(ids, texts)
    assert found.schema == {"doc_id": pl.String, "kept": pl.String, "jaccard": pl.Float64}
    assert found.is_empty()
    assert near_duplicate_groups(ids, texts).rows() == [(one, one) for one in ids]


def test_wrong_input_is_named():
    for arguments, options, named in [
        ((["a"], []), {}, "texts"),
        ((["a", "a"], ["x", "y"]), {}, "doc_ids"),
        ((["a"], ["x"]), {"threshold": 0.0}, "threshold"),
        ((["a"], ["x"]), {"threshold": 1.1}, "threshold"),
        ((["a"], ["x"]), {"shingle": 0}, "shingle"),
        ((["a"], ["x"]), {"permutations": 0}, "permutations"),
    ]:
        with pytest.raises(NearDuplicateInputError, match=named):
            find_near_duplicates(*arguments, **options)


def test_windows_hash_words_and_nothing_else():
    windows = word_windows(["One two, three four", "zero ONE two three", "", "one two"], 3)
    assert windows.document.tolist() == [0, 0, 1, 1, 3]
    assert windows.first_word.tolist() == [0, 1, 0, 1, 0]
    assert windows.hashes[0] == windows.hashes[3]
    assert len(np.unique(windows.hashes)) == 4
    reversed_words = word_windows(["three two one"], 3).hashes
    assert reversed_words[0] != windows.hashes[0]
    assert windows.hashes[0] == GOLDEN_WINDOW, "hashes changed, and with them what LSH proposes"


GOLDEN_WINDOW = 5352642962210976570


def test_progress_counts_every_document():
    seen = []
    ids, texts = pool_of(0)
    find_near_duplicates(ids, texts, advance=seen.append)
    assert sum(seen) == len(ids)


def test_a_changed_character_in_a_script_without_spaces_leaves_a_near_duplicate():
    draw = random.Random(3)

    def text() -> str:
        return "，".join("".join(chr(draw.randrange(0x4E00, 0x5A00)) for _ in range(25)) for _ in range(12))

    one, other = text(), text()
    changed = f"{one[:130]}改{one[131:]}"
    found = find_near_duplicates(["a", "b", "c"], [one, changed, other])
    assert found.select("doc_id", "kept").rows() == [("b", "a")]
