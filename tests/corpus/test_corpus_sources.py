"""Sources as people know them: what the rows say, else the corpus; of a document in several, each once."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from projects import rows_of

from tamis.corpus.shards import shard_key
from tamis.corpus.sources import FEW, document_sources, stored_sources, with_corpora
from tamis.store.tables import Store


def sources_of(rows: list[tuple[str, str, str, str | None]]) -> dict[str, list[str]]:
    """The sources of each document, of rows (document, corpus, file, source that the row names)."""
    frame = pl.DataFrame(
        [
            {
                "doc_id": doc_id,
                "shard": shard_key(corpus, name),
                "source": own or name,
                "corpus": corpus,
                "folder": None,
            }
            for doc_id, corpus, name, own in rows
        ],
        schema_overrides={"folder": pl.String},
    )
    found = document_sources(frame)
    return {doc_id: [source, *more] for doc_id, source, more in found.iter_rows()}


def test_rows_name_their_source_and_the_others_count_for_their_corpus():
    rows = [("a", "web", "x.jsonl", "news"), ("b", "web", "x.jsonl", None), ("c", "books", "y.txt", None)]
    assert sources_of(rows) == {"a": ["news"], "b": ["web"], "c": ["books"]}


NAMED = ("n", "web", "named.jsonl", "news")


@pytest.mark.parametrize(
    "name", ["part one/a+b.jsonl", "x" * 150 + ".jsonl", "_hidden.csv", "données/été.txt", "a-1234abcd"]
)
def test_a_file_is_no_source_whatever_becomes_of_its_name_in_the_key(name):
    assert sources_of([("a", "web", name, None), NAMED])["a"] == ["web"]


@given(st.text(min_size=1, max_size=130))
def test_no_file_name_is_taken_for_a_source(name):
    assert sources_of([("a", "web", name, None), NAMED])["a"] == ["web"]


def test_files_count_in_the_only_corpus_where_no_row_names_a_source():
    rows = [("a", "web", "x.jsonl", None), ("b", "web", "y.jsonl", None)]
    assert sources_of(rows) == {"a": ["x.jsonl"], "b": ["y.jsonl"]}
    assert sources_of([*rows, ("c", "books", "z.txt", None)])["a"] == ["web"]


@pytest.mark.parametrize("name", ["2024/jan.jsonl", "part one/a+b.jsonl", "x" * 150 + ".jsonl", "été.csv"])
def test_a_file_that_counts_has_its_name_and_not_that_of_its_key(name):
    assert sources_of([("a", "web", name, None), ("b", "web", "y.jsonl", None)])["a"] == [name]


@pytest.mark.parametrize("corpus", ["web__en", "web_", "web...en"])
def test_a_corpus_is_a_source_whatever_its_name_holds(corpus):
    """Keys name a corpus up to the first separator, so this one has to be looked up."""
    rows = [("a", corpus, "x.jsonl", None), ("b", corpus, "_y.jsonl", None), NAMED]
    found = sources_of(rows)
    assert (found["a"], found["b"]) == ([corpus], [corpus])


def test_the_corpus_of_a_place_is_the_noted_one_else_what_its_key_says(tmp_path):
    store = Store(tmp_path / "lance")
    noted = {"web__en": "x.jsonl", "web_": "x.jsonl", "books": "en__x.jsonl"}
    keys = {corpus: shard_key(corpus, name) for corpus, name in noted.items()}
    notes = [{"shard": keys[one], "corpus": one, "name": noted[one]} for one in ("web__en", "books")]
    store.append("shard_files", rows_of("shard_files", notes))
    small = {"shard": keys["web_"], "part_of": "web_:.", "corpus": "web_", "name": noted["web_"]}
    store.append("grouped_files", rows_of("grouped_files", [small]))
    places = pl.DataFrame({"shard": [*keys.values(), "old__x.jsonl", "bare"]})
    assert with_corpora(store, places)["corpus"].to_list() == ["web__en", "web_", "books", "old", "bare"]


def test_a_source_that_a_file_is_named_for_is_one():
    assert sources_of([("a", "web", "news.jsonl", "news")]) == {"a": ["news"]}


def test_sources_of_a_document_are_folded_in_the_order_of_names():
    rows = [("a", "web", "x.jsonl", name) for name in ("news", "blog", "news", "mail")]
    assert sources_of(rows) == {"a": ["blog", "mail", "news"]}


def test_of_addresses_the_host_counts():
    rows = [(f"{n}", "web", "x.jsonl", f"https://example.org/{n}") for n in range(50)]
    assert {tuple(found) for found in sources_of(rows).values()} == {("example.org",)}


def test_where_each_document_has_a_source_of_its_own_the_file_counts():
    rows = [(f"{n}", "docs", f"package{n % 2}", f"package{n % 2}.module:f{n}") for n in range(2 * FEW)]
    assert {tuple(found) for found in sources_of(rows).values()} == {("docs__package0",), ("docs__package1",)}
    few = [(f"{n}", "web", "x.jsonl", f"source {n}") for n in range(FEW)]
    assert len({tuple(found) for found in sources_of(few).values()}) == FEW


def one_by_one(rows: list[tuple[str, str, str, str | None]]) -> dict[str, list[str]]:
    """The sources of each document, a row at a time; names of files and sources are letters alone."""
    own = [source if source else None for *_, source in rows]
    bare = len({corpus for _, corpus, *_ in rows}) == 1 and not any(own)
    names = [
        (source.removeprefix("https://").split("/")[0] if source.startswith("https://") else source)
        if source
        else (name if bare else corpus)
        for (_, corpus, name, _), source in zip(rows, own, strict=True)
    ]
    found: dict[str, set[str]] = {}
    for (doc_id, corpus, name, _), source in zip(rows, names, strict=True):
        mine = [(one, other) for (one, of, *_), other in zip(rows, names, strict=True) if of == corpus]
        groups, documents = len({other for _, other in mine}), len({one for one, _ in mine})
        place = groups > FEW and 2 * groups > documents
        found.setdefault(doc_id, set()).add(shard_key(corpus, name) if place else source)
    return {doc_id: sorted(sources) for doc_id, sources in found.items()}


@given(st.data())
def test_any_rows_have_the_sources_that_each_row_by_itself_has(data):
    many = data.draw(st.booleans())  # of many different addresses none is looked at twice
    source = st.one_of(
        st.none(),
        st.sampled_from(["news", "blog", "mail"]),
        st.integers(0, 60 if many else 2).map(lambda host: f"https://h{host}.org/{host}"),
    )
    row = st.tuples(
        st.integers(0, 50).map("{:02}".format),
        st.sampled_from(["web", "books"]),
        st.sampled_from("xyz"),
        source,
    )
    rows = data.draw(st.lists(row, min_size=1, max_size=90))
    expected = one_by_one(rows)
    assert sources_of(rows) == expected
    frame = pl.DataFrame(
        [
            {
                "doc_id": row[0],
                "shard": shard_key(*row[1:3]),
                "source": row[3] or row[2],
                "corpus": row[1],
                "folder": None,
            }
            for row in rows
        ],
        schema_overrides={"folder": pl.String},
    )
    wanted = pl.Series(sorted(expected)[::2])
    found = document_sources(frame, wanted)
    assert {doc_id: [source, *more] for doc_id, source, more in found.iter_rows()} == {
        doc_id: expected[doc_id] for doc_id in wanted
    }


def test_small_files_count_as_their_folder(tmp_path):
    store = Store(tmp_path / "lance")
    names = ["notes/a.txt", "notes/b.txt", "deep/er/c.txt", "d.txt"]
    keys = [shard_key("web", name) for name in names]
    small = [
        {"shard": key, "part_of": "web:.", "corpus": "web", "name": name}
        for key, name in zip(keys, names, strict=True)
    ]
    store.append("grouped_files", rows_of("grouped_files", small))
    alone = shard_key("web", "rows.csv")
    places = pl.DataFrame(
        {"doc_id": ["a", "b", "c", "d", "e"], "shard": [*keys, alone], "source": [*names, "rows.csv"]}
    )
    found = stored_sources(store, places)
    assert dict(found.select("doc_id", "source").iter_rows()) == {
        "a": "notes/",
        "b": "notes/",
        "c": "deep/er/",
        "d": "web",
        "e": "rows.csv",
    }
