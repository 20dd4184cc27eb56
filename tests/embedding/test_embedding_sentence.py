"""MiniLM and other sentence-transformers models: windows, batches, order, and texts of any kind."""

import shutil
import socket

import numpy as np
import pytest

from tamis.embedding import EncoderUnavailableError, encoder_identity, load_encoder, sentence
from tamis.embedding.encoder import encode_each
from tamis.embedding.sentence import groups

TOLERANCE = 3e-3  # of bfloat16: design, section 3
TEXTS = [
    "The mean of a normal distribution.",
    "Compute the average of Gaussian samples.",
    "def f(x):\n    return x + 1",
    "word " * 300,
    "Recipes for apple cake with cinnamon.",
    "x",
]


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    return load_encoder("minilm", cache=tmp_path_factory.mktemp("cache"), device="cpu")


@pytest.fixture(scope="module")
def vectors_nd(minilm):
    return minilm.encode(TEXTS)


def test_vectors_have_length_one(minilm, vectors_nd):
    assert vectors_nd.shape == (len(TEXTS), minilm.dimension) == (len(TEXTS), 384)
    assert vectors_nd.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors_nd, axis=1), 1, atol=1e-6)
    assert (minilm.name, minilm.fingerprint) == ("minilm", encoder_identity("minilm"))


def test_short_texts_agree_with_sentence_transformers(minilm, vectors_nd):
    short = [position for position, text in enumerate(TEXTS) if len(text) < 500]
    expected_nd = minilm._model.encode([TEXTS[position] for position in short], show_progress_bar=False)
    np.testing.assert_allclose(vectors_nd[short], expected_nd, atol=TOLERANCE)


def test_meaning_orders_similarities(vectors_nd):
    similarity_nn = vectors_nd @ vectors_nd.T
    assert similarity_nn[0, 1] > 0.5 > similarity_nn[0, 4]


