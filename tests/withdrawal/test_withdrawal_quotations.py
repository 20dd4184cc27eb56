"""Texts that are keys, names of columns, or parts of other rows: erased where they are whole, else named."""

import json
import unicodedata

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from projects import rows_of
from withdrawal_home import IDS, TEXTS, made_home

from tamis.corpus.documents import read_shard
from tamis.corpus.intake import store_shards
from tamis.corpus.refusing import heading_without, schema_without, texts_among, texts_of_schema, without_texts
from tamis.corpus.shards import Shard
from tamis.readers.kept_columns import read_heading
from tamis.readers.text import document_id
from tamis.settings.config import CorpusSection
from tamis.withdrawal.asking import Asking, WithdrawalReason
from tamis.withdrawal.places import files_holding, purge_exports
from tamis.withdrawal.quotations import files_quoting, is_long_enough, plain, quotations
from tamis.withdrawal.telling import withdrawn_json, withdrawn_lines
from tamis.withdrawal.verifying import verify
from tamis.withdrawal.withdrawing import withdraw

TEXT = 'A text that is "long" enough to be no name,\nand that has two lines.'
ID = document_id(TEXT)
LONG = " ".join(f"word{number}" for number in range(60))


def keep(home, doc_id: str, row: int, **values) -> None:
    """Keep columns of a row of web__a, and the beginning of each value beside its place."""
    content = json.dumps(values, ensure_ascii=False)
    rows = [{"shard": "web__a", "row": row, "doc_id": doc_id, "content": content}]
    home.store.merge("kept_rows", rows_of("kept_rows", rows))
    shown = {name: value[:200] if isinstance(value, str) else value for name, value in values.items()}
    place = {"shard": "web__a", "row": row, "doc_id": doc_id, "source": "a", "metadata": json.dumps(shown)}
    home.store.merge("occurrences", rows_of("occurrences", [place]), key=("shard", "row"))


def with_document(folder, text: str = TEXT):
    home = made_home(folder)
    home.store.append("documents", rows_of("documents", [{"doc_id": document_id(text), "text": text}]))
    return home


def take_back(home, text: str = TEXT):
    asking = Asking(store=home.store)
    asking.text(text, "the text")
    return withdraw(home, asking.done(), WithdrawalReason.OWNER_REQUEST)


def test_a_text_is_found_and_erased_as_a_key_at_any_depth():
    within = json.dumps({TEXT: 1, "n": [2]})
    values = {"a": {TEXT: {"b": 1}, "c": [{f" {TEXT}\r\n": None, "d": 3}]}, "e": within, within: 7, TEXT: 8}
    assert list(texts_among(values, {ID})) == [ID] * 5
    assert without_texts(values, {ID}) == {"a": {"c": [{"d": 3}]}, "e": '{"n": [2]}'}
    assert list(texts_among({"spam": 1}, {document_id("spam")})) == [], "a short key is a name"


def test_keys_of_other_rows_leave_with_the_text(tmp_path):
    home = with_document(tmp_path)
    keep(home, IDS[0], 0, answers={TEXT: "yes", "other": "no"}, n=1)
    keep(home, IDS[1], 1, **{TEXT: 5})
    assert any("kept_rows" in line for line in verify_after_row(home))
    take_back(home)
    assert home.store.read("kept_rows").sort("row")["content"].to_list() == [
        '{"answers": {"other": "no"}, "n": 1}',
        "{}",
    ]
    assert not any("enough" in one for one in home.store.read("occurrences")["metadata"].drop_nulls())
    assert verify(home).holds
    assert verify(home, TEXT).holds


def verify_after_row(home) -> list[str]:
    """Return the problems if the document were withdrawn and nothing had been erased."""
    from tamis.withdrawal.purging import copies_in_columns

    return [f"{table}: {len(rows)}" for table, rows in copies_in_columns(home.store, [ID]).items()]


def test_the_beginning_of_a_long_value_leaves_beside_a_short_one(tmp_path):
    home = with_document(tmp_path, LONG)
    home.store.append("documents", rows_of("documents", [{"doc_id": ID, "text": TEXT}]))
    keep(home, IDS[0], 0, long=LONG, short=TEXT)
    asking = Asking(store=home.store)
    asking.ids([ID, document_id(LONG)])
    withdraw(home, asking.done(), WithdrawalReason.OWNER_REQUEST)
    shown = home.store.read("occurrences")["metadata"].drop_nulls()
    assert shown.to_list() == ['{"long": null, "short": null}']


