"""Targets: distinct examples, and a split that nothing leaks through."""

import json
import random
import re
from itertools import pairwise

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from near_texts import random_text

from tamis.corpus import (
    ListingError,
    TooFewExamplesError,
    document_id,
    fingerprint_target,
    read_target,
    split_target,
    targets,
)
from tamis.corpus.targets import (
    OneLabelError,
    label_warnings,
    near_groups,
    never_learnt,
    quarantine_of_target,
    require_labels,
    rows_of_target,
    target_of_place,
)
from tamis.settings.config import TargetSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store


def files_target(**values):
    return TargetSection(name="goal", kind="files", path="goal", **values)


def test_examples_of_files_are_distinct_and_ordered(tmp_path):
    folder = tmp_path / "goal"
    folder.mkdir()
    (folder / "b.jsonl").write_text('{"text": "one"}\n{"text": "two"}\nbroken\n')
    (folder / "a.txt").write_text("two\n")
    examples, quarantine = read_target(files_target(), tmp_path)
    assert examples["doc_id"].to_list() == sorted(map(document_id, ["one", "two"]))
    assert examples.filter(text="two")["source"].item() == "a.txt"
    assert quarantine.select("shard", "row").rows() == [("target/goal/b.jsonl", 2)]


def test_a_single_file_is_a_target(tmp_path):
    (tmp_path / "goal").mkdir()
    (tmp_path / "goal/a.csv").write_text("text\nx\n")
    target = TargetSection(name="goal", kind="files", path="goal/a.csv")
    assert read_target(target, tmp_path)[0]["text"].to_list() == ["x"]


def test_a_missing_target_raises(tmp_path):
    with pytest.raises(ListingError):
        read_target(files_target(), tmp_path)


def docs_target(module):
    return TargetSection(
        name="goal", kind="python-docs", packages=("email",), module=module, minimum_characters=30
    )


def test_a_module_means_itself_and_those_below(tmp_path):
    whole, _ = read_target(docs_target(None), tmp_path)
    part, _ = read_target(docs_target("email.mime"), tmp_path)
    modules = set(part["source"].str.split(":").list.first())
    assert modules
    assert all(module == "email.mime" or module.startswith("email.mime.") for module in modules)
    expected = whole.filter(pl.col("source").str.starts_with("email.mime."))
    assert part["doc_id"].to_list() == expected["doc_id"].to_list()
    one, _ = read_target(docs_target("email.message"), tmp_path)
    assert set(one["source"].str.split(":").list.first()) == {"email.message"}


def test_fingerprint_follows_the_files(tmp_path):
    (tmp_path / "goal").mkdir()
    (tmp_path / "goal/a.txt").write_text("one")
    before = fingerprint_target(files_target(), tmp_path)
    assert fingerprint_target(files_target(), tmp_path) == before
    (tmp_path / "goal/a.txt").write_text("two")
    changed = fingerprint_target(files_target(), tmp_path)
    (tmp_path / "goal/b.txt").write_text("one")
    assert len({before, changed, fingerprint_target(files_target(), tmp_path)}) == 3
    assert fingerprint_target(docs_target("email.mime"), tmp_path) != fingerprint_target(
        docs_target("email.message"), tmp_path
    )


def made(count):
    return pl.DataFrame({"doc_id": [document_id(str(number)) for number in range(count)], "text": "x"})


def side(split, name):
    return set(split.filter(split=name)["doc_id"])


@given(
    st.lists(st.integers(0, 12), min_size=20, max_size=40),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(0, 5),
    st.randoms(),
)
@settings(deadline=None, max_examples=25)
def test_whole_groups_go_to_one_side_in_any_order(labels, train, held_out, seed, random):
    examples = made(len(labels))
    groups = examples.select("doc_id").with_columns(group=pl.Series([f"g{label}" for label in labels]))
    try:
        split = split_target(examples, groups, train, held_out, seed)
    except TooFewExamplesError as error:
        split, available = None, error.available
    if split is None:
        assert available == len(labels)
        assert len(labels) - held_out - max(map(labels.count, labels)) < train
        return
    assert split["split"].value_counts().sort("split").rows()[:2] == [
        ("held_out", held_out),
        ("train", train),
    ]
    group_of = dict(groups.iter_rows())
    held, trained = side(split, "held_out"), side(split, "train")
    assert not {group_of[doc_id] for doc_id in held} & {group_of[doc_id] for doc_id in trained}
    assert split["doc_id"].to_list() == sorted(examples["doc_id"])
    shuffled = examples.sample(fraction=1.0, shuffle=True, seed=random.randrange(1_000))
    assert split_target(shuffled, groups.reverse(), train, held_out, seed).equals(split)


