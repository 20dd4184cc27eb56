"""What stored files share: whatever came and went, near-duplicates are those of all documents at once."""

import random

import polars as pl
import pyarrow as pa
import pytest
from near_texts import SYSTEM, chats, doc_id, edited, random_text
from test_near_index import rows_of

from tamis.corpus import repeats
from tamis.corpus.repeats import INDEX, SHARED_TEXT, mostly_shared, read_shared_text, update_near_duplicates
from tamis.duplicates.near_duplicates import find_near_duplicates
from tamis.duplicates.shared_text import system_turn
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, one_of, quoted


def put(store, shard, texts, turn=""):
    """Store the documents of a file; `turn`: the system turn that each begins with."""
    rows = [{"doc_id": doc_id(text), "text": text, "n_chars": len(text)} for text in texts]
    store.insert_new("documents", pa.Table.from_pylist(rows, schema=schema_of("documents")))
    noted = {"system_turn": system_turn(turn), "system_turn_end": len(turn)} if turn else {}
    places = [{"doc_id": doc_id(text), "shard": shard, "row": row} | noted for row, text in enumerate(texts)]
    rows = pa.Table.from_pylist(places, schema=schema_of("occurrences"))
    store.replace("occurrences", rows, f"shard = {quoted(shard)}")


def take(store, shard):
    store.delete("occurrences", f"shard = {quoted(shard)}")
    held = store.read("occurrences", ["doc_id"])["doc_id"]
    gone = [one for one in store.read("documents", ["doc_id"])["doc_id"] if one not in set(held)]
    for table in ("documents", INDEX):
        if gone and store.exists(table):
            store.delete(table, one_of("doc_id", gone))


def put_files(store, texts):
    """Store a document a file; `texts` by the name of the file."""
    ids = {name: (f"web__{number}", doc_id(text)) for number, (name, text) in enumerate(texts.items())}
    rows = {
        "documents": [
            {"doc_id": doc_id(text), "text": text, "n_chars": len(text)} for text in texts.values()
        ],
        "occurrences": [{"doc_id": one, "shard": shard, "row": 0} for shard, one in ids.values()],
        "shard_files": [{"shard": ids[name][0], "corpus": "web", "name": name} for name in texts],
    }
    for table, some in rows.items():
        store.append(table, pa.Table.from_pylist(some, schema=schema_of(table)))


def afresh(store, folder):
    """Near-duplicates of what is stored, in a store that has never held anything else."""
    other = Store(folder)
    for table in ("documents", "occurrences", "shard_files"):
        rows = store.read(table).to_arrow().cast(schema_of(table))
        other.append(table, rows)
    update_near_duplicates(other, 0.8)
    return rows_of(other), read_shared_text(other).documents


FILES = {
    "web__chats.jsonl": chats(40),
    "web__more.jsonl": [*chats(6, seed=1), *chats(30, seed=2)],
    "web__plain.jsonl": [text[len(SYSTEM) + 2 :] for text in chats(40)[:12]],
    "web__copies.jsonl": [edited(random.Random(n), f"{SYSTEM} {n}", 2) for n in range(20)],
    "web__others.jsonl": [random_text(random.Random(n), 50) for n in range(30)],
}


@pytest.mark.parametrize("seed", range(3))
def test_files_that_come_and_go_in_any_order_leave_what_all_at_once_give(tmp_path, seed):
    rng, store, there = random.Random(seed), Store(tmp_path / "one"), set()
    for step in range(5):
        name = rng.choice(sorted(FILES))
        if name in there and rng.random() < 0.6:
            take(store, name)
            there.remove(name)
        else:
            put(store, name, FILES[name])
            there.add(name)
        update_near_duplicates(store, 0.8)
        found, documents = afresh(store, tmp_path / f"afresh-{step}")
        assert rows_of(store) == found
        assert read_shared_text(store).documents.equals(documents)


def test_chats_below_one_prompt_are_kept_and_those_without_it_are_repeats_of_them(tmp_path):
    store = Store(tmp_path)
    put(store, "web__chats.jsonl", FILES["web__chats.jsonl"])
    assert update_near_duplicates(store, 0.8).dropped == 0
    assert len(mostly_shared(store)) == 40
    put(store, "web__plain.jsonl", FILES["web__plain.jsonl"])
    assert update_near_duplicates(store, 0.8).dropped == 12
    take(store, "web__plain.jsonl")
    assert update_near_duplicates(store, 0.8).dropped == 0


def test_only_the_file_that_changed_is_looked_at_and_hashed_again(tmp_path, monkeypatch):
    store, looked = Store(tmp_path), []
    look_at = repeats._look_at
    monkeypatch.setattr(
        repeats,
        "_look_at",
        lambda store, sample: looked.append(set(sample["unit"])) or look_at(store, sample),
    )
    for name in ("web__chats.jsonl", "web__others.jsonl"):
        put(store, name, FILES[name])
        update_near_duplicates(store, 0.8)
    version = store.version(SHARED_TEXT)
    assert update_near_duplicates(store, 0.8).hashed == 0
    assert looked == [{"shard web__chats.jsonl"}, {"shard web__others.jsonl"}, set()]
    assert store.version(SHARED_TEXT) == version


