"""Passages of long texts: nothing is lost, none is over the limit, and each ends at the best place it can."""

import re
import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.passages.cutting import Cutter, Passage
from tamis.readers.text import normalise_text

PIECES = st.sampled_from(
    [
        *(
            "word",
            "the",
            "a",
            "Supercalifragilisticexpialidocious",
            "e\u0301",
            "x" * 40,
            "日本語の文章",
            "語。",
        ),
        *("。", "！", "end.", 'said."', "No!", "…", "👩\u200d🔬", "\u0301\u0301", "\0", "1.5", "Dr."),
        *(" ", "  ", "\n", "\n\n", "\n \n", "\t", "\u3000", "\u2029", " \r\n", "\x1c"),
    ]
)
TEXTS = st.lists(PIECES, min_size=1, max_size=120).map(lambda parts: normalise_text("".join(parts)))
LIMITS = st.integers(16, 60)


def characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def merging(texts: Sequence[str]) -> list[int]:
    """Count like a tokenizer: pairs of letters are one, and a text costs a token more than its parts."""
    return [1 + len(re.findall(r"\w{1,2}|\s+|[^\w\s]", text)) for text in texts]


def shrinking(texts: Sequence[str]) -> list[int]:
    """Count less in pieces than as a whole: whatever is counted in pieces is longer than it seems."""
    return [len(text) + len(text) ** 2 // 200 for text in texts]


SIZES = st.sampled_from([characters, words, merging, shrinking])


def joined(passages: Sequence[Passage]) -> str:
    return "".join(passage.gap + passage.text for passage in passages)


@settings(max_examples=400, deadline=None)
@given(TEXTS, LIMITS, SIZES)
def test_passages_and_the_spaces_between_them_are_the_text(text, limit, sizes):
    cutter = Cutter(limit=limit, sizes=sizes)
    passages = cutter.cut(text)
    assert passages == cutter.cut(text)
    if not passages:
        assert len(text.encode()) <= limit or sizes([text])[0] <= limit or len(text.split()) == 1
        return
    assert joined(passages) == text
    assert passages[0].gap == ""
    for passage in passages:
        assert passage.text
        assert passage.text == passage.text.strip() == text[passage.begin :][: len(passage.text)]
        assert not passage.gap.strip()
        assert unicodedata.is_normalized("NFC", passage.text)
        assert sizes([passage.text])[0] <= limit or len(passage.text) == 1


def rank(text: str, begin: int, end: int) -> int:
    """Say how well a text may be cut at white space: after a paragraph, a sentence, a line or a word."""
    gap = text[begin:end]
    if gap.count("\n") >= 2:
        return 4
    if re.search(r"[.!?]$", text[:begin]):
        return 3
    return 2 if "\n" in gap else 1


PROSE = st.lists(
    st.tuples(
        st.sampled_from(["a", "bb", "ccc", "end.", "why?"]), st.sampled_from([" ", " ", " ", "\n", "\n\n"])
    ),
    min_size=40,
    max_size=300,
).map(lambda parts: "".join(word + gap for word, gap in parts).strip())


@settings(max_examples=200, deadline=None)
@given(PROSE, st.integers(16, 40))
def test_a_passage_ends_at_the_last_of_the_best_places_within_its_limits(text, limit):
    """By brute force over every white space, with words as the unit."""
    passages = Cutter(limit=limit, sizes=words).cut(text)
    for place, passage in enumerate(passages[:-1]):
        rest = text[passage.begin :]
        left = len(rest.split())
        most = min(limit, left - limit // 4)
        fits = []
        for match in re.finditer(r"\s+", rest):
            if limit // 2 <= (count := len(rest[: match.start()].split())) <= most:
                fits.append((rank(rest, *match.span()), count))
        best = max(fits)
        assert len(passage.text.split()) == best[1], (place, best)
    if passages:
        assert all(len(passage.text.split()) >= limit // 4 for passage in passages)


@given(PROSE, PROSE, st.integers(16, 40))
@settings(max_examples=100, deadline=None)
def test_a_change_at_the_end_leaves_the_passages_before_it(start, end, limit):
    """A passage depends on what follows it within two limits, at most."""
    passages = Cutter(limit=limit, sizes=words).cut(start)
    longer = Cutter(limit=limit, sizes=words).cut(f"{start}\n\n{end}")
    for before, after in zip(passages, longer, strict=False):
        if len(start[before.begin :].split()) > 2 * limit:
            assert before == after


@pytest.mark.parametrize("sizes", [characters, words, merging])
def test_a_text_within_the_limit_stays_whole(sizes):
    text = "word " * 15 + "end"
    assert Cutter(limit=200, sizes=sizes).cut(text) == []


def test_a_long_text_without_spaces_is_cut_between_sentences_else_between_characters():
    sentence = "これは文章です。"
    passages = Cutter(limit=40, sizes=characters).cut(sentence * 30)
    assert {passage.text[-1] for passage in passages} == {"。"}
    assert {len(passage.text) for passage in Cutter(limit=40, sizes=characters).cut("x" * 400)} <= {
        *range(10, 41)
    }


def test_a_character_keeps_the_marks_that_follow_it():
    text = "ab\u0323\u0307" * 200
    for passage in Cutter(limit=50, sizes=characters).cut(text):
        assert unicodedata.category(passage.text[0])[0] == "L"
