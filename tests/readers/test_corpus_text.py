"""One normal form, and the id that follows from it."""

import hashlib
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.corpus import document_id, normalise_text, normalised_id
from tamis.readers.text import EXCERPT_CHARACTERS, excerpt, without_surrogates

TEXTS = st.text(st.sampled_from(list("aé\u0065\u0301\r\n \t\u00a0ﬁÅ\u212b\x1c\ud800\udc00")), max_size=12)


@given(st.text(max_size=60))
@settings(deadline=None, max_examples=25)
def test_id_is_half_of_sha256_over_the_normal_form(text):
    expected = unicodedata.normalize("NFC", text).replace("\r\n", "\n").strip()
    assert normalise_text(text) == expected
    assert document_id(text) == hashlib.sha256(expected.encode()).hexdigest()[:32]


@given(TEXTS)
@settings(deadline=None, max_examples=25)
def test_normal_form_is_valid_unicode_and_hashes_to_the_id(text):
    normal = normalise_text(text)
    normal.encode("utf-8")
    assert unicodedata.is_normalized("NFC", normal)
    assert normal == normal.strip()
    assert normalised_id(normal) == document_id(text)


def test_golden_id():
    assert document_id(" caf\u0065\u0301\r\nx  y\n") == document_id("café\nx  y")
    assert document_id("hello") == "2cf24dba5fb0a30e26e83b2ac5b9e29e"


def test_inner_white_space_carries_meaning():
    assert document_id("if x:\n    y") != document_id("if x:\n  y")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a\ud800b", "a\ufffdb"), ("\ud83d\ude00", "😀"), ("\udc80", "\ufffd"), ("plain", "plain")],
)
def test_surrogates_are_joined_or_replaced(text, expected):
    assert without_surrogates(text) == expected


def test_excerpt_is_short_and_printable():
    assert excerpt(b"caf\xe9\x00\nx") == "caf\\xe9 x"
    assert excerpt("\ud800" + "x" * 500) == "\ufffd" + "x" * (EXCERPT_CHARACTERS - 1)
