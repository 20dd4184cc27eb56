"""Groups of small files: the paths alone decide, and a group that is divided loses nobody."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shard_files import corpus

from tamis.corpus import Shard, list_shards, shard_key
from tamis.corpus.shards import (
    KEY_CHARACTERS,
    SMALL_BYTES,
    corpus_of_key,
    group_key,
    group_version,
    grouped,
    is_group_key,
    number_of_documents,
    path_hash,
)

NAMES = st.sets(
    st.tuples(st.sampled_from(["", "a/", "a/b/", "a-b/"]), st.integers(0, 400)).map(
        lambda parts: f"{parts[0]}{parts[1]}.txt"
    ),
    max_size=120,
)


def small(name: str, is_small: bool = True) -> Shard:
    return Shard(
        corpus="web", name=name, key=shard_key("web", name), kind="file", path=Path(name), small=is_small
    )


def members(shards: dict[str, Shard]) -> dict[str, list[str]]:
    return {key: [file.name for file in shard.files] for key, shard in shards.items()}


@given(NAMES, st.integers(1, 20), st.randoms(use_true_random=False))
def test_each_file_is_in_one_group_of_its_folder_whatever_the_order(names, most, draw):
    files = [small(name) for name in sorted(names)]
    found = members(grouped(files, most))
    draw.shuffle(files)
    assert members(grouped(files, most)) == found
    assert sorted(name for group in found.values() for name in group) == sorted(names)
    for group in found.values():
        assert 1 <= len(group) <= most
        assert len({name.rpartition("/")[0] for name in group}) == 1
    assert all(is_group_key(key) and corpus_of_key(key) == "web" for key in found)


@given(NAMES, st.integers(1, 20), st.integers(401, 500))
def test_one_more_file_divides_groups_and_mixes_none(names, most, number):
    before = members(grouped(map(small, names), most))
    after = members(grouped(map(small, {*names, f"a/{number}.txt"}), most))
    for group in after.values():
        known = [name for name in group if name in names]
        assert sum(not set(known).isdisjoint(old) for old in before.values()) <= 1
    others = {key: group for key, group in before.items() if not group[0].startswith("a/")}
    assert others.items() <= after.items()


def test_a_group_is_divided_by_the_next_digit_of_the_hash_of_the_path():
    names = [f"{number}.txt" for number in range(40)]
    found = members(grouped(map(small, names), 10))
    assert found == {
        group_key("web", ".", digit): sorted(name for name in names if path_hash(name)[0] == digit)
        for digit in {path_hash(name)[0] for name in names}
    }


def test_files_that_are_not_small_stay_shards_of_their_own():
    shards = grouped([small("a.jsonl", False), small("b.txt", False), small("c.txt")])
    assert {key: shard.kind for key, shard in shards.items()} == {
        "web__a.jsonl": "file",
        "web__b.txt": "file",
        "web:.": "group",
    }


@pytest.mark.parametrize("folder", ["a/b", "über", "a" * 300, "x:3", "a-1234abcd", "a...b", "a,b[c]"])
def test_keys_of_groups_are_safe_and_distinct(folder):
    keys = {group_key("web", one, digits) for one in (folder, "a-b", "x") for digits in ("", "3", "3f")}
    assert len(keys) == 9
    assert all(
        len(key) <= KEY_CHARACTERS and set(key).isdisjoint(",[]/\n") and "..." not in key for key in keys
    )


@pytest.mark.parametrize(
    ("folder", "digits", "where"),
    [("notes", "", "notes/ of corpus web"), (".", "", "corpus web"), ("notes", "3", "shard web:notes:3")],
)
def test_a_loss_in_a_group_names_the_folder_where_the_group_is_all_of_it(folder, digits, where):
    found = number_of_documents(group_key("web", folder, digits))
    assert found == f"the number of small files with a document in {where}"
    key = group_key("web", "a/b", digits)
    assert number_of_documents(key).endswith(f"shard {key}")


def test_the_version_of_a_group_is_of_paths_and_contents_in_any_order():
    files = [small(f"{number}.txt") for number in range(5)]
    versions = {file.key: str(number) for number, file in enumerate(files)}
    (one,), (other,) = (grouped(some).values() for some in (files, random.Random(1).sample(files, 5)))
    assert group_version(one, versions) == group_version(other, versions)
    changed = versions | {files[2].key: "x"}
    assert group_version(one, changed) != group_version(one, versions)
    (less,) = grouped(files[1:]).values()
    assert group_version(less, versions) != group_version(one, versions)


def test_the_listing_calls_small_what_is_one_text_of_under_64_kb(tmp_path):
    sizes = {
        "a.txt": 10,
        "b.MD": 0,
        "c.txt": SMALL_BYTES,
        "d.txt.gz": 10,
        "e.jsonl": 10,
        "f.txt": SMALL_BYTES - 1,
    }
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(b"x" * size)
    found = {shard.name: shard.small for shard in list_shards(corpus(), tmp_path)}
    assert [name for name, is_small in found.items() if is_small] == ["a.txt", "b.MD", "f.txt"]
    (alone,) = list_shards(corpus().model_copy(update={"path": "a.txt"}), tmp_path)
    assert not alone.small
