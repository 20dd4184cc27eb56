"""Export gives back all columns of the user's rows with their types."""

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from exports import MADE, TEXTS, exported, rows_of, settings_of, write_corpora
from projects import SmallProject, plain_project, selection, settings, write

from tamis.base.errors import UnknownNameError
from tamis.cli import main
from tamis.corpus import document_id
from tamis.store.schemas import schema_of
from tamis.verbs.elsewhere.export import Extras, NothingToLoadError, export_selection
from tamis.verbs.status import read_status

GOLDEN = Path(__file__).parent / "exported"


@pytest.fixture
def project(exporting: SmallProject) -> SmallProject:
    return exporting


def test_an_export_is_the_golden_one(project):
    lines = export_selection(project.project, "all", "jsonl").path.read_text().splitlines()
    assert lines == (GOLDEN / "all.jsonl").read_text().splitlines()
    done = export_selection(project.project, "all", "parquet")
    assert pq.read_schema(done.path).to_string(truncate_metadata=False) == (GOLDEN / "schema.txt").read_text()
    assert list(done.notes) == [
        'column id: "11" in tables__b.csv and 1 in tables__c.parquet, so parquet and hf store its values '
        "as JSON text",
        'column mixed: 1 in web__a.jsonl and "one" in web__a.jsonl, so parquet and hf store its values '
        "as JSON text",
    ]
    assert not export_selection(project.project, "all", "jsonl").notes
    parquet = rows_of(done.path)
    assert parquet[TEXTS[4]]["at"] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert parquet[TEXTS[4]]["raw"] == b"\x00\xff"
    assert (parquet[TEXTS[4]]["id"], parquet[TEXTS[3]]["id"]) == ("1", '"10"')
    (_table, web) = parquet[TEXTS[0]]["other_origins"]
    assert (web["shard"], web["columns"]["id"], web["columns"]["tags"]) == ("web__a.jsonl", 7, ["a", "b"])


def test_datasets_opens_the_folder_as_it_is(project, tmp_path):
    import datasets

    done = export_selection(project.project, "all", "hf")
    loaded = datasets.load_dataset(str(done.path), cache_dir=str(tmp_path / "cache"))
    expected = pq.read_table(export_selection(project.project, "all", "parquet").path).to_pylist()
    assert loaded["train"].to_list() == expected
    described = json.loads((done.path / "subset.croissant.json").read_text())
    assert described["distribution"][0]["contentUrl"] == "data/train-00000-of-00001.parquet"
    names = [one["name"] for one in described["recordSet"][0]["field"]]
    assert {"id", "day", "price"} & set(names) == {"id", "day"}, "no decimals and nothing nested"


def test_a_folder_without_rows_is_refused_and_a_file_without_rows_is_written(tmp_path):
    languages = '[filters]\nlanguages = ["de"]\n'
    empty = plain_project(tmp_path / "project", settings(languages, selection("none", "random", 5)), {})
    write(
        empty.root / "documents" / "a.jsonl", [json.dumps({"text": text, "language": "en"}) for text in TEXTS]
    )
    empty.make(MADE | {"document_flags"})
    with pytest.raises(NothingToLoadError, match="contains no documents"):
        export_selection(empty.project, "none", "hf")
    assert not empty.home.exports.exists() or not any(empty.home.exports.iterdir())
    for form, read in (("parquet", pl.read_parquet), ("jsonl", Path.read_text)):
        assert len(read(export_selection(empty.project, "none", form).path)) == 0
    assert any(
        "no document is eligible; the budget is 5" in line for line in read_status(empty.project).lines()
    )
    empty.close()


def test_columns_are_chosen_and_a_file_may_be_anywhere(project, tmp_path):
    path = tmp_path / "elsewhere" / "chosen.jsonl"
    export_selection(project.project, "all", "jsonl", ["day", "text"], path)
    assert rows_of(path)[TEXTS[4]] == {"doc_id": document_id(TEXTS[4]), "day": "2026-01-02", "text": TEXTS[4]}
    export_selection(project.project, "all", "jsonl", ["day", "text"], path.parent)
    assert (path.parent / "all.jsonl").read_bytes() == path.read_bytes()
    assert sorted(one.name for one in path.parent.iterdir()) == ["all.jsonl", "chosen.jsonl"]
    described = {one.name.partition(".")[2] for one in project.home.exports.iterdir()}
    assert described == {
        f"{elsewhere}{ending}"
        for elsewhere in ("", "elsewhere.")
        for ending in ("card.md", "croissant.json", "openlineage.jsonl", "prov.json")
    }
    with pytest.raises(UnknownNameError, match="original_rank"):
        export_selection(project.project, "all", "jsonl", ["nothing"], path)


def test_a_column_of_other_documents_of_the_pool_is_null(project, tmp_path):
    path, rows = tmp_path / "chosen.jsonl", project.store.read("kept_rows")
    content = rows.filter(pl.col("row") >= 0)["content"][0].removesuffix("}") + ',"h\xf6he %":1}'
    other = rows.head(1).with_columns(doc_id=pl.lit("f" * 32), content=pl.lit(content))
    project.store.append("kept_rows", other.to_arrow().cast(schema_of("kept_rows")))
    export_selection(project.project, "all", "jsonl", ["h\xf6he %"], path)
    assert {row["h\xf6he %"] for row in map(json.loads, path.read_text().splitlines())} == {None}
    with pytest.raises(UnknownNameError):
        export_selection(project.project, "all", "jsonl", ["h\xf6h_"], path)