def schema(metadata=None) -> pa.Schema:
    nested = pa.list_(pa.struct([(TEXT, pa.int64()), ("b", pa.string())]))
    return pa.schema([("n", pa.int64()), ("deep", nested), (TEXT, pa.int64())], metadata=metadata)


def test_names_of_columns_leave_a_schema_and_a_heading(tmp_path):
    features = {b"huggingface": json.dumps({"names": [TEXT, "other"], TEXT: 1}).encode()}
    assert list(texts_of_schema(schema(features), {ID})) == [ID] * 4
    left = schema_without(schema(features), {ID})
    assert left.names == ["n"]
    assert json.loads(left.metadata[b"huggingface"]) == {"names": [None, "other"]}
    path = tmp_path / "rows.parquet"
    pq.write_table(schema().empty_table(), path)
    section = CorpusSection(name="web", kind="files", path=".")
    shard = Shard(corpus="web", name="rows.parquet", key="web__rows.parquet", kind="file", path=path)
    heading = next(iter(read_shard(shard, section))).heading
    cleared, shown = heading_without(heading, {ID})
    assert set(shown) == {ID}
    assert [*read_heading(cleared).types] == ["n"]
    assert heading_without(cleared, {ID}) == (cleared, [])


def test_a_column_called_like_a_text_is_erased_and_refused_when_the_file_comes_again(tmp_path):
    home = with_document(tmp_path / "home")
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["A row that is a document."], "n": [1], TEXT: [2]}), path)
    section = CorpusSection(name="web", kind="files", path=".")
    shard = Shard(corpus="web", name="rows.parquet", key="web__rows.parquet", kind="file", path=path)

    def read_in() -> list:
        stored = store_shards(home.store, [(shard.key, read_shard(shard, section))])
        return [one for some in stored for one in some]

    read_in()
    take_back(home)
    contents = home.store.read("kept_rows").sort("row")["content"]
    assert [*read_heading(contents[0]).types] == ["text", "n"]
    assert json.loads(contents[1]) == {"n": 1}
    places = home.store.read("withdrawn_places").filter(shard=shard.key).sort("row")
    assert places["row"].to_list() == [-1, 0]
    (intake,) = read_in()
    assert intake.refused == {ID}
    assert home.store.read("kept_rows").sort("row")["content"].equals(contents)
    assert home.store.read("withdrawn_places").filter(shard=shard.key).sort("row").equals(places)


