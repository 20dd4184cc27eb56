"""The static encoder: Model2Vec's recipe, the same bits in any batch, a cache that is safe to share."""

import math
import shutil
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.base.files import user_cache
from tamis.embedding import encoder_identity
from tamis.embedding.static import (
    DIGEST_FILE,
    SIF_COEFFICIENT,
    VECTORS_FILE,
    StaticEncoder,
    distil,
    load_static,
    principal_components,
    zipf_weights,
)

TEXTS = [
    "The mean of a normal distribution, N(mu, sigma).",
    "Compute the average of Gaussian samples.",
    "def f(x):\n    return x + 1",
    "Recipes for apple cake with cinnamon.",
    "a" * 3_000,
    "日本語 and 😀",
    "",
    " ",
    "😀",
]


def test_distillation_agrees_with_model2vec(tiny_folder):
    from model2vec import distill
    from tokenizers import Tokenizer

    oracle = distill.distill(str(tiny_folder), pca_dims=16, device="cpu")
    tokenizer, vectors_vd = distil(tiny_folder, dimension=16)
    ids = [Tokenizer.from_str(tokenizer).token_to_id(token) for token in oracle.tokens]
    np.testing.assert_allclose(vectors_vd[ids], oracle.embedding, atol=1e-3)
    assert np.abs(oracle.embedding).max() > 0.1
    texts = ["abc def ghi", "aaa", "jih " * 30]
    encoder = StaticEncoder(Tokenizer.from_str(tokenizer), vectors_vd, "tiny")
    np.testing.assert_allclose(encoder.encode(texts), oracle.encode(texts), atol=2e-3)


def test_principal_components_agree_with_singular_values():
    vectors_nd = np.random.default_rng(0).normal(size=(60, 12)) * np.arange(1, 13)
    scores_nc = principal_components(vectors_nd, 5)
    left, singular, _ = np.linalg.svd(vectors_nd - vectors_nd.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(scores_nc), np.abs(left[:, :5] * singular[:5]), atol=1e-9)
    assert (scores_nc[np.abs(scores_nc).argmax(axis=0), range(5)] > 0).all()


def test_zipf_weights():
    weights = zipf_weights(3)
    probability = np.array([1 / 2, 1 / 3, 1 / 4]) / (13 / 12)
    np.testing.assert_allclose(weights, SIF_COEFFICIENT / (SIF_COEFFICIENT + probability))


def test_vectors_are_the_exact_mean_direction(static):
    tokens = static._tokenizer.encode(TEXTS[0], add_special_tokens=False).ids
    sums_d = [math.fsum(static._vectors_vd[tokens, column]) for column in range(static.dimension)]
    squares = 0.0
    for value in sums_d:
        squares += value * value
    expected_d = np.array([value / math.sqrt(squares) for value in sums_d], dtype=np.float32)
    assert np.array_equal(static.encode(TEXTS[:1])[0], expected_d)


@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=40))
@settings(deadline=None, max_examples=25)
def test_every_batch_gives_the_same_bits(static, texts):
    together_nd = static.encode(texts)
    alone = {text: static.encode([text])[0] for text in set(texts)}
    assert all(np.array_equal(vector, alone[text]) for vector, text in zip(together_nd, texts, strict=True))


def test_any_text_has_a_vector_of_length_one(static):
    done = []
    vectors_nd = static.encode([*TEXTS, "\ud800", "\x00"] * 200, advance=done.append)
    assert vectors_nd.dtype == np.float32
    assert vectors_nd.shape == (2_200, static.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors_nd, axis=1), 1, atol=1e-6)
    assert sum(done) == 2_200
    assert np.array_equal(vectors_nd[6], vectors_nd[8])
    assert static.encode([]).shape == (0, static.dimension)


def test_meaning_orders_similarities(static):
    vectors_nd = static.encode(TEXTS[:4])
    similarity_nn = vectors_nd @ vectors_nd.T
    assert similarity_nn[0, 1] > similarity_nn[0, 3] + 0.1
    assert static.name == "static"
    assert static.fingerprint == encoder_identity("static")


def load_tiny(teacher, cache):
    return load_static(teacher, cache, "tiny")