def test_a_home_of_before_is_not_hashed_again_where_nothing_is_shared(tmp_path):
    store = Store(tmp_path)
    put(store, "web__others.jsonl", FILES["web__others.jsonl"])
    update_near_duplicates(store, 0.8)
    rows = store.read(INDEX).drop("left_out").to_arrow()
    fields = [field for field in schema_of(INDEX, len(rows["bands"][0])) if field.name != "left_out"]
    store._connect().create_table(INDEX, rows.cast(pa.schema(fields)), mode="overwrite")
    store.changed(INDEX)
    assert len(mostly_shared(store)) == 0
    assert update_near_duplicates(store, 0.8).hashed == 0
    put(store, "web__chats.jsonl", FILES["web__chats.jsonl"])
    assert update_near_duplicates(store, 0.8).hashed == 40
    assert len(mostly_shared(store)) == 40


def test_a_system_turn_counts_as_shared_from_two_conversations_on_in_any_file(tmp_path):
    store = Store(tmp_path)
    one, other = chats(2, words=4)
    put(store, "web__a.jsonl", [one], turn=f"{SYSTEM}\n\n")
    assert read_shared_text(store).documents.is_empty()
    update_near_duplicates(store, 0.8)
    put(store, "web__b.jsonl", [other], turn=f"{SYSTEM}\n\n")
    update = update_near_duplicates(store, 0.8)
    assert (update.hashed, update.dropped) == (2, 0)
    take(store, "web__b.jsonl")
    assert update_near_duplicates(store, 0.8).hashed == 1
    assert read_shared_text(store).documents.is_empty()


@pytest.mark.parametrize(
    ("names", "shared"),
    [
        ([f"pages/{n}.json" for n in range(30)], 30),
        ([f"{n}/page.json" for n in range(30)], 30),
        ([f"pages/{n}.json" for n in range(9)], 0),
    ],
    ids=["one folder", "a folder each", "too few"],
)
def test_files_of_one_document_count_together(tmp_path, names, shared):
    store = Store(tmp_path)
    put_files(store, dict(zip(names, chats(len(names)), strict=True)))
    update = update_near_duplicates(store, 0.8)
    assert len(read_shared_text(store).documents) == shared
    assert update.dropped == (0 if shared else len(names) - 1)


def test_files_of_other_folders_do_not_hide_what_one_shares(tmp_path):
    store = Store(tmp_path)
    put_files(
        store,
        {f"few/{number}.txt": text for number, text in enumerate(chats(12))}
        | {f"many/{number}.txt": random_text(random.Random(number), 30) for number in range(200)},
    )
    assert update_near_duplicates(store, 0.8).dropped == 0


def test_of_a_document_in_several_files_the_text_that_any_shares_is_left_out(tmp_path):
    store, texts = Store(tmp_path), FILES["web__chats.jsonl"]
    put(store, "web__a.jsonl", texts)
    put(store, "web__b.jsonl", [*FILES["web__others.jsonl"], *texts[:2]])
    assert update_near_duplicates(store, 0.8).dropped == 0


def test_a_run_that_dies_after_the_table_is_made_good_when_the_file_has_left_again(tmp_path, monkeypatch):
    """The table says what the index does not yet say, of documents that are compared otherwise once more."""
    store, texts = Store(tmp_path), FILES["web__chats.jsonl"]
    put(store, "web__a.jsonl", [*texts[:5], *FILES["web__others.jsonl"]])
    assert update_near_duplicates(store, 0.8).dropped == 4
    put(store, "web__b.jsonl", texts)

    def dies(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(repeats, "_write_index", dies)
        with pytest.raises(KeyboardInterrupt):
            update_near_duplicates(store, 0.8)
    take(store, "web__b.jsonl")
    assert update_near_duplicates(store, 0.8).dropped == 4


def test_only_hashes_of_texts_are_kept(tmp_path):
    store = Store(tmp_path)
    put(store, "web__a.jsonl", FILES["web__chats.jsonl"], turn=f"{SYSTEM}\n\n")
    update_near_duplicates(store, 0.8)
    tables = [store.read(name) for name in store.names() if name != "documents"]
    assert SYSTEM.split()[0] not in "".join(pl.DataFrame(table).write_json() for table in tables)


def test_near_duplicates_are_those_of_the_own_words(tmp_path):
    store, texts = Store(tmp_path), [*FILES["web__chats.jsonl"], *FILES["web__copies.jsonl"]]
    put(store, "web__a.jsonl", texts)
    update_near_duplicates(store, 0.8)
    documents = store.read("documents", ["doc_id", "text"]).sort("doc_id")
    own = read_shared_text(store).compared(documents)
    expected = find_near_duplicates(own["doc_id"].to_list(), own["text"].to_list())
    assert rows_of(store) == expected.with_columns(pl.col("jaccard").cast(pl.Float32)).rows()
    assert own["left_out"].count() == 40
