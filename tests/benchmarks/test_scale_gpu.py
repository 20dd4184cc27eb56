"""Documents of a number of tokens, by the tokenizer that reads them."""

import polars as pl
from transformers import AutoTokenizer

from benchmarks import _scale_gpu
from tamis.embedding.identity import locate


def test_a_document_has_as_many_tokens_as_it_should_and_no_two_are_the_same(monkeypatch):
    words = ["river", "selection", "the", "unregularised", "of", "Wasserstein", "(1997),", "tea"]
    sentences = [f"{words[n % 8]} {words[n % 5]} {n} {words[n % 7]} {words[n % 3]}." for n in range(400)]
    monkeypatch.setattr(_scale_gpu, "sentences_of_pool", lambda: pl.Series(sentences))
    found = _scale_gpu.documents_of_tokens(300)
    tokenizer = AutoTokenizer.from_pretrained(str(locate("minilm").folder))
    lengths = [len(ids) for ids in tokenizer(found)["input_ids"]]
    longest_word = max(len(tokenizer(word, add_special_tokens=False)["input_ids"]) for word in words)
    assert max(lengths) <= _scale_gpu.TOKENS
    assert min(lengths) > _scale_gpu.TOKENS - longest_word - 1
    assert len(set(found)) == len(found) == 300
    assert _scale_gpu.documents_of_tokens(300) == found
    assert _scale_gpu.documents_of_tokens(300, seed=6) != found
