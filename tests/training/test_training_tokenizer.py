"""Byte-level BPE: lossless, independent of order, readable by transformers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.training import count_tokens, train_tokenizer
from tamis.training.tokenizer import boundary_tokens, encode, load_tokenizer


def test_order_of_texts_does_not_matter(tiny, tmp_path):
    train_tokenizer(tiny.texts[::-1], tmp_path / "other", vocabulary=320)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "other" / name).read_bytes() == (tiny.tokenizer / name).read_bytes()


def test_vocabulary_is_filled_and_boundaries_are_known(tiny):
    tokenizer = load_tokenizer(tiny.tokenizer)
    assert len(tokenizer) == 320
    assert boundary_tokens(tokenizer) == (0, 1)
    assert tokenizer.convert_ids_to_tokens([0, 1, 2]) == ["<bos>", "<eos>", "<pad>"]


@given(text=st.text(max_size=60))
@settings(deadline=None, max_examples=25)
def test_any_text_survives(tiny, text):
    tokenizer = load_tokenizer(tiny.tokenizer)
    (ids,) = encode(tokenizer, [text])
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_spelled_special_tokens_are_text(tiny):
    text = "before <eos> after<bos>"
    (ids,) = encode(load_tokenizer(tiny.tokenizer), [text])
    assert not {0, 1, 2} & set(ids)
    assert load_tokenizer(tiny.tokenizer).decode(ids) == text
    assert count_tokens(tiny.tokenizer, [text]).tolist() == [len(ids)]


def test_counts_agree_with_transformers(tiny):
    texts = ["", *tiny.texts, " \n\t naïve 中文 \U0001f600"]
    expected = [len(ids) for ids in encode(load_tokenizer(tiny.tokenizer), texts)]
    counts = count_tokens(tiny.tokenizer, iter(texts))
    assert counts.dtype == np.int32
    assert counts.tolist() == expected
    assert counts[0] == 0


def test_tokenizer_without_boundaries_is_refused(tiny):
    tokenizer = load_tokenizer(tiny.tokenizer)
    tokenizer.bos_token = tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no bos, eos, cls or sep token"):
        boundary_tokens(tokenizer)
    tokenizer.eos_token = "<eos>"
    assert boundary_tokens(tokenizer) == (1, 1)
