"""Counts of tokens: those of the tokenizer itself, of text alone, also where it fails on a document."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tamis.base.unfit import PLAIN, Unfit
from tamis.settings.config import parse_settings
from tamis.settings.tokenizer import counting_tokenizer
from tamis.tokens.counting import BLOCK, NOT_COUNTED, TokenCounter
from tamis.tokens.identity import UnknownTokenizerError, tokenizer_identity
from tamis.training.tokenizer import encode, load_tokenizer, train_tokenizer

TEXTS = ["the shape of the array", "the mean of a sample returns a value", "naïve 中文 🙂", "", " \n\n x"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tokenizer that adds tokens around a text, cuts at 8 and fills up, as those of encoders do."""
    made = tmp_path_factory.mktemp("tokenizer") / "cutting"
    train_tokenizer(TEXTS * 3, made, vocabulary=300)
    tokenizer = Tokenizer.from_file(str(made / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 0), ("<eos>", 1)]
    )
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(made / "tokenizer.json"))
    return made


@pytest.fixture(scope="module")
def both(folder, tmp_path_factory):
    """It counts, as a folder of transformers and as the one file; and transformers' own view of it."""
    bare = tmp_path_factory.mktemp("bare")
    shutil.copy(folder / "tokenizer.json", bare)
    return TokenCounter(str(folder)), TokenCounter(str(bare)), load_tokenizer(folder)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(TEXTS) | st.text(max_size=60) | st.just("<eos> the <bos>"), max_size=4))
def test_counts_are_those_of_the_tokenizer_without_what_it_adds_cuts_or_fills_up(both, texts):
    whole, bare, tokenizer = both
    expected = [len(ids) for ids in encode(tokenizer, texts)] if texts else []
    for counter in (whole, bare):
        tokens_n, refused = counter.count(texts)
        assert (tokens_n.tolist(), refused) == (expected, {})


def test_more_texts_than_are_tokenized_at_once_keep_their_order(both):
    texts = ["a" * (place % 7) for place in range(BLOCK + 3)]
    tokens_n, _ = both[0].count(texts)
    assert tokens_n.tolist() == [len(ids) for ids in encode(both[2], texts)]


def test_a_tokenizer_in_python_counts_too(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "ByT5Tokenizer"}))
    tokens_n, _ = TokenCounter(str(tmp_path)).count(TEXTS)
    assert tokens_n.tolist() == [len(text.encode()) for text in TEXTS]


def words_alone(folder: Path, words: str) -> TokenCounter:
    """A tokenizer of whole words, which fails on every other one."""
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words.split())}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    return TokenCounter(str(folder))


def test_a_document_that_it_fails_on_is_left_out_with_a_reason_that_shows_no_text(tmp_path):
    counter = words_alone(tmp_path, f"{PLAIN} known words")
    tokens_n, refused = counter.count(["known words", "secret", "words", "A known secret"])
    assert tokens_n.tolist() == [2, NOT_COUNTED, 1, NOT_COUNTED]
    assert {place: why.reason for place, why in refused.items()} == dict.fromkeys((1, 3), Unfit.MODEL_FAILED)
    assert all("estimated" in why.detail and "secret" not in why.detail for why in refused.values())


def test_one_that_fails_on_a_plain_sentence_is_itself_at_fault(tmp_path):
    with pytest.raises(Exception, match="WordLevel"):
        words_alone(tmp_path, "known words").count(["secret", "known"])


def test_the_identity_is_that_of_the_tokenizer_and_not_of_the_model_next_to_it(folder, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    (copied / "model.safetensors").write_bytes(b"weights")
    before = tokenizer_identity(str(copied))
    assert before == tokenizer_identity(str(folder))
    train_tokenizer(["something else"] * 3, copied, vocabulary=300)
    assert tokenizer_identity(str(copied)) != before


@pytest.mark.parametrize("name", ["no-such/tokenizer", "two words", "https://example.org/x"])
def test_what_is_no_tokenizer_is_named(name):
    with pytest.raises(UnknownTokenizerError, match=r"set tokenizer in \[project\]") as caught:
        tokenizer_identity(name)
    assert caught.value.name == name


def test_a_folder_without_one_or_with_a_broken_one_is_named(tmp_path):
    with pytest.raises(UnknownTokenizerError, match="no tokenizer file"):
        tokenizer_identity(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UnknownTokenizerError, match="cannot be read"):
        TokenCounter(str(tmp_path)).count(["text"])


PRESET = {"name": "small", "preset": "llama-0.8m"}
OWN, OTHER = {"name": "own", "path": "models/own"}, {"name": "other", "path": "models/other"}


@pytest.mark.parametrize(
    ("asked", "models", "expected"),
    [
        (None, [], None),
        (None, [PRESET], None),
        (None, [PRESET, OWN, OTHER], ("own", "models/own")),
        ("other", [PRESET, OWN, OTHER], ("other", "models/other")),
        ("small", [PRESET, OWN], ("small", None)),
        ("smollm2-135m", [OWN], ("smollm2-135m", "smollm2-135m")),
    ],
)
def test_the_tokenizer_is_the_one_asked_for_else_that_of_the_first_model_with_files(asked, models, expected):
    corpus = {"name": "web", "kind": "files", "path": "documents"}
    project = {"tokenizer": asked} if asked else {}
    found = counting_tokenizer(parse_settings({"project": project, "corpus": [corpus], "base_model": models}))
    assert (found and (found.name, found.path)) == expected


def test_the_embedded_one_is_kept_in_a_form_that_is_read_quickly(tmp_path):
    text = "It costs 12345 dollars, <|im_start|>."
    first, again = (TokenCounter("smollm2-135m", tmp_path).count([text])[0].tolist() for _ in range(2))
    assert first == again
    assert [path.stem for path in tmp_path.iterdir()] == [tokenizer_identity("smollm2-135m")]
    kept = Tokenizer.from_file(str(next(tmp_path.iterdir())))
    assert len(kept.encode("12345").ids) == 5
