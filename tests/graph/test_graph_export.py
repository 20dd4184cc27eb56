"""Export gives back all columns of the user's rows with their types; nothing is kept of what left."""

import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from projects import SmallProject, corpus, plain_project, selection, settings, texts, write

from tamis import exporting
from tamis.base.errors import UnknownNameError
from tamis.cli import main
from tamis.corpus import document_id
from tamis.exporting import ExportPathError, NothingToLoadError, export_selection
from tamis.status import read_status
from tamis.withdrawal.since import WithdrawnSinceError
from tamis.withdrawal.verifying import verify

GOLDEN = Path(__file__).parent / "exported"
MADE = frozenset({"raw_shards", "documents", "near_duplicates", "selected_subset"})
TEXTS = texts("cooking", 9)
LONG = "x" * 70_000


def write_corpora(root: Path) -> None:
    """JSON with nested and mixed values, CSV, and Parquet with types of its own; a text in all."""
    rows = [
        {
            "text": TEXTS[0],
            "id": 7,
            "source": "blog",
            "tags": ["a", "b"],
            "meta": {"by": "Ann", "votes": [1, 2]},
        },
        {"text": TEXTS[1], "id": 8, "source": "news", "tags": [], "meta": {"by": None}, "mixed": 1},
        {"text": TEXTS[2], "id": 9, "mixed": "one", "licence": ["MIT", "CC0-1.0"], "rank": 99, "long": LONG},
    ]
    write(root / "web" / "a.jsonl", [json.dumps(row) for row in rows])
    (root / "tables").mkdir()
    (root / "tables" / "b.csv").write_text(f'body,label,id\n"{TEXTS[3]}",spam,10\n"{TEXTS[0]}",ham,11\n')
    table = {
        "body": pa.array([TEXTS[4], TEXTS[0], TEXTS[5]]),
        "id": pa.array([1, 2, None], pa.int16()),
        "day": pa.array([date(2026, 1, 2), None, date(1969, 7, 20)]),
        "at": pa.array([datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), None, None], pa.timestamp("ms", "UTC")),
        "price": pa.array([Decimal("1.50"), Decimal("2.25"), None]),
        "vector": pa.array([[0.5, 1.0], [2.0, 3.0], None], pa.list_(pa.float32())),
        "raw": pa.array([b"\x00\xff", None, b"ok"]),
    }
    pq.write_table(pa.table(table), root / "tables" / "c.parquet")
    (root / "tables" / "d.txt").write_text(TEXTS[6])