def test_order_and_company_do_not_matter(minilm, vectors_nd):
    order = np.random.default_rng(0).permutation(len(TEXTS))
    np.testing.assert_allclose(minilm.encode([TEXTS[i] for i in order]), vectors_nd[order], atol=TOLERANCE)
    alone_nd = np.concatenate([minilm.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(alone_nd, vectors_nd, atol=TOLERANCE)


def test_long_documents_are_the_mean_of_windows_weighted_by_tokens(minilm):
    parts, counts = ["cat " * 254, "dog " * 254, "sun " * 10], np.array([256, 256, 12])
    windows_wd = minilm.encode(parts)
    expected_d = counts @ windows_wd
    found_d = minilm.encode(["".join(parts)])[0]
    np.testing.assert_allclose(found_d, expected_d / np.linalg.norm(expected_d), atol=TOLERANCE)
    assert np.abs(found_d - windows_wd[0]).max() > 10 * TOLERANCE


def test_any_text_has_a_finite_vector(minilm):
    texts = ["", " \n", ".", "\ud800", "\u200b", "\x00", "𝔘𝔫𝔦", "日本語" * 200]
    vectors_nd = minilm.encode(texts)
    assert np.isfinite(vectors_nd).all()
    np.testing.assert_allclose(np.linalg.norm(vectors_nd, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors_nd[:2], vectors_nd[[2, 2]], atol=TOLERANCE)
    assert minilm.encode([]).shape == (0, 384)


def test_a_folder_loads_in_silence_and_without_network(tiny_folder, tmp_path, capfd, monkeypatch, recwarn):
    def refuse(*arguments):
        raise AssertionError(f"connection to {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    encoder = load_encoder(str(tiny_folder), cache=tmp_path, device="cpu")
    done = []
    vectors_nd = encoder.encode(["abc " * 40, "def", ""] * 50, advance=done.append)
    assert vectors_nd.shape == (150, 32)
    assert sum(done) == 150
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_default_prompt_is_put_before_each_text(tiny_folder, tmp_path):
    import json

    shutil.copytree(tiny_folder, tmp_path / "prompted")
    path = tmp_path / "prompted/config_sentence_transformers.json"
    settings = json.loads(path.read_text()) | {
        "prompts": {"passage": "aaa "},
        "default_prompt_name": "passage",
    }
    path.write_text(json.dumps(settings))
    plain = load_encoder(str(tiny_folder), cache=tmp_path, device="cpu")
    prompted = load_encoder(str(tmp_path / "prompted"), cache=tmp_path, device="cpu")
    np.testing.assert_allclose(prompted.encode(["bcd"]), plain.encode(["aaa bcd"]), atol=1e-6)
    assert prompted.fingerprint != plain.fingerprint


def test_models_without_windows_are_used_whole(tmp_path, tiny_folder):
    from sentence_transformers import SentenceTransformer, models
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny_folder / "tokenizer.json"))
    table = models.StaticEmbedding(
        tokenizer, embedding_weights=np.random.default_rng(0).normal(size=(600, 8))
    )
    SentenceTransformer(modules=[table], device="cpu").save(str(tmp_path / "table"))
    encoder = load_encoder(str(tmp_path / "table"), cache=tmp_path, device="cpu")
    vectors_nd = encoder.encode(["abc", "abc def " * 100, ""])
    assert vectors_nd.shape == (3, 8)
    np.testing.assert_allclose(np.linalg.norm(vectors_nd, axis=1), 1, atol=1e-6)


def test_a_folder_that_is_no_model_says_so(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(EncoderUnavailableError, match="sentence-transformers format"):
        load_encoder(str(tmp_path), cache=tmp_path)


def test_a_tokenizer_without_a_token_that_pads_fills_up_with_zeros(tiny_folder, tmp_path, monkeypatch):
    encoder = load_encoder(str(tiny_folder), cache=tmp_path, device="cpu")
    encoder._model.tokenizer.pad_token = None
    assert encoder._model.tokenizer.pad_token_id is None
    given, whole = [], encoder._model.forward
    monkeypatch.setattr(encoder._model, "forward", lambda rows: given.append(dict(rows)) or whole(rows))
    encoder.encode(["abc " * 40, "def"])
    (rows,) = given
    assert set(rows["input_ids"][rows["attention_mask"] == 0].tolist()) == {0}


@pytest.fixture
def in_groups(tiny_folder, tmp_path, monkeypatch):
    """A sentence encoder that reads 13 texts at once, 40 texts, and their vectors."""
    monkeypatch.setattr(sentence, "GROUP_DOCUMENTS", 13)
    encoder = load_encoder(str(tiny_folder), cache=tmp_path, device="cpu")
    texts = [f"text {number} " + "abc " * (number % 7) for number in range(40)]
    return encoder, texts, np.concatenate([encoder.encode(group) for group in groups(texts)])


@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_next_group_is_read_while_one_is_encoded_with_the_same_vectors(in_groups, monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    encoder, texts, expected_nd = in_groups
    done = []
    assert np.array_equal(encoder.encode(texts, done.append), expected_nd)
    assert sum(done) == len(texts)


@pytest.mark.parametrize("threads", ["1", "3"])
def test_a_text_that_cannot_be_read_costs_the_other_groups_nothing(in_groups, monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    encoder, texts, expected_nd = in_groups
    cut, tried = encoder._cutter.cut, []

    def broken(some):
        tried.append(len(some))
        if texts[20] in some:
            raise IndexError(texts[20])
        return cut(some)

    monkeypatch.setattr(encoder._cutter, "cut", broken)
    done = []
    vectors_nd, refused = encode_each(encoder, texts, done.append)
    assert list(refused) == [20]
    assert np.isnan(vectors_nd[20]).all()
    others = [place for place in range(40) if not 13 <= place < 26]
    assert np.array_equal(vectors_nd[others], expected_nd[others])
    np.testing.assert_allclose(np.delete(vectors_nd, 20, 0), np.delete(expected_nd, 20, 0), atol=TOLERANCE)
    assert sum(done) == len(texts)
    assert sum(tried) < 5 * len(texts)


def test_groups_hold_every_text_in_order():
    texts = [str(number) for number in range(5_000)] + ["x" * 9_000_000, "last"]
    found = list(groups(texts))
    assert [text for group in found for text in group] == texts
    assert len(found) == 4
