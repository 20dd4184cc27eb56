"""Sources by pattern: a row's own source, its shard or its corpus; one allowed place is enough."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tamis.filters import forbidden_by_source

PLACES = [
    ("page", "https://Example.org/a?b=1", "web__2024/a.jsonl"),
    ("other", "https://evil.example/x", "web__2023/b.jsonl"),
    ("both", "https://evil.example/x", "web__2023/b.jsonl"),
    ("both", "notes.txt", "books__notes.txt"),
    ("book", "notes.txt", "books__notes.txt"),
    ("hashed", "ü.txt", "books__-.txt-0a1b2c3d"),
]


def forbidden(allowed, denied) -> dict[str, str]:
    places = pl.DataFrame(PLACES, schema=["doc_id", "source", "shard"], orient="row")
    places = places.with_columns(corpus=pl.col("shard").str.split("__").list.first())
    return dict(forbidden_by_source(places, allowed, denied).iter_rows())


def test_sources_by_pattern():
    assert forbidden([], []) == {}
    assert forbidden([], ["https://evil.example/*"]) == {"other": "source_denied"}
    assert forbidden([], ["web__2023/*"]) == {"other": "source_denied"}
    assert forbidden([], ["books"]) == {"book": "source_denied", "hashed": "source_denied"}
    assert forbidden([], ["book"]) == {}
    assert forbidden(["Books"], []) == {"page": "source_not_allowed", "other": "source_not_allowed"}
    assert forbidden(["web"], ["*evil*"]) == {
        "other": "source_denied",
        "both": "source_denied",
        "book": "source_not_allowed",
        "hashed": "source_not_allowed",
    }
    assert forbidden([], ["https://example.org/a?b=1"]) == {"page": "source_denied"}


@given(st.lists(st.sampled_from(["a__x", "b__x", "c__(y"]), min_size=1))
def test_one_allowed_place_is_enough_whatever_the_order(shards):
    rows = [("d", None, shard, shard[0]) for shard in shards]
    schema = dict.fromkeys(("doc_id", "source", "shard", "corpus"), pl.String)
    found = forbidden_by_source(pl.DataFrame(rows, schema=schema, orient="row"), ["b", "c__(*"], [])
    assert found.is_empty() == any(shard != "a__x" for shard in shards)