def settings_of(**more) -> str:
    return settings(
        corpus("web", "web", **more),
        corpus("tables", "tables", text_column="body", **more),
        selection("all", "random", 100),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Iterator[SmallProject]:
    """A project with these corpora, made."""
    root = tmp_path_factory.mktemp("exporting") / "project"
    write_corpora(root)
    project = plain_project(root, settings_of(), {})
    project.make(MADE)
    yield project
    project.close()


@pytest.fixture
def project(tmp_path, made, nowhere) -> Iterator[SmallProject]:
    """A copy of it that a test may change."""
    copied = made.copy(tmp_path / "project")
    yield copied
    copied.close()


def rows_of(path: Path) -> dict[str, dict]:
    """Return the rows of a file by their text."""
    read = [json.loads(line) for line in path.read_text().splitlines()] if path.suffix == ".jsonl" else None
    return {row["text"]: row for row in read or pq.read_table(path).to_pylist()}


def exported(project: SmallProject, form: str = "jsonl", **more) -> dict[str, dict]:
    return rows_of(export_selection(project.project, "all", form, **more).path)


def test_an_export_is_the_golden_one(project):
    lines = export_selection(project.project, "all", "jsonl").path.read_text().splitlines()
    assert lines == (GOLDEN / "all.jsonl").read_text().splitlines()
    done = export_selection(project.project, "all", "parquet")
    assert pq.read_schema(done.path).to_string(truncate_metadata=False) == (GOLDEN / "schema.txt").read_text()
    assert list(done.notes) == [
        "values of several types are in these columns, so parquet and hf store them as JSON text: id, mixed"
    ]
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
    assert not project.home.exports.exists()
    with pytest.raises(UnknownNameError, match="original_rank"):
        export_selection(project.project, "all", "jsonl", ["nothing"], path)


def test_the_command_takes_columns_and_a_path(project, monkeypatch, capsys):
    monkeypatch.chdir(project.root)
    assert main(["export", "all", "--columns", "id,day", "--columns=text", "--output", "my.jsonl"]) == 0
    found = capsys.readouterr()
    assert set(rows_of(project.root / "my.jsonl")[TEXTS[4]]) == {"doc_id", "id", "day", "text"}
    assert "my.jsonl: 7 documents" in found.out
    assert "store them as JSON text: id, mixed" in found.err
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


def test_a_folder_of_others_is_not_replaced(project, tmp_path):
    folder = tmp_path / "mine"
    write(folder / "thesis.tex", ["years of work"])
    with pytest.raises(ExportPathError, match="thesis"):
        export_selection(project.project, "all", "hf", output=folder)
    (folder / "thesis.tex").unlink()
    for name in ("README.md", "data/train.csv", "data/train-00000-of-00001.parquet", "data/more/a.jsonl"):
        write(folder / name, ["years of work"])
        with pytest.raises(ExportPathError, match=re.escape(name.partition("/")[0])):
            export_selection(project.project, "all", "hf", output=folder)
        assert (folder / name).read_text() == "years of work\n"
        (folder / name).unlink()
        for one in (folder / "data" / "more", folder / "data"):
            if one.is_dir():
                one.rmdir()
    for _ in range(2):
        export_selection(project.project, "all", "hf", output=folder)
    assert sorted(one.name for one in folder.iterdir())[:2] == ["README.md", "data"]
    write(folder / "data" / "mine.jsonl", ["years of work"])
    with pytest.raises(ExportPathError, match=r"mine\.jsonl"):
        export_selection(project.project, "all", "hf", output=folder)


def test_a_corpus_that_is_the_folder_of_the_project_leaves_its_exports_free(project):
    project.reconfigure('path = "web"', 'path = "."')
    done = export_selection(project.project, "all", "jsonl")
    assert done.path.is_file()
    with pytest.raises(ExportPathError, match="are read from"):
        export_selection(project.project, "all", "jsonl", output=project.root / "new.jsonl")


@pytest.mark.parametrize("globs", [{"exclude": ["home/**"]}, {"include": ["*.jsonl"]}])
@pytest.mark.parametrize("form", ["parquet", "jsonl", "hf"])
def test_a_corpus_that_leaves_the_home_out_leaves_its_exports_free(project, monkeypatch, globs, form):
    monkeypatch.setenv("TAMIS_HOME", str(project.root / "web" / "home"))
    shutil.move(project.root / ".tamis", project.root / "web" / "home")
    project.configure(settings_of(**globs))
    assert export_selection(project.project, "all", form).path.exists()


def test_a_corpus_that_reads_what_describes_an_export_refuses_it(project):
    project.configure(settings_of(exclude=["new/*.parquet", "new/*.jsonl", "new/*.json"]))
    with pytest.raises(ExportPathError, match="are read from"):
        export_selection(project.project, "all", "parquet", output=project.root / "web" / "new" / "x.parquet")


def test_exports_of_an_earlier_choice_are_named_whatever_their_format(project):
    for form in ("parquet", "jsonl", "hf"):
        export_selection(project.project, "all", form)
    assert not _out_of_date(project)
    project.reconfigure("budget = 100", "budget = 3")
    project.make(MADE)
    assert [line.split("; ")[0].split(": ")[-1] for line in _out_of_date(project)] == [
        "all.hf",
        "all.parquet",
        "all.jsonl",
    ]
    export_selection(project.project, "all", "jsonl")
    (folder, parquet) = _out_of_date(project)
    assert "the export of all is out of date: all.hf; run `tamis export all --format hf`" in folder
    assert "all.prov.json does not list all.parquet, so it may be out of date" in parquet
    export_selection(project.project, "all", "parquet")
    export_selection(project.project, "all", "hf")
    assert not _out_of_date(project)


def _out_of_date(project: SmallProject) -> list[str]:
    return [line for line in read_status(project.project).warnings if "out of date" in line]


@pytest.mark.parametrize(
    ("form", "output", "why"),
    [
        ("jsonl", "web/a.jsonl", "documents of 'web' are read"),
        ("jsonl", "web/new.jsonl", "documents of 'web' are read"),
        ("hf", "web/new", "documents of 'web' are read"),
        ("hf", "", "contains where the documents of 'web' are read"),
        ("parquet", "keep.parquet", r"keep\.card\.md already exists"),
        ("parquet", "tamis.toml", r"does not end in \.parquet"),
        ("parquet", ".tamis/exports/x.csv", r"name it x\.parquet"),
        ("jsonl", ".tamis/exports/x.JSONL", r"does not end in \.jsonl"),
        ("jsonl", ".tamis/reports/x.jsonl", "in the Tamis home folder"),
        ("jsonl", "mine.jsonl", "was not written by an export"),
        ("hf", "mine.jsonl", "is a file"),
    ],
)
def test_nothing_is_overwritten_read_as_documents_or_out_of_reach_of_a_withdrawal(project, form, output, why):
    write(project.root / "mine.jsonl", ["years of work"])
    write(project.root / "keep.card.md", ["years of work"])
    before = {path: path.read_bytes() for path in project.root.rglob("*") if path.is_file()}
    with pytest.raises(ExportPathError, match=why):
        export_selection(project.project, "all", form, output=project.root / output)
    assert {path: path.read_bytes() for path in project.root.rglob("*") if path.is_file()} == before


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
    assert changed == {("documents", "web__a.jsonl"), ("documents", "tables__c.parquet")}
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
    (note, _mixed) = done.notes
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


def test_a_withdrawal_leaves_no_column_of_the_row(project):
    for form in ("jsonl", "parquet", "hf"):
        export_selection(project.project, "all", form)
    project.withdraw([document_id(TEXTS[0])])
    for name in ("all.jsonl", "all.parquet", "all.hf/data/train-00000-of-00001.parquet"):
        found = rows_of(project.home.exports / name)
        assert TEXTS[0] not in found
        assert len(found) == 6
    assert {one.name for one in (project.home.exports / "all.hf").rglob("*") if one.is_file()} == {
        "train-00000-of-00001.parquet"
    }
    assert found[TEXTS[4]]["price"] == Decimal("1.50"), "the others are as they were"
    for entry in project.store.open("kept_rows").list_versions():
        rows = project.store.read("kept_rows", version=int(entry["version"]))
        assert document_id(TEXTS[0]) not in rows["doc_id"].to_list()
        assert "Ann" not in str(rows.to_dicts())
    project.make(MADE)
    assert "Ann" not in str(project.store.read("kept_rows").to_dicts())
    assert project.audit().status == "green"


def test_a_folder_that_a_withdrawal_went_through_is_exported_again(project):
    export_selection(project.project, "all", "hf")
    project.withdraw([document_id(TEXTS[0])])
    project.make(MADE)
    done = export_selection(project.project, "all", "hf")
    assert done.documents == 6
    (done.path / "mine.txt").touch()
    with pytest.raises(ExportPathError, match=r"contains mine\.txt"):
        export_selection(project.project, "all", "hf")


@pytest.mark.parametrize("form", ["jsonl", "hf"])
@pytest.mark.parametrize("step", ["subset_rows", "_write"])
def test_what_is_withdrawn_during_an_export_is_not_left_in_it(project, monkeypatch, step, form):
    real = getattr(exporting, step)

    def slow(*arguments):
        made = real(*arguments)
        project.withdraw([document_id(TEXTS[0])])
        return made

    monkeypatch.setattr(exporting, step, slow)
    with pytest.raises(WithdrawnSinceError):
        export_selection(project.project, "all", form)
    assert not [path for path in project.home.exports.rglob("*") if path.is_file()]
    assert verify(project.home).holds


def test_a_withdrawn_text_leaves_the_columns_of_other_rows(project):
    secret = f"Zyzzyva-Quokka-4711 {' '.join(TEXTS)}"
    rows = [
        {"text": secret},
        {"text": TEXTS[7], "note": f" {secret}\r\n", "id": 1, "seen": [{"in": secret}]},
    ]
    write(project.root / "web" / "copied.jsonl", [json.dumps(row) for row in rows])
    project.make(MADE)
    for form in ("jsonl", "hf"):
        export_selection(project.project, "all", form)
    assert {"kept_rows", "occurrences"} <= shown(project, secret[:40])
    project.withdraw([document_id(secret)])
    assert shown(project, secret[:40]) == set()
    assert verify(project.home, secret).holds
    assert project.audit().status == "amber", "what went by intent is no damage"
    project.make(MADE)
    assert shown(project, secret[:40]) == set()
    assert project.audit().status == "green"
    found = exported(project)[TEXTS[7]]
    assert (found["id"], found["note"], found["seen"]) == (1, None, [{"in": None}])
    state = project.state()["tables"]
    project.make(MADE)
    assert project.state()["tables"] == state


def shown(project: SmallProject, text: str) -> set[str]:
    """Return the tables, in any version, and the exports that show a text."""
    store, found = project.store, set()
    for table in store.names():
        for entry in store.open(table).list_versions():
            if text in str(store.read_arrow(table, version=int(entry["version"])).to_pylist()):
                found.add(table)
    return found | {
        path.name for path in project.home.exports.rglob("*") if path.is_file() and text in content_of(path)
    }


def content_of(path: Path) -> str:
    return str(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else path.read_text()
