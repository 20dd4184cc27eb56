"""Contamination kept current by shard: whatever came and went, it is that of reading the whole pool."""

import random

import pyarrow as pa
import pytest
from leaks_at_once import find_contaminated
from stored_shards import add_shard, remove_shard

from tamis.corpus import document_id
from tamis.selection.leaks import RUNS, TABLE, update_contamination
from tamis.settings.config import DecontaminationSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

SECTION = DecontaminationSection(ngram=5, maximum_share=0.1)
HELD_OUT = [" ".join(f"w{number}" for number in range(start, start + 12)) for start in range(0, 120, 12)]
TEMPLATE = "this sentence occurs in very many of the documents"


def a_text(rng):
    own = " ".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=12))
    leak = rng.choice(HELD_OUT) if rng.random() < 0.3 else ""
    return f"{own} {leak} {TEMPLATE if rng.random() < 0.5 else ''}".strip()


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path)
    rows = [
        {
            "target": "t",
            "doc_id": document_id(text),
            "split": "held_out",
            "text": f"{text} {TEMPLATE}",
            "source": "",
        }
        for text in HELD_OUT
    ]
    made.insert_new("target_examples", pa.Table.from_pylist(rows, schema=schema_of("target_examples")))
    return made


def found(store):
    return sorted(store.read(TABLE, ["doc_id"], "target = 't'")["doc_id"])


def expected(store):
    pool = store.read("documents", ["doc_id", "text"])
    held_out = [f"{text} {TEMPLATE}" for text in HELD_OUT]
    return sorted(find_contaminated(pool["doc_id"], pool["text"], held_out, 5, 0.1)["doc_id"])


@pytest.mark.parametrize("seed", range(4))
def test_shards_that_come_change_and_go(store, seed):
    rng = random.Random(seed)
    shards = {}
    for step in range(6):
        name = f"s{rng.randint(0, 3)}"
        if name in shards and rng.random() < 0.4:
            remove_shard(store, name)
            del shards[name]
            changed = []
        else:
            remove_shard(store, name) if name in shards else None
            shards[name] = [a_text(rng) for _ in range(rng.randint(0, 40))]
            add_shard(store, name, shards[name])
            changed = [name]
        update_contamination(store, "t", SECTION, changed if step else None)
        assert found(store) == expected(store)
    assert found(store), "the case must have something to find"


def test_a_run_that_becomes_a_template_counts_no_more_and_counts_again_when_it_is_rare(store):
    leaked = f"mine {HELD_OUT[0]}"
    add_shard(store, "a", [leaked])
    update_contamination(store, "t", SECTION)
    assert found(store) == [document_id(leaked)]
    add_shard(store, "b", [f"{HELD_OUT[0]} copy {number}" for number in range(20)])
    assert update_contamination(store, "t", SECTION, ["b"]).read == 20
    assert found(store) == expected(store) == []
    remove_shard(store, "b")
    assert update_contamination(store, "t", SECTION, []).read == 0
    assert found(store) == [document_id(leaked)]


def test_the_kept_runs_are_hashes_and_hold_no_text(store):
    add_shard(store, "a", [f"mine {HELD_OUT[0]}"])
    update_contamination(store, "t", SECTION)
    assert store.schema(RUNS).names == ["target", "doc_id", "runs", "left_out_mark"]
    assert store.schema(RUNS).field("runs").type == pa.list_(pa.uint64())


HEAD = " ".join(f"h{number}" for number in range(60))
OWN = [" ".join(f"own{number}x{word}" for word in range(12)) for number in range(40)]


def hold_out(store, texts):
    rows = [{"target": "t", "doc_id": document_id(text), "split": "held_out", "text": text} for text in texts]
    store.append("target_examples", pa.Table.from_pylist(rows, schema=schema_of("target_examples")))


@pytest.fixture
def pool(tmp_path):
    """A store of many documents that share nothing."""
    made = Store(tmp_path)
    add_shard(made, "others", [" ".join(f"o{number}x{word}" for word in range(9)) for number in range(400)])
    return made


def test_a_header_that_examples_and_a_file_share_is_no_leak_and_what_stands_below_it_is(pool):
    examples = [f"{HEAD} {' '.join(f'e{number}x{word}' for word in range(12))}" for number in range(30)]
    hold_out(pool, examples)
    leaked = f"{HEAD} {OWN[0]} {examples[3].removeprefix(HEAD)}"
    add_shard(pool, "a", [*(f"{HEAD} {own}" for own in OWN[1:12]), leaked])
    update_contamination(pool, "t", SECTION)
    assert found(pool) == [document_id(leaked)]


def test_a_header_of_a_file_is_no_leak_of_the_one_example_that_has_it(pool):
    hold_out(pool, [f"{HEAD} and what the example says below it"])
    add_shard(pool, "a", [f"{HEAD} {own}" for own in OWN])
    update_contamination(pool, "t", SECTION)
    assert found(pool) == []


def test_what_a_file_comes_to_share_is_left_out_of_its_documents_in_other_files_too(pool):
    hold_out(pool, [f"{HEAD} alone"])
    texts = [f"{HEAD} {own}" for own in OWN[:12]]
    add_shard(pool, "a", texts[:2])
    update_contamination(pool, "t", SECTION)
    assert len(found(pool)) == 2
    add_shard(pool, "b", texts)
    assert update_contamination(pool, "t", SECTION, ["b"]).read == 12
    assert found(pool) == []
    remove_shard(pool, "b")
    assert update_contamination(pool, "t", SECTION, []).read == 2
    assert len(found(pool)) == 2
