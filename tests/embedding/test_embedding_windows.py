"""Windows are those of the model's own tokenizer on any text, by words or by the tokenizer itself."""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from test_words import EDGES, NORMALIZER, pools
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tamis.embedding import words
from tamis.embedding.identity import locate
from tamis.embedding.words import WindowCutter, Windows

WINDOW = 16


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(str(locate("minilm").folder))


def texts_of(seed, count=60):
    """Texts of drawn characters, of words that fill windows to the token, and ones that are odd."""
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(count):
        pool = pools()[random.integers(len(pools()))]
        drawn.append("".join(map(chr, random.choice(pool, random.integers(1, 120)))))
    exact = ["cat " * length for length in (0, 1, 13, 14, 15, 27, 28, 29, 42, 200)]
    return [*drawn, *EDGES, *exact]


def split(windows):
    """Ids of each window, and its document, as lists."""
    ends = np.cumsum([0, *windows.lengths_w])
    return [windows.ids_t[start:end].tolist() for start, end in pairwise(ends)], windows.document_w.tolist()


def by_itself(tokenizer, texts, window=WINDOW):
    """What transformers gives; a full stop where it gives nothing."""
    found = tokenizer(
        texts, truncation=True, max_length=window, return_overflowing_tokens=True, padding=False
    )
    blank = tokenizer(".")["input_ids"]
    return [ids or blank for ids in found["input_ids"]], found["overflow_to_sample_mapping"]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("way", "threads"), [("words", "1"), ("tokenizer", "1"), ("tokenizer", "3")])
def test_windows_are_those_of_the_tokenizer(tokenizer, monkeypatch, way, threads, seed):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    cutter = WindowCutter(tokenizer, WINDOW)
    assert cutter._words is not None
    if way == "tokenizer":
        cutter._words = None
    texts = texts_of(seed) * 3
    expected = by_itself(tokenizer, texts)
    assert split(cutter.cut(texts)) == expected
    tokenizer(["other settings"], padding="max_length", max_length=40, truncation=False)
    assert split(cutter.cut(texts)) == expected


def other(tokenizer, **changes):
    """A tokenizer whose JSON differs in what is given."""
    config = json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
    backend = type(tokenizer.backend_tokenizer).from_str(json.dumps(config | changes))
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]")


@pytest.mark.parametrize(
    ("changes", "by_words"),
    [
        ({"normalizer": NORMALIZER | {"lowercase": False}}, True),
        ({"normalizer": NORMALIZER | {"clean_text": False}}, True),
        ({"normalizer": NORMALIZER | {"strip_accents": False}}, True),
        ({"normalizer": {"type": "Lowercase"}}, False),
        ({"normalizer": None}, False),
        ({"pre_tokenizer": {"type": "Whitespace"}}, False),
        ({"post_processor": None}, False),
    ],
)
def test_other_tokenizers_are_read_by_words_only_where_that_is_proven(tokenizer, changes, by_words):
    changed = other(tokenizer, **changes)
    cutter = WindowCutter(changed, WINDOW)
    assert (cutter._words is not None) == by_words
    texts = [text for text in texts_of(7) if text.strip()]
    assert split(cutter.cut(texts)) == by_itself(changed, texts)