@pytest.fixture
def wide_folder(tiny_folder, monkeypatch, tmp_path):
    """The tiny model has fewer dimensions than the real one keeps; the user has an empty cache."""
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "user"))
    monkeypatch.setattr("tamis.embedding.static.DIMENSION", 16)
    monkeypatch.setattr(distil, "__defaults__", (16,))
    return tiny_folder


def test_the_cache_is_read_again_and_repaired(wide_folder, tmp_path):
    reference_nd = load_tiny(wide_folder, tmp_path).encode(["abc def"])
    folder = tmp_path / "encoders/static-tiny"
    assert np.array_equal(load_tiny(tmp_path / "no teacher", tmp_path).encode(["abc def"]), reference_nd)
    for damage in (
        lambda: shutil.rmtree(user_cache()),
        lambda: (folder / VECTORS_FILE).write_bytes((folder / VECTORS_FILE).read_bytes()[:-2] + b"zz"),
        lambda: (folder / DIGEST_FILE).unlink(),
        lambda: (shutil.rmtree(folder), folder.symlink_to(tmp_path / "nowhere")),
    ):
        damage()
        assert np.array_equal(load_tiny(wide_folder, tmp_path).encode(["abc def"]), reference_nd)
        assert (folder / DIGEST_FILE).exists()
    assert [path.name for path in folder.parent.iterdir()] == ["static-tiny"]


def test_a_second_project_does_not_distil_again_and_a_copied_home_takes_its_encoder_along(
    wide_folder, tmp_path, monkeypatch
):
    first_nd = load_tiny(wide_folder, tmp_path / "first").encode(["abc def"])
    second_nd = load_tiny(tmp_path / "no teacher", tmp_path / "second").encode(["abc def"])
    assert np.array_equal(first_nd, second_nd)
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "of another user"))
    moved_nd = load_tiny(tmp_path / "no teacher", tmp_path / "second").encode(["abc def"])
    assert np.array_equal(first_nd, moved_nd)
    assert (tmp_path / "of another user" / "encoders" / "static-tiny" / DIGEST_FILE).exists()


def test_a_damaged_copy_of_the_user_is_not_believed(wide_folder, tmp_path):
    reference_nd = load_tiny(wide_folder, tmp_path / "first").encode(["abc def"])
    shared = user_cache() / "encoders" / "static-tiny"
    (shared / VECTORS_FILE).write_bytes(b"\x08" + (shared / VECTORS_FILE).read_bytes()[1:])
    with pytest.raises(Exception, match="No such file"):
        load_tiny(tmp_path / "no teacher", tmp_path / "second")
    assert np.array_equal(load_tiny(wide_folder, tmp_path / "second").encode(["abc def"]), reference_nd)
    assert np.array_equal(
        load_tiny(tmp_path / "no teacher", tmp_path / "third").encode(["abc def"]), reference_nd
    )


def test_a_cache_that_cannot_be_written_costs_a_line(wide_folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "file" / "tamis"))
    load_tiny(wide_folder, tmp_path / "home")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert (
        f"cannot store the static encoder in {tmp_path / 'file' / 'tamis' / 'encoders'} (Not a directory)"
        in said[0]
    )
    assert said[0].endswith(f"the encoder is stored only in {tmp_path / 'home' / 'encoders'}")
    assert load_tiny(tmp_path / "no teacher", tmp_path / "home").dimension == 16


def test_where_nothing_can_be_written_every_run_distils_and_says_so(
    wide_folder, tmp_path, monkeypatch, capsys
):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "file" / "tamis"))
    assert load_tiny(wide_folder, tmp_path / "file" / "home").dimension == 16
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all(line.endswith("the next run will distil the encoder again") for line in said)


def test_without_a_variable_it_is_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("TAMIS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "tamis"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TAMIS_CACHE", "~/mine")
    assert user_cache() == tmp_path / "mine"


def test_two_may_distil_at_the_same_time(wide_folder, tmp_path):
    found = []
    workers = [
        threading.Thread(target=lambda: found.append(load_tiny(wide_folder, tmp_path))) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    one, other = (encoder.encode(["abc def ghi"]) for encoder in found)
    assert np.array_equal(one, other)
