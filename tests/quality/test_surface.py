"""Surface features of texts whose values can be counted by hand."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.quality import planted_noise, surface_features

TEXT = "The cat sat on the mat. The cat sat.\n- Item 12\n- Item 12"
SENTENCES = [
    f"In {1900 + year} the river rose by {year} centimetres, which nobody had expected." for year in range(30)
]


def features(text):
    names, values = surface_features([text])
    return dict(zip(names, values[0].tolist(), strict=True))


def test_values_of_a_text_counted_by_hand():
    found = features(TEXT)
    words = ["The", "cat", "sat", "on", "the", "mat", "The", "cat", "sat", "Item", "12", "Item", "12"]
    pairs = list(pairwise(words))
    expected = {
        "log_characters": np.log1p(len(TEXT)),
        "digit_share": 4 / len(TEXT),
        "upper_share": 4 / len(TEXT),
        "letter_share": sum(c.isalpha() for c in TEXT) / len(TEXT),
        "white_space_share": sum(c.isspace() for c in TEXT) / len(TEXT),
        "mean_word_length": np.mean([len(word) for word in words]),
        "type_token_ratio": len({word.lower() for word in words}) / len(words),
        "repeated_pair_share": (len(pairs) - len(set(pairs))) / len(pairs),
        "stop_word_share": 4 / len(words),
        "repeated_line_share": 1 / 3,
        "list_line_share": 2 / 3,
        "ends_with_punctuation": 0.0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.text(), max_size=5))
def test_finite_for_any_text_and_independent_of_the_others(texts):
    names, together = surface_features(texts)
    assert together.shape == (len(texts), len(names))
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    for row, text in enumerate(texts):
        np.testing.assert_array_equal(surface_features([text])[1][0], together[row])


def test_an_empty_text_is_all_zeros():
    assert not surface_features([""])[1].any()


def test_noise_differs_from_prose_where_it_should():
    noise = planted_noise(SENTENCES, seed=0)
    names, clean = surface_features(SENTENCES)
    values = surface_features(noise["text"].to_list())[1]
    column = {name: index for index, name in enumerate(names)}
    kinds = noise["kind"].to_numpy()

    def mean(kind, name):
        return values[kinds == kind, column[name]].mean()

    assert mean("number_dump", "digit_share") > 5 * clean[:, column["digit_share"]].mean()
    assert mean("repeated_ngram", "repeated_pair_share") > 0.5
    assert mean("keyboard_mash", "stop_word_share") < 0.05
    assert mean("shuffled_words", "capital_after_stop_share") <= 1
    assert mean("repeated_ngram", "compression_ratio") < clean[:, column["compression_ratio"]].mean()