def test_smaller_training_parts_are_nested_and_held_out_stays():
    examples = made(60)
    groups = examples.select("doc_id", group=pl.col("doc_id").str.head(1))
    sizes = [split_target(examples, groups, train, 10, 3) for train in (1, 5, 20, 30)]
    assert len({frozenset(side(split, "held_out")) for split in sizes}) == 1
    for smaller, larger in pairwise(sizes):
        assert side(smaller, "train") < side(larger, "train")


def test_seeds_give_different_splits_and_groups_are_optional():
    examples = made(50)
    one, other = (split_target(examples, None, 20, 10, seed) for seed in (0, 1))
    assert side(one, "held_out") != side(other, "held_out")
    alone = split_target(examples, examples.select("doc_id", group="doc_id").head(7), 20, 10, 0)
    assert alone.equals(one)


def test_too_few_examples_says_how_many_there_are():
    with pytest.raises(TooFewExamplesError, match=r"need 31 distinct examples; there are 30") as caught:
        split_target(made(30), None, 21, 10, 0)
    assert (caught.value.available, caught.value.train, caught.value.held_out) == (30, 21, 10)
    same = made(30).select("doc_id", group=pl.lit("g"))
    with pytest.raises(TooFewExamplesError, match="0 are left for training"):
        split_target(made(30), same, 5, 5, 0)


@pytest.mark.parametrize(
    ("groups", "train", "held_out", "advice"),
    [
        ([1] * 30, 21, 10, "lower train to 20 or held_out to 9, or add examples"),
        (
            [60],
            30,
            15,
            "near-duplicates of one another, so no split is possible: add examples",
        ),
        (
            [3, 40, 2, 2],
            10,
            15,
            "near-duplicates has 40 of them; lower train to 4 or held_out to 3, or",
        ),
        ([30, 30], 31, 31, "lower held_out to 30 and train to 30, or add examples that differ from these"),
        (
            [50, 1, 1, 1],
            30,
            15,
            "lower train to 3, or add examples that differ from these, or raise",
        ),
        ([1] * 100, 300, 150, "; lower held_out to 33 and train to 67, or add examples"),
        ([1], 5, 5, "; add examples"),
        ([], 5, 5, "; add examples"),
    ],
)
def test_too_few_examples_say_which_sizes_would_do(groups, train, held_out, advice):
    assert advice in str(TooFewExamplesError(groups, train, held_out, 0))


@given(st.lists(st.integers(1, 9), max_size=9), st.integers(0, 20), st.integers(0, 20))
def test_the_sizes_that_are_advised_do(groups, train, held_out):
    """Also against `split_target`, with the groups in the order of their names."""
    rows = [(f"{name:02}-{member}", name) for name, size in enumerate(groups) for member in range(size)]
    ids = pl.DataFrame(rows, schema={"doc_id": pl.String, "group": pl.Int64}, orient="row")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(targets, "_keys", lambda values, seed: values.cast(pl.String))
        try:
            split_target(ids.select("doc_id"), ids, train, held_out, 0)
        except TooFewExamplesError as error:
            said = re.findall(r"(train|held_out) to (\d+)( and)?", str(error))
            together = any(joined for _name, _size, joined in said)
            for sizes in [said] if together else [[one] for one in said]:
                asked = {"train": train, "held_out": held_out} | {name: int(size) for name, size, _ in sizes}
                split = split_target(ids.select("doc_id"), ids, **asked, seed=0)["split"]
                assert (split == "train").sum() == asked["train"]


