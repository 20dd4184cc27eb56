"""Files where corpora and targets are read from that no section covers."""

import pytest
from projects import corpus, plain_project, settings, target, texts, write, write_jsonl

from tamis.records.current_values import read_current_values
from tamis.scan.precheck import precheck, uncovered_lines
from tamis.verbs.status import read_status


def lines_of(folder, *sections) -> list[str]:
    return uncovered_lines(plain_project(folder, settings(*sections), {}).project)


def put(folder, *names: str) -> None:
    for name in names:
        write(folder / name, ["some words"])


ONE_FILE = corpus(path="documents/a.jsonl")


def test_a_file_beside_those_that_sections_name_is_named_with_what_to_do(tmp_path):
    put(tmp_path, "documents/a.jsonl", "documents/new.csv", "documents/below/c.jsonl", "documents/x.bin")
    (line,) = lines_of(tmp_path, ONE_FILE)
    assert line.startswith("no [[corpus]] or [[target]] reads 1 file in documents (new.csv): add a section")


def test_it_is_said_by_status_and_before_a_run(tmp_path):
    put(tmp_path, "documents/a.jsonl", "documents/new.csv")
    project = plain_project(tmp_path, settings(ONE_FILE), {})
    (line,) = uncovered_lines(project.project)
    status = read_status(project.project)
    assert line in status.lines()
    assert line in status.to_json()["reading"]
    found = precheck(project.snapshot, read_current_values(project.store), [])
    assert f"warning: {line}" in found.lines


@pytest.mark.parametrize(
    ("sections", "lost"),
    [
        ([corpus()], None),
        ([corpus(include=["*.jsonl"])], "2 files in documents (below/c.parquet, new.csv)"),
        ([corpus(include=["*.jsonl"]), corpus(name="tables", path="documents/new.csv")], "(below/c.parquet)"),
        ([corpus(include=["*.jsonl"], exclude=["*.csv", "**/*.parquet"])], None),
        ([corpus(include=["*.jsonl"]), corpus(name="all", include=["**/*.[cp]*"])], None),
        ([corpus(name="deep", path="documents/below"), ONE_FILE], "1 file in documents (new.csv)"),
        ([corpus(path="documents/a.jsonl", exclude=["new.*"])], None),
        ([corpus(include=["*.jsonl"]), target(path="documents/below")], "1 file in documents (new.csv)"),
    ],
)
def test_what_a_section_reads_or_excludes_is_covered(tmp_path, sections, lost):
    put(tmp_path, "documents/a.jsonl", "documents/new.csv", "documents/below/c.parquet", "documents/.x.csv")
    found = lines_of(tmp_path, *sections)
    assert bool(found) == bool(lost)
    assert (lost or "") in "".join(found)


def test_texts_for_people_and_what_tamis_writes_are_not_meant(tmp_path):
    put(tmp_path, "pool.jsonl", "README.md", "notes.txt", ".tamis/exports/a.jsonl")
    section = corpus(path="pool.jsonl")
    assert lines_of(tmp_path, section) == []
    put(tmp_path, "more.jsonl", "elsewhere/b.jsonl")
    (line,) = lines_of(tmp_path, section)
    assert "1 file in the folder of the project (more.jsonl)" in line


def test_targets_count_and_many_files_are_looked_at_up_to_a_limit(tmp_path, monkeypatch):
    write_jsonl(tmp_path / "target" / "goal.jsonl", texts("sailing", 3))
    put(tmp_path, "documents/a.jsonl", "target/more.jsonl")
    (line,) = lines_of(tmp_path, corpus(), target(path="target/goal.jsonl"))
    assert "1 file in target (more.jsonl)" in line
    monkeypatch.setattr("tamis.scan.precheck.MOST_LOOKED_AT", 1)
    assert lines_of(tmp_path, corpus(), target(path="target/goal.jsonl")) == []
