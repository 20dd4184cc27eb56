"""Keys of shards: readable, safe as a partition, and different for different shards."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.corpus import shard_key
from tamis.corpus.shards import KEY_CHARACTERS

CORPORA = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,6}", fullmatch=True)
NAMES = st.text(st.sampled_from(list("ab_-./ é|1")), min_size=1, max_size=8) | st.text(
    min_size=1, max_size=200
)


def test_plain_names_stay_as_they_are():
    assert shard_key("python-docs", "numpy") == "python-docs__numpy"
    assert shard_key("web", "part_0.jsonl.gz") == "web__part_0.jsonl.gz"


def test_changed_names_carry_a_hash():
    key = shard_key("web", "sub/größe.jsonl")
    assert re.fullmatch(r"web__sub-gr-e\.jsonl-[0-9a-f]{8}", key) or re.fullmatch(
        r"web__sub-gr-.*e\.jsonl-[0-9a-f]{8}", key
    )


@given(CORPORA, NAMES)
@settings(deadline=None, max_examples=25)
def test_keys_are_safe(corpus, name):
    key = shard_key(corpus, name)
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", key)
    assert "..." not in key
    assert len(key) <= KEY_CHARACTERS


@given(st.sets(st.tuples(CORPORA, NAMES), min_size=2, max_size=40))
@settings(deadline=None, max_examples=25)
def test_keys_differ(shards):
    assert len({shard_key(*shard) for shard in shards}) == len(shards)


def test_keys_differ_where_parts_could_be_read_in_two_ways():
    changed = shard_key("a", "b/c")
    shards = [("a", "b__c"), ("a__b", "c"), ("a_", "b"), ("a", "_b"), ("a", "b/c"), ("a", "b-c")]
    shards += [
        ("a", changed.removeprefix("a__")),
        ("a", "x..."),
        ("a", "x-"),
        ("a", "é"),
        ("a", "ü"),
        ("a", ""),
    ]
    shards += [("a", "x" * 200), ("a", "x" * 201), ("a...b", "c"), ("a-b", "c")]
    keys = [shard_key(*shard) for shard in shards]
    assert len(set(keys)) == len(shards)