def test_the_command_takes_columns_and_a_path(project, monkeypatch, capsys):
    monkeypatch.chdir(project.root)
    assert main(["export", "all", "--columns", "id,day", "--columns=text", "--output", "my.jsonl"]) == 0
    found = capsys.readouterr()
    assert set(rows_of(project.root / "my.jsonl")[TEXTS[4]]) == {"doc_id", "id", "day", "text"}
    assert "my.jsonl: 7 documents" in found.out
    assert "column id" not in found.err, "jsonl has each value as it was"
    assert sorted(one.name for one in project.root.glob("my.*")) == ["my.jsonl"]
    assert f"its data card: {project.home.exports / 'my.card.md'}" in found.err
    assert main(["export", "all", "--columns", "id,day", "--output", "my.parquet", "--with-card"]) == 0
    found = capsys.readouterr()
    assert "column id: " in found.err
    assert "column mixed: " not in found.err, "it is not written"
    assert (project.root / "my.card.md").is_file()
    assert (
        "is outside the folder of exports, so `tamis withdraw` will not remove anything from it" in found.err
    )
    (project.home.exports / "link").parent.mkdir(exist_ok=True)
    (project.home.exports / "link").symlink_to(project.root)
    linked = project.home.exports / "link" / "linked.jsonl"
    assert main(["export", "all", "--output", str(linked)]) == 0
    assert "is outside the folder of exports" in capsys.readouterr().err, "a withdrawal follows no links"
    assert main(["export", "all", "--columns", "ids"]) != 0
    assert "unknown column 'ids'; valid: at, body, day" in capsys.readouterr().err


def test_exports_of_an_earlier_choice_are_named_whatever_their_format(project):
    for form in ("parquet", "jsonl", "hf"):
        export_selection(project.project, "all", form)
    export_selection(project.project, "all", "jsonl", extras=Extras(scores=True))
    assert not _out_of_date(project)
    project.reconfigure("budget = 100", "budget = 3")
    project.make(MADE)
    assert [line.split("; ")[0].split(": ")[-1] for line in _out_of_date(project)] == [
        "all.hf",
        "all.parquet",
        "all.jsonl",
        "all.scores.jsonl",
    ]
    assert "run `tamis export all --format jsonl --with-scores`" in _out_of_date(project)[-1]
    done = export_selection(project.project, "all", "jsonl", extras=Extras(scores=True))
    scored = [json.loads(line) for line in done.path.read_text().splitlines()]
    assert [row["verdict"] for row in scored] == ["selected"] * 3 + ["rejected"] * 4
    assert {row["reason"] for row in scored[3:]} == {"over_budget"}
    export_selection(project.project, "all", "jsonl")
    (folder, parquet) = _out_of_date(project)
    assert "the export of all is out of date: all.hf; run `tamis export all --format hf`" in folder
    assert "all.prov.json does not list all.parquet, so it may be out of date" in parquet
    export_selection(project.project, "all", "parquet")
    export_selection(project.project, "all", "hf")
    assert not _out_of_date(project)


def _out_of_date(project: SmallProject) -> list[str]:
    return [line for line in read_status(project.project).warnings if "out of date" in line]


def own(row: dict) -> set[str]:
    known = {"doc_id", "rank", "margin", "shard", "row", "source", "licence", "text", "other_origins"}
    return {name for name in row if name not in known}


@pytest.mark.parametrize(("keep", "expected"), [(False, set()), (["id", "vector"], {"id", "vector"})])
def test_only_the_columns_that_a_corpus_keeps_come_out(project, keep, expected):
    versions = project.versions()
    project.configure(settings_of(keep_columns=keep))
    project.make(MADE)
    changed = {entry for entry, version in project.versions().items() if versions[entry] != version}
    # Their long and nested values leave the metadata; nothing that follows is different.
    assert changed == {("documents", "web__a.jsonl")}
    assert own(exported(project)[TEXTS[4]]) == expected
    stored = project.store.read("kept_rows").filter(pl.col("row") >= 0)["content"]
    assert {name for content in stored for name in json.loads(content)} == expected


def test_rows_of_an_older_home_are_read_again_from_unchanged_files(project):
    before = exported(project)
    project.store.drop("kept_rows")
    assert exported(project) == before
    csv = project.root / "tables" / "b.csv"
    csv.write_text(csv.read_text().replace("spam", "eggs"))
    done = export_selection(project.project, "all", "jsonl")
    assert rows_of(done.path)[TEXTS[3]].get("label") is None
    assert rows_of(done.path)[TEXTS[4]] | {"label": None} == before[TEXTS[4]]
    (note,) = done.notes
    assert "rows exported without your own columns: 2." in note
    assert "tables__b.csv" in note


@pytest.mark.slow
def test_rows_follow_their_files_and_nothing_is_made_of_them(project):
    versions = project.versions()
    project.make(MADE)
    state = project.state()
    project.make(MADE)
    assert project.state() == state
    (project.root / "tables" / "c.parquet").unlink()
    project.make(MADE)
    assert "tables__c.parquet" not in set(project.store.read("kept_rows")["shard"])
    assert project.audit().status == "green"
    write_corpora_again(project.root)
    project.make(MADE)
    assert project.versions() == versions
    project.assert_sound(of=MADE)


def write_corpora_again(root: Path) -> None:
    other = root / "again"
    write_corpora(other)
    (other / "tables" / "c.parquet").rename(root / "tables" / "c.parquet")


def test_a_row_that_was_altered_is_found(project):
    rows = project.store.read_arrow("kept_rows", where="row = 0 AND shard = 'tables__b.csv'").to_pylist()
    project.store.merge_values("kept_rows", [rows[0] | {"content": '{"label":"eggs"}'}])
    found = project.audit()
    assert found.status == "red"
