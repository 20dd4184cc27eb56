"""An export replaces nothing of others, is not read as documents, and keeps nothing of what was withdrawn."""

import json
import re
import shutil
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from exports import MADE, TEXTS, exported, rows_of, settings_of
from projects import SmallProject, write

from tamis.corpus import document_id
from tamis.verbs.elsewhere import export
from tamis.verbs.elsewhere.export import ExportPathError, Extras, export_selection
from tamis.verbs.status import read_status
from tamis.withdrawal import withdrawing
from tamis.withdrawal.since import UnfinishedWithdrawalError, WithdrawnSinceError
from tamis.withdrawal.verifying import verify


@pytest.fixture
def project(exporting: SmallProject) -> SmallProject:
    return exporting


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
    path = project.root / "web" / "new" / "x.parquet"
    with pytest.raises(ExportPathError, match="are read from"):
        export_selection(project.project, "all", "parquet", output=path, extras=Extras(card=True))
    assert export_selection(project.project, "all", "parquet", output=path).path == path
    assert [one.name for one in path.parent.iterdir()] == ["x.parquet"]


@pytest.mark.parametrize(
    ("form", "output", "why"),
    [
        ("jsonl", "web/a.jsonl", "documents of 'web' are read"),
        ("jsonl", "web/new.jsonl", "documents of 'web' are read"),
        ("hf", "web/new", "documents of 'web' are read"),
        ("hf", "", "contains where the documents of 'web' are read"),
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
    if form == "parquet":
        with pytest.raises(ExportPathError, match=r"keep\.card\.md already exists"):
            export_selection(
                project.project,
                "all",
                form,
                output=project.root / "keep.parquet",
                extras=Extras(card=True),
            )
    assert {path: path.read_bytes() for path in project.root.rglob("*") if path.is_file()} == before


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
    real = getattr(export, step)

    def slow(*arguments):
        made = real(*arguments)
        project.withdraw([document_id(TEXTS[0])])
        return made

    monkeypatch.setattr(export, step, slow)
    with pytest.raises(WithdrawnSinceError):
        export_selection(project.project, "all", form)
    assert not [path for path in project.home.exports.rglob("*") if path.is_file()]
    assert verify(project.home).holds


def test_a_withdrawal_that_was_cut_short_is_completed_before_an_export(project, monkeypatch):
    def be_killed(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as cut_short:
        cut_short.setattr(withdrawing, "purge", be_killed)
        with pytest.raises(KeyboardInterrupt):
            project.withdraw([document_id(TEXTS[0])])
    with pytest.raises(UnfinishedWithdrawalError):
        export_selection(project.project, "all", "jsonl")
    assert not list(project.home.exports.rglob("*"))
    assert "was interrupted" in "\n".join(read_status(project.project).lines())
    project.make(MADE)
    assert export_selection(project.project, "all", "jsonl").documents == 6


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
