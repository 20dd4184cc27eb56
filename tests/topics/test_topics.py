"""Topics: nearest centres, names by words; documents come and go, and others keep theirs until a refit."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_pools import VECTORS, pool_texts, vectors_of, write_pool

from tamis.embedding.layout import principal_components, unit
from tamis.readers.text import document_id
from tamis.store.tables import Store
from tamis.topics.clusters import (
    WITNESSES,
    cluster_centers,
    fit_centers,
    kept_numbers,
    naming_words,
    nearest_center,
    topic_names,
)
from tamis.topics.storing import NO_VECTOR, read_centers, read_names, read_topics, update_topics

GROUPS, EACH = 6, 40
POOL = pool_texts(40)


@pytest.fixture
def grouped():
    rng = np.random.default_rng(3)
    centers = rng.normal(size=(GROUPS, 32))
    return np.repeat(centers, EACH, axis=0) + rng.normal(size=(GROUPS * EACH, 32)) * 0.3


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "lance")
    write_pool(made, POOL)
    return made


def updated(store, count=6, seed=0):
    return update_topics(store, VECTORS, count, seed)


def topics_of(store):
    return dict(read_topics(store).iter_rows())


def test_clusters_are_the_groups_and_are_named_by_their_own_words(grouped):
    points = principal_components(grouped).of(grouped)[:, :8]
    centers = cluster_centers(points, GROUPS)
    labels = nearest_center(points, centers)
    assert len({tuple(labels[start : start + EACH]) for start in range(0, len(labels), EACH)}) == GROUPS
    group = np.repeat(np.arange(GROUPS), EACH)
    texts = pl.Series(
        [
            f"common words everywhere subject{'abcdef'[one]} matter{'abcdef'[one]} n{n}"
            for n, one in enumerate(group)
        ]
    )
    names = topic_names(naming_words(texts, labels), len(centers))
    assert {name[-1] for name in names} == set("abcdef")
    assert not any("common" in name or "everywhere" in name for name in names)


def test_topics_without_words_have_a_number():
    words = naming_words(pl.Series(["", "?", "1 2"]), np.array([0, 1, 1]))
    assert topic_names(words, 2) == ["topic 1", "topic 2"]


def test_the_nearest_centre_in_components_is_the_nearest_among_unit_vectors(grouped):
    """Oracle: every distance, in all dimensions."""
    centers = fit_centers(grouped, GROUPS, 0)
    assert len(centers) == GROUPS
    distance = np.linalg.norm(unit(grouped)[:, None] - centers[None], axis=2)
    found = nearest_center(unit(grouped), centers)
    assert (found == distance.argmin(axis=1)).all()
    components = principal_components(grouped, 16)
    inside = cluster_centers(components.of(grouped), GROUPS)
    assert (found == nearest_center(components.of(grouped), inside)).all()


def test_every_document_is_of_the_nearest_centre_that_is_stored(store):
    update = updated(store)
    topics, center_cd = read_centers(store)
    assert update.refit
    assert topics == [f"topic {number}" for number in range(1, len(topics) + 1)]
    vectors_nd = unit(vectors_of(POOL).astype(np.float16).astype(np.float32))
    nearest_n = np.linalg.norm(vectors_nd[:, None] - center_cd[None], axis=2).argmin(axis=1)
    ids = [document_id(text) for text in POOL]
    assert topics_of(store) == dict(zip(ids, [topics[place] for place in nearest_n], strict=True))
    assert len(topics) == 3
    assert min(update.documents.values()) >= 20
    assert sum(update.documents.values()) == len(POOL)


def test_topics_stay_while_documents_come_and_go(store):
    updated(store)
    before, centers = topics_of(store), store.read("topic_centers")
    names = read_names(store)
    later = pool_texts(58)[-50:]
    write_pool(store, [text for text in later if text not in POOL])
    assert updated(store).refit == ""
    with_more = topics_of(store)
    assert len(with_more) > len(before)
    assert {doc_id: with_more[doc_id] for doc_id in before} == before
    gone = sorted(before)[::3]
    for table in ("documents", VECTORS):
        store.delete(table, f"doc_id IN ({', '.join(map(repr, gone))})")
    assert updated(store).refit == ""
    left = topics_of(store)
    assert left == {doc_id: topic for doc_id, topic in with_more.items() if doc_id not in gone}
    assert store.read("topic_centers").equals(centers)
    assert read_names(store).words == names.words


def test_the_order_of_arrival_and_the_run_count_for_nothing(store, tmp_path):
    updated(store)
    other = Store(tmp_path / "other")
    write_pool(other, POOL[::-1])
    updated(other)
    for table in ("topics", "topic_centers", "topic_words"):
        key = store.read(table).columns[:2]
        assert store.read(table).sort(key).equals(other.read(table).sort(key))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": 3}, "the number of topics, the encoder or the seed changed"),
        ({"seed": 5}, "the number of topics, the encoder or the seed changed"),
        ({}, ""),
    ],
)
def test_another_setting_or_seed_fits_again(store, change, said):
    updated(store)
    assert updated(store, **change).refit == said
    assert updated(store, **change).refit == ""


def test_a_pool_that_grew_by_half_fits_again_and_topics_that_go_on_keep_their_number(store):
    updated(store, count=3)
    before = topics_of(store)
    more = [text for text in pool_texts(62) if text not in POOL]
    assert len(POOL) / 2 > len(more[:59])
    write_pool(store, more[:59])
    assert updated(store, count=3).refit == ""
    write_pool(store, more[59:61])
    update = updated(store, count=3)
    assert update.refit == "the pool grew from 120 to 181 documents"
    assert update.kept == 3
    now = topics_of(store)
    assert sum(now[doc_id] == topic for doc_id, topic in before.items()) > 0.95 * len(before)


def test_a_document_without_a_vector_has_a_topic_of_its_own(store):
    lacking = document_id(POOL[0])
    store.delete(VECTORS, f"doc_id = '{lacking}'")
    assert updated(store).documents[NO_VECTOR] == 1
    assert topics_of(store)[lacking] == NO_VECTOR


def test_a_pool_without_vectors_has_no_topics_and_fits_when_it_has_some(tmp_path):
    store = Store(tmp_path / "lance")
    assert updated(store).documents == {}
    write_pool(store, POOL[:1])
    store.delete(VECTORS, "true")
    assert updated(store).documents == {NO_VECTOR: 1}
    write_pool(store, POOL[1:])
    assert updated(store).refit
    assert len(set(topics_of(store).values())) > 3


def test_a_killed_fit_is_done_again_with_the_same_result(store, tmp_path, monkeypatch):
    untouched = Store(tmp_path / "untouched")
    write_pool(untouched, POOL)
    updated(untouched)
    for table in ("topic_centers", "topics"):
        write = Store.overwrite

        def killed(self, name, rows, at=table, write=write):
            if name == at:
                raise KeyboardInterrupt
            write(self, name, rows)

        with monkeypatch.context() as patched:
            patched.setattr(Store, "overwrite", killed)
            with pytest.raises(KeyboardInterrupt):
                updated(store)
    updated(store)
    for table in ("topics", "topic_centers", "topic_words"):
        assert store.read(table).equals(untouched.read(table))


def test_a_word_leaves_the_name_with_the_last_document_that_holds_it(store, monkeypatch):
    updated(store)
    names = read_names(store)
    topic, words = next(iter(names.words.items()))
    assert names.label(topic) == f"{topic}: {', '.join(words)}"
    rows = store.read("topic_words").filter(topic=topic, word=words[0])
    texts = dict(store.read("documents", ["doc_id", "text"]).iter_rows())
    assert len(rows) == WITNESSES
    assert all(words[0] in texts[doc_id].lower() for doc_id in rows["doc_id"])
    assert set(rows["doc_id"]) <= set(names.from_documents)
    first, *others = rows["doc_id"]
    store.delete("topic_words", f"doc_id = '{first}'")
    assert words[0] in read_names(store).words[topic]
    store.delete("topic_words", f"doc_id IN ({', '.join(map(repr, others))})")
    assert words[0] not in read_names(store).words.get(topic, [])
    updated(store)
    assert words[0] not in read_names(store).words.get(topic, []), "names are not made again"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=40))
def test_numbers_are_kept_by_those_that_share_most_documents_and_are_never_given_twice(pairs):
    old_n, new_n = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    found = kept_numbers(old_n, new_n, 5, 3)
    assert len(set(found)) == 5
    for topic, number in enumerate(found):
        both = int(((old_n == number) & (new_n == topic)).sum())
        is_kept = 2 * both > (old_n == number).sum() and 2 * both > (new_n == topic).sum()
        assert (number <= 3) == is_kept
        assert number >= 1
