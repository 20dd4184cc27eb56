"""Counts by words are the tokenizer's own on any text; other tokenizers read whole texts."""

import functools
import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from tamis.embedding import words
from tamis.embedding.identity import locate
from tamis.embedding.static import StaticEncoder
from tamis.embedding.words import word_tokenizer

CHECKOUT = Path(__file__).resolve().parents[2]
ADDED = ["[CLS]", "[SEP]", "[UNK]", "[MASK]", "[PAD]", "[CLS", "UNK]", " ~ "]
NORMALIZER = {
    "type": "BertNormalizer",
    "clean_text": True,
    "handle_chinese_chars": True,
    "strip_accents": None,
    "lowercase": True,
}
END, FIRST_ADDED = 0xF8FF, 0xF000
EDGES = [
    "",
    " ",
    "\n\n",
    "[UNK]",
    "[SEP]",
    "a[CLS]b",
    "[[SEP]]",
    "[cls] [SE P]",
    "~",
    "a~b ~ c",
    "a" * 100 + " " + "a" * 101 + "," + "b" * 5_000,
    "e\u0301 ,\u0301 \u0301e 中\u0301中 \u0301",
    "a\x00b a\x0bb a\xa0b a\u2028b \xad,\xad",
    "\u1fef \u037e \u2260 =\u0338 İ ΣΑΣ ς ß ﬁ",
    "a䷿a 䶿a a㐀a a鿿a aꀀa",
    "中文，没有空格。中\n中 中",
    "한국어 ไม่มีช่องว่าง テスト 😀👩‍👩‍👧",
]


@functools.cache
def pools() -> list[np.ndarray]:
    """Code points to draw from: all of them, and those of a kind."""
    everything = np.concatenate([np.arange(0xD800), np.arange(0xE000, 0x110000)])
    categories = np.array([unicodedata.category(chr(code)) for code in everything])
    decomposed = [unicodedata.normalize("NFD", chr(code)) != chr(code) for code in everything]
    beside_chinese = [0x4DFF, 0x4E00, 0x4FFF, 0x5000, 0x9FFF, 0xA000, 0x3002, 0xFF0C, 0xFFFD, 0x20000]
    return [
        everything,
        np.arange(0x3000),
        np.arange(128),
        np.array(list(b"etaoin shrdlu,.")),
        everything[np.char.startswith(categories, "M")],
        everything[np.array(decomposed)],
        everything[np.isin(categories, ["Zs", "Zl", "Zp", "Cc", "Cf"])],
        np.array([*beside_chinese, *range(0x4E00, 0x5100)]),
        np.arange(FIRST_ADDED, FIRST_ADDED + len(ADDED)),
    ]


def with_config(**changes):
    """The tokenizer of MiniLM without truncation and padding, or with other settings of its JSON."""
    config = json.loads((locate("minilm").folder / "tokenizer.json").read_text())
    return Tokenizer.from_str(json.dumps({**config, "truncation": None, "padding": None, **changes}))


def encoder_of(tokenizer, dimension=4):
    vectors_vd = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), dimension))
    return StaticEncoder(tokenizer, vectors_vd.astype(np.float16), "made up")


@pytest.fixture(scope="module")
def encoder():
    return encoder_of(with_config())


def random_texts(count, seed, mean=12):
    """Texts of characters from the pools, mixed otherwise in each call."""
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(np.full(len(pools()), 0.5))
    chosen_c = generator.choice(len(pools()), size=count * mean, p=shares)
    codes_c = np.full(count * mean, END, dtype=np.uint32)
    for number, pool in enumerate(pools()):
        codes_c[chosen_c == number] = generator.choice(pool, size=int((chosen_c == number).sum()))
    codes_c[generator.random(count * mean) < 1 / mean] = END
    text = codes_c.tobytes().decode("utf-32-le")
    for number, token in enumerate(ADDED):
        text = text.replace(chr(FIRST_ADDED + number), token)
    return text.split(chr(END))


def assert_same(encoder, texts):
    """Of one batch: counts, and the bits of vectors, as by the tokenizer alone."""
    by_words, by_tokenizer = encoder._words.count(texts), encoder._token_counts(texts)
    differing = sorted(set((by_words != by_tokenizer).nonzero()[0].tolist()))
    assert not differing, [texts[place] for place in differing[:5]]
    fast_nd = encoder.encode(texts)
    slow = StaticEncoder(encoder._tokenizer, encoder._vectors_vd, "made up")
    slow._words = None
    assert np.array_equal(fast_nd.view(np.uint32), slow.encode(texts).view(np.uint32))


@pytest.mark.parametrize("seed", range(4))
def test_random_texts_have_the_tokens_of_the_tokenizer(encoder, seed):
    assert_same(encoder, random_texts(1_000, seed))


@pytest.mark.slow
def test_a_million_random_texts_have_the_tokens_of_the_tokenizer(encoder):
    checked = 0
    for seed in range(250):
        texts = random_texts(4_100, 1_000 + seed, mean=4 + seed % 40)
        assert_same(encoder, texts)
        checked += len(texts)
    assert checked > 1_000_000


