"""Frames of pandas are taken; a plan, a pattern and texts that are none are named."""

import polars as pl
import pytest

from tamis.base.errors import BadArgumentError, UnknownNameError
from tamis.corpus import set_aside, split_target
from tamis.embedding import encode_each, load_encoder
from tamis.filters import Plan, forbidden_by_licence, forbidden_by_source, measured

TEXTS = pl.DataFrame(
    {"doc_id": [f"d{row}" for row in range(9)], "text": [f"words {row}" for row in range(9)]}
)
PLACES = pl.DataFrame(
    {
        "doc_id": ["a", "b"],
        "licence": ["MIT", None],
        "source": ["x", None],
        "shard": ["s", "s"],
        "corpus": ["c", "c"],
    }
)
NOISE = Plan(heuristics=("noise",))


def test_frames_of_pandas_are_taken():
    assert measured(TEXTS.to_pandas(), NOISE).equals(measured(TEXTS, NOISE))
    for forbidden in (forbidden_by_licence, forbidden_by_source):
        assert forbidden(PLACES.to_pandas(), ["x"], []).equals(forbidden(PLACES, ["x"], []))
    assert split_target(TEXTS.to_pandas(), None, 3, 2, 0).equals(split_target(TEXTS, None, 3, 2, 0))
    for one, other in zip(
        set_aside(TEXTS.to_pandas(), None, 2, 0), set_aside(TEXTS, None, 2, 0), strict=True
    ):
        assert one.equals(other)


def test_what_is_no_plan_is_named():
    for plan in (None, Plan()):
        with pytest.raises(BadArgumentError, match="plan"):
            measured(TEXTS, plan)
    with pytest.raises(UnknownNameError, match="nope"):
        measured(TEXTS, Plan(heuristics=("nope",)))


def test_what_is_no_frame_pattern_or_number_is_named():
    for argument, call in {
        "texts": lambda: measured(None, NOISE),
        "occurrences": lambda: forbidden_by_licence(None, [], []),
        "patterns": lambda: forbidden_by_licence(PLACES, "mit", []),
        "examples": lambda: split_target(None, None, 3, 2, 0),
        "held_out": lambda: split_target(TEXTS, None, 3, None, 0),
        "count": lambda: set_aside(TEXTS, None, 1.5, 0),
    }.items():
        with pytest.raises(BadArgumentError, match=argument):
            call()


@pytest.mark.parametrize("texts", [None, "a text", [None], [b"a"]])
def test_texts_to_encode_are_a_list(texts, encoder_cache):
    encoder = load_encoder("static", cache=str(encoder_cache))
    for call in (encoder.encode, lambda given: encode_each(encoder, given)):
        with pytest.raises(BadArgumentError, match="texts"):
            call(texts)