def test_examples_below_one_system_turn_or_header_are_no_near_duplicates():
    system, rng = random_text(random.Random(0), 400), random.Random(1)
    texts = [f"{system}\n\n{random_text(rng, 12)}" for _ in range(40)]
    examples = pl.DataFrame({"doc_id": [*map(document_id, texts)], "text": texts})
    assert near_groups(examples, 0.8)["group"].n_unique() == 40
    short = [f"{system}\n\nWhat is {n}?\n\n{n}" for n in range(40)]
    turns = json.dumps([("system", 0), ("user", len(system) + 2), ("assistant", len(system) + 14)])
    chats = pl.DataFrame({"doc_id": [*map(document_id, short)], "text": short, "turns": [turns] * 40})
    assert near_groups(chats, 0.8)["group"].n_unique() == 40
    assert near_groups(chats.drop("turns"), 0.8)["group"].n_unique() == 1


def test_what_is_in_quarantine_of_a_target_stays_what_its_files_give_and_is_nobody_elses(tmp_path):
    goal, store = tmp_path / "goal", Store(tmp_path / "lance")
    goal.mkdir()
    (goal / "a.jsonl").write_text('{"text": 3}\nbroken\n{"text": "one"}\n')
    (goal / "b.csv").write_text("body\nx\n")
    others = [
        {"shard": shard, "row": 0, "reason": "r", "detail": "", "excerpt": ""}
        for shard in ("goal__a.jsonl", "target/goals/a.jsonl", "target/g_al/a.jsonl")
    ]
    store.append("quarantine", pa.Table.from_pylist(others, schema=schema_of("quarantine")))
    counts = quarantine_of_target(store, "goal", read_target(files_target(), tmp_path)[1])
    assert counts == {"malformed_row": 1, "missing_text_column": 1, "non_text": 1}
    own = store.read("quarantine", where=rows_of_target("goal")).sort("shard", "row")
    assert own.select("shard", "row", "reason").rows() == [
        ("target/goal/a.jsonl", 0, "non_text"),
        ("target/goal/a.jsonl", 1, "malformed_row"),
        ("target/goal/b.csv", -1, "missing_text_column"),
    ]
    assert {target_of_place(shard) for shard in own["shard"]} == {"goal"}
    (goal / "a.jsonl").write_text('{"text": "one"}\n')
    (goal / "b.csv").unlink()
    assert quarantine_of_target(store, "goal", read_target(files_target(), tmp_path)[1]) == {}
    assert set(store.read("quarantine")["shard"]) == {row["shard"] for row in others}
    version = store.version("quarantine")
    quarantine_of_target(store, "goal", read_target(files_target(), tmp_path)[1])
    assert store.version("quarantine") == version
    assert target_of_place("goal__a.jsonl") is None


def test_too_few_examples_say_how_many_rows_could_not_be_read(tmp_path):
    (tmp_path / "goal").mkdir()
    (tmp_path / "goal/a.jsonl").write_text('{"text": "one"}\n{"text": 2}\n')
    examples, quarantine = read_target(files_target(), tmp_path)
    with pytest.raises(TooFewExamplesError, match=r"there are 1 \(rows in quarantine: 1\);"):
        split_target(examples, None, 1, 1, 0, len(quarantine))


def labels(**counts: list[str]) -> pl.DataFrame:
    rows = [(split, label) for split, some in counts.items() for label in some]
    return pl.DataFrame(rows, schema=["split", "label"], orient="row")


def test_labels_that_are_all_the_same_are_refused_with_their_count():
    with pytest.raises(OneLabelError, match="all 3 labelled examples have the same label"):
        require_labels(labels(train=["a", "a"], held_out=["a"], unused=["b"]))
    require_labels(labels(train=["a"], held_out=["b"]))


def test_a_label_that_no_training_example_has_is_told_with_its_count(tmp_path):
    rows = labels(train=["a", "b"], held_out=["c", "a", "c"], unused=["c"])
    assert never_learnt(rows) == {"c": 2}
    assert never_learnt(labels(train=["a"], held_out=["a"])) == {}
    store = Store(tmp_path / "lance")
    assert label_warnings(store) == []
    named = rows.with_columns(target=pl.lit("goal"), doc_id=pl.Series([f"{n:032x}" for n in range(6)]))
    for table in ("target_examples", "target_answers"):
        store.append(table, pa.Table.from_pylist(named.to_dicts(), schema=schema_of(table)))
    (line,) = label_warnings(store)
    assert line.startswith("target goal: label 'c' occurs in 2 held-out examples but in no training example")