def test_a_window_with_more_around_its_text_is_framed_by_all_of_it(tokenizer):
    marks = {
        mark: {"id": mark, "ids": [tokenizer.convert_tokens_to_ids(mark)], "tokens": [mark]}
        for mark in ("[CLS]", "[SEP]", "[MASK]")
    }
    order = ["[CLS]", "[MASK]", None, "[SEP]", "[MASK]", "[SEP]"]
    single = [
        {"SpecialToken": {"id": mark, "type_id": 0}} if mark else {"Sequence": {"id": "A", "type_id": 0}}
        for mark in order
    ]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}]
    template = {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": marks}
    changed = other(tokenizer, post_processor=template)
    cutter = WindowCutter(changed, WINDOW)
    assert cutter._words is not None
    assert (len(cutter._opening), len(cutter._closing)) == (2, 3)
    texts = [text for text in texts_of(8) if text.strip()]
    assert split(cutter.cut(texts)) == by_itself(changed, texts)


@pytest.mark.parametrize("setting", [{"truncation_side": "left"}, {"split_special_tokens": True}])
def test_settings_that_words_do_not_know_are_left_to_the_tokenizer(setting):
    changed = AutoTokenizer.from_pretrained(str(locate("minilm").folder), **setting)
    cutter = WindowCutter(changed, WINDOW)
    assert cutter._words is None
    texts = [text for text in texts_of(9) if text.strip()]
    assert split(cutter.cut(texts)) == by_itself(changed, texts)


@pytest.mark.parametrize(("window", "by_words"), [(2, False), (3, True), (4, True), (100_000, True)])
def test_windows_of_any_size_are_those_of_the_tokenizer(tokenizer, window, by_words):
    cutter = WindowCutter(tokenizer, window)
    assert (cutter._room > 0) == by_words
    texts = [text for text in texts_of(10, 20) if len(text) < 100]
    assert split(cutter.cut(texts)) == by_itself(tokenizer, texts, window)


@pytest.mark.parametrize(
    ("token", "texts"), [("|a|", ["x |a", "|a| y"]), ("---", ["a-", "---"]), ("__b__", ["__b", "__b__b__"])]
)
def test_a_token_across_two_texts_hides_none_in_the_second(token, texts):
    changed = AutoTokenizer.from_pretrained(str(locate("minilm").folder))
    changed.add_tokens([token], special_tokens=True)
    cutter = WindowCutter(changed, WINDOW)
    assert cutter._words is not None
    assert split(cutter.cut(texts)) == by_itself(changed, texts)


def test_threads_may_share_a_cutter_whose_words_are_forgotten(tokenizer, monkeypatch):
    monkeypatch.setattr(words, "MOST_WORDS", 50)
    cutter = WindowCutter(tokenizer, WINDOW)
    texts = [texts_of(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(cutter.cut, texts * 3))
    assert list(map(split, found)) == [by_itself(tokenizer, some) for some in texts] * 3


def windows_of(lengths):
    """Windows whose ids count on from 1,000 in each."""
    ids = [list(range(1_000, 1_000 + length)) for length in lengths]
    flat = np.array([token for window in ids for token in window], dtype=np.int32)
    return ids, Windows(ids_t=flat, lengths_w=np.array(lengths), document_w=np.arange(len(lengths)))


def test_batches_hold_every_window_once_within_the_budget():
    lengths = np.random.default_rng(0).integers(1, 50, 500)
    batches = list(windows_of(lengths)[1].batches(100))
    assert sorted(np.concatenate(batches)) == list(range(500))
    assert all(len(batch) * lengths[batch].max() <= 100 or len(batch) == 1 for batch in batches)
    assert max(lengths[batch].max() - lengths[batch].min() for batch in batches) < 10


@pytest.mark.parametrize("side", ["left", "right"])
def test_windows_are_padded_as_the_tokenizer_pads_them(tokenizer, monkeypatch, side):
    monkeypatch.setattr(tokenizer, "padding_side", side)
    random = np.random.default_rng(0)
    ids, windows = windows_of(random.integers(1, 40, 30))
    batch = random.permutation(30)[:20]
    some = [ids[place] for place in batch]
    features = {"input_ids": some, "attention_mask": [[1] * len(window) for window in some]}
    padded = windows.padded(batch, side, tokenizer.pad_token_id)
    for name, rows in tokenizer.pad(features, padding=True, return_tensors="np").items():
        assert padded[name].dtype == np.int64
        assert min(padded[name].strides) > 0  # torch takes no others
        np.testing.assert_array_equal(padded[name], rows)