def test_an_export_loses_columns_and_rows_that_hold_the_text_as_a_name(tmp_path):
    home = made_home(tmp_path)
    home.exports.mkdir(parents=True)
    rows = pa.table({"doc_id": IDS[:2], "text": TEXTS[:2], "n": [1, 2], TEXT: [3, 4]})
    pq.write_table(rows, home.exports / "near.parquet")
    lines = [{"doc_id": IDS[0], "answers": {TEXT: 1}}, {"doc_id": IDS[1], "answers": {}}]
    (home.exports / "near.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert len(list(files_holding(home, [ID]))) == 2
    purged = {one.path for one in purge_exports(home, [ID], [])}
    assert purged == {"exports/near.parquet", "exports/near.jsonl"}
    assert pq.read_table(home.exports / "near.parquet").equals(rows.drop_columns([TEXT]))
    assert json.loads((home.exports / "near.jsonl").read_text()) == lines[1]
    assert list(files_holding(home, [ID])) == []


def test_rows_that_quote_a_withdrawn_text_are_named_by_the_command_and_by_verify(tmp_path):
    home = with_document(tmp_path)
    quoting = f"She said: {TEXT} Then she left."
    keep(home, IDS[0], 0, answer=f"As in {TEXT}?", n=1)
    keep(home, IDS[1], 1, chat=json.dumps([{"content": f"> {TEXT}\nNo."}]), **{f"about {TEXT}": 2})
    other = document_id(quoting)
    home.store.append("documents", rows_of("documents", [{"doc_id": other, "text": quoting}]))
    done = take_back(home)
    found = {(one.doc_id, one.table, one.column.partition(" ")[0]) for one in done.quotations}
    assert found >= {
        (IDS[0], "kept_rows", "content"),
        (IDS[1], "kept_rows", "content"),
        (other, "documents", "text"),
    }
    assert {one["doc_id"] for one in withdrawn_json(done, [])["quotations"]} == {IDS[0], IDS[1], other}
    said = "\n".join(withdrawn_lines(done, [], False))
    assert "column content (value 'answer'), web__a row 0); to withdraw it too, run `tamis withdraw" in said
    assert "(value 'chat', a key)" in said
    assert "enough" not in said, "no text is shown"
    plainly = verify(home)
    assert plainly.holds
    assert "nothing was found" in plainly.lines()[0]
    assert "quotations in other rows were not looked for, for which --verify needs" in plainly.lines()[0]
    with_text = verify(home, TEXT)
    named = {line.split()[1] for line in with_text.problems if line.startswith("document")}
    assert named == {IDS[0], IDS[1], other}
    asking = Asking(store=home.store)
    asking.ids([other, IDS[0], IDS[1]])
    withdraw(home, asking.done(), WithdrawalReason.OWNER_REQUEST)
    again = verify(home, TEXT)
    assert again.holds
    assert "no trace is left in the home folder" in again.lines()[0]
    assert "the given text in every string of all tables, in exports and in receipts" in again.lines()[0]


def test_other_columns_of_any_table_are_searched(tmp_path):
    home = with_document(tmp_path)
    place = {"shard": "web__b", "row": 7, "doc_id": IDS[3], "source": f"quoted: {TEXT}"}
    home.store.append("occurrences", rows_of("occurrences", [place]))
    take_back(home)
    (problem,) = verify(home, TEXT).problems
    found = f"document {IDS[3]} holds the text of {ID} (table occurrences, column source, web__b row 7)"
    assert problem.startswith(found)


def test_a_near_copy_is_named_and_is_no_problem(tmp_path):
    home = with_document(tmp_path, LONG)
    near = LONG.replace("word59", "another end")
    home.store.append("documents", rows_of("documents", [{"doc_id": document_id(near), "text": near}]))
    take_back(home, LONG)
    found = verify(home, LONG)
    assert found.holds
    (copy,) = found.near_copies
    assert copy.startswith(f"document {document_id(near)} holds 98 % of the runs of five words")
    assert verify(home, " ".join(reversed(LONG.split()))).near_copies == []


def test_a_short_text_counts_as_a_name(tmp_path):
    home = with_document(tmp_path, "spam")
    home.store.append("documents", rows_of("documents", [{"doc_id": IDS[0][::-1], "text": "spam and eggs"}]))
    take_back(home, "spam")
    assert not is_long_enough("spam")
    assert [*quotations(home.store, {"x": "spam"})] == []
    found = verify(home, "spam")
    assert found.holds
    assert "a text under 24 characters counts as a name" in found.lines()[0]


@pytest.mark.parametrize("name", ["near.jsonl.gz", "notes/near.parquet", "card.md"])
def test_files_of_exports_that_quote_the_text_are_named(tmp_path, name):
    import gzip

    home = made_home(tmp_path)
    path = home.exports / name
    path.parent.mkdir(parents=True)
    if name.endswith("parquet"):
        pq.write_table(pa.table({"quote": [f"x {TEXT} y"], "n": [1]}), path)
    else:
        line = json.dumps({"quote": f"x {TEXT} y"}).encode()
        path.write_bytes(gzip.compress(line) if name.endswith("gz") else line)
    assert [line.split()[0] for line in files_quoting(home, TEXT, [])] == [f"exports/{name}"]
    assert list(files_quoting(home, LONG, [])) == []


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_quotation_with_accents_in_two_characters_is_found(tmp_path, ascii_only):
    text = "Ein schöner Satz über Äpfel, länger als ein Name."
    home = with_document(tmp_path, text)
    quoted = json.dumps({"said": unicodedata.normalize("NFD", f"x {text}")}, ensure_ascii=ascii_only)
    place = {"shard": "web__b", "row": 7, "doc_id": IDS[3], "source": "b", "metadata": quoted}
    home.store.append("occurrences", rows_of("occurrences", [place]))
    (found,) = quotations(home.store, {document_id(text): text})
    assert (found.doc_id, found.column) == (IDS[3], "metadata (value 'said')")


WRITTEN = {
    "a field of CSV": lambda text: '1,"' + text.replace('"', '""') + '",2',
    "soft hyphens": lambda text: text.replace("enough", "eno\u00adugh"),
    "a byte-order mark": lambda text: text.replace("\n", "\n\ufeff"),
    "JSON within JSON": lambda text: json.dumps(json.dumps([text])),
}


@pytest.mark.parametrize("how", WRITTEN)
def test_a_text_is_found_however_it_is_written(how):
    assert plain(pl.Series([TEXT]))[0] in plain(pl.Series([WRITTEN[how](TEXT)]))[0]