@pytest.mark.parametrize("flag", ["clean_text", "strip_accents", "lowercase"])
@pytest.mark.parametrize("value", [True, False])
def test_whatever_else_the_normalizer_does(flag, value):
    encoder = encoder_of(with_config(normalizer={**NORMALIZER, flag: value}))
    assert_same(encoder, [*EDGES, *random_texts(1_000, 7)])


def test_special_cases(encoder):
    assert_same(encoder, EDGES)
    assert_same(encoder, ["".join(EDGES) * 20, *EDGES, "".join(EDGES[::-1])])
    assert encoder._words.count([]).shape == (0, encoder._tokenizer.get_vocab_size())


def test_prose_code_and_chinese(encoder):
    prose = [path.read_text() for path in sorted((CHECKOUT / "docs").rglob("*.md"))]
    code = [path.read_text() for path in sorted((CHECKOUT / "tamis" / "transport").glob("*.py"))]
    chinese = [
        "自然语言处理是计算机科学领域的一个重要方向。它研究人与计算机之间用 natural language 通信的方法！"
        * 50
    ]
    assert min(len(prose), len(code)) > 10
    assert_same(encoder, prose + code + chinese)


def test_a_long_text_is_read_to_its_end(encoder):
    start, end = " ".join(["word"] * 50_000), "zebra"
    assert_same(encoder, [start, f"{start} {end}", "x" * 75_000, "中" * 75_000])
    counts_nv = encoder._words.count([f"{start} {end}"])
    assert counts_nv[0, encoder._tokenizer.token_to_id(end)] == 1
    assert counts_nv.sum() == 50_001


def test_what_is_remembered_is_bounded(encoder, monkeypatch):
    monkeypatch.setattr(words, "MOST_WORDS", 50)
    monkeypatch.setattr(words, "WORDS_AT_ONCE", 7)
    fresh = encoder_of(encoder._tokenizer)
    for seed in range(5):
        for texts in (random_texts(100, seed), ["one two three", "one two four"]):
            assert_same(fresh, texts)
            assert 0 < len(fresh._words._remembered) <= 50
            assert max(map(len, fresh._words._remembered)) <= words.LONGEST_WORD


def added(**changes):
    token = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    unknown = {"id": 100, "content": "[UNK]", **token}
    return {"added_tokens": [unknown, {"id": 101, "content": "[CLS]", **token, **changes}]}


@pytest.mark.parametrize(
    "changes",
    [{"lstrip": True, "rstrip": True}, {"single_word": True}, {"content": "two words"}, {"content": "~"}],
)
def test_added_tokens_of_any_kind_are_found(changes):
    encoder = encoder_of(with_config(**added(**changes)))
    content = changes.get("content", "[CLS]")
    assert_same(encoder, [f"a {content} b", f"a{content}b", f"{content}.", "two, words", "plain", "a~ b~"])


def test_a_separator_that_a_word_gives_by_itself_is_not_mistaken():
    model = json.loads(with_config().to_str())["model"]
    renamed = {mark: f"[without {mark}]" for mark in "~}|{"}
    vocabulary = {renamed.get(token, token): index for token, index in model["vocab"].items()}
    encoder = encoder_of(with_config(model={**model, "vocab": vocabulary}))
    assert encoder._words._separator == b"`"
    assert_same(encoder, ["one \u1fef two", "three ` four", "five ~ six"])


def test_the_separator_is_no_part_of_an_added_token():
    assert encoder_of(with_config(**added(content="x~y")))._words._separator == b"}"


PADDING = {
    "strategy": {"Fixed": 12},
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "[PAD]",
}


@pytest.mark.parametrize(
    "changes",
    [
        {"normalizer": {**NORMALIZER, "handle_chinese_chars": False}},
        {"padding": PADDING},
        added(normalized=True),
        {"truncation": {"max_length": 5, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}},
        {"normalizer": None},
        {"normalizer": {"type": "Lowercase"}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": None},
    ],
    ids=[
        "chinese in words",
        "padding",
        "added after normalization",
        "truncation",
        "no normalizer",
        "lowercase",
        "whitespace",
        "no words",
    ],
)
def test_another_tokenizer_reads_whole_texts(changes):
    tokenizer = with_config(**changes)
    assert word_tokenizer(tokenizer, tokenizer.token_to_id("[UNK]")) is None
    encoder = encoder_of(tokenizer)
    assert encoder._words is None
    ids = tokenizer.encode("The mean of a normal distribution.", add_special_tokens=False).ids
    counts_nv = encoder._token_counts(["The mean of a normal distribution."])
    assert counts_nv.sum() == sum(token != tokenizer.token_to_id("[UNK]") for token in ids)


def test_vectors_whose_sums_are_not_exact_are_added_in_the_order_of_the_text():
    tokenizer = with_config()
    vectors_vd = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), 4))
    assert StaticEncoder(tokenizer, vectors_vd, "made up")._words is None
    assert StaticEncoder(tokenizer, vectors_vd.astype(np.float16), "made up")._words is not None


def test_the_real_encoder_counts_by_words(static):
    assert static._words is not None
