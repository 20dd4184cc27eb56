"""Rows that could not be read, by corpus and target: an unreadable file counts as its rows."""

import json

import pyarrow as pa
import pytest
from projects import (
    corpus,
    note_made,
    plain_project,
    record,
    rows_of,
    selection,
    settings,
    target,
    texts,
    write,
    write_jsonl,
)

from tamis.corpus import read_shard
from tamis.corpus.intake import store_shards
from tamis.corpus.shards import shard_key
from tamis.graph.failures import FailedStep
from tamis.records.current_values import read_current_values
from tamis.report.index import write_index
from tamis.scan.quarantine import reading_notes
from tamis.scan.unread_rows import Share, read_quarantine, unread_json, unread_line, unread_shares
from tamis.settings.references import named
from tamis.verbs.status import read_status

CONTENT = ['{"content": "A text of several words"}']


def project_of(folder, *sections, **files):
    """Return a project whose files, given by name, were read as they are."""
    for name, rows in files.items():
        write(folder / "documents" / name.replace("__", "/").replace("_jsonl", ".jsonl"), rows)
    project = plain_project(folder, settings(*(sections or (corpus(),))), {})
    take_in(project)
    return project


def take_in(project) -> None:
    sections = project.project.settings.corpus
    shards = [
        (file.key, read_shard(file, named(sections, file.corpus)))
        for shard in project.snapshot.shards.values()
        for file in shard.files
    ]
    for _group in store_shards(project.store, shards):
        pass


def shares_of(project, **more) -> dict[str, tuple[int, int]]:
    current = read_current_values(project.store)
    found = unread_shares(project.snapshot, current, read_quarantine(project.store), **more)
    return {share.name: (share.bad, share.rows) for share in found}


def lines(count: int) -> list[str]:
    return [json.dumps({"text": text}) for text in texts("algebra", count)]


def test_a_file_counts_as_its_rows_in_the_first_line_of_the_status(tmp_path):
    project = project_of(tmp_path, a_jsonl=lines(100), b_jsonl=CONTENT * 2_000)
    assert shares_of(project) == {"web": (2_000, 2_100)}
    status = read_status(project.project)
    assert status.lines()[0] == "2,000 of 2,100 rows could not be read: corpus web 2,000 of 2,100"
    assert status.to_json()["unread_rows"] == {
        "rows": 2_000,
        "of": 2_100,
        "corpora": {"web": {"rows": 2_000, "of": 2_100}},
        "targets": {},
    }
    assert any(
        "95.2 % of its rows are in quarantine (2,000 of 2,100), above" in one for one in status.problems()
    )
    assert 'set text_column = ["text", "content"]' in "\n".join(status.lines())


def test_a_project_of_which_all_rows_are_read_says_nothing(tmp_path):
    project = project_of(tmp_path, a_jsonl=lines(10))
    status = read_status(project.project)
    assert status.unread_lines() == []
    assert status.to_json()["unread_rows"]["rows"] == 0
    assert "read" not in status.lines()[0]


def test_the_corpora_follow_the_sum(tmp_path):
    sections = (corpus(), corpus("notes", "notes"), corpus("whole", "whole"))
    for name, rows in (("notes/a.jsonl", CONTENT * 30), ("whole/a.jsonl", lines(20))):
        write(tmp_path / name, rows)
    project = project_of(tmp_path, *sections, a_jsonl=[*lines(40), "{broken"])
    assert shares_of(project) == {"web": (1, 41), "notes": (30, 30), "whole": (0, 20)}
    first = read_status(project.project).lines()[0]
    assert first == "31 of 91 rows could not be read: corpus web 1 of 41, corpus notes 30 of 30"
    over = [line for line in read_status(project.project).problems() if "maximum_quarantine" in line]
    assert [line.partition(":")[0] for line in over] == ["corpus notes"], "the limit is one of each corpus"


def test_several_files_are_named_with_what_reads_them_all(tmp_path):
    chats = ['{"messages": [{"role": "user", "content": "What?"}]}'] * 7
    other = ['{"Body": "Some words of a text"}'] * 5
    project = project_of(
        tmp_path,
        a_jsonl=lines(3),
        b_jsonl=CONTENT * 9,
        c_jsonl=other,
        d_jsonl=chats,
        e_jsonl=['{"n": 1}'] * 2,
    )
    said = read_status(project.project).quarantine_lines()
    assert said[0] == "quarantine: 4 files left out:"
    assert said[1].startswith(
        "  corpus web: 4 whole files with 23 rows, missing text column: b.jsonl, c.jsonl, "
    )
    assert said[2] == (
        '  corpus web: to read them, set text_column = ["text", "content", "Body"] in [[corpus]] web; '
        "d.jsonl: 'messages' holds conversations: set exclude = [\"d.jsonl\"] in [[corpus]] web, and "
        'include = ["d.jsonl"], format = "messages" in a [[corpus]] of its own; '
        "e.jsonl: columns found: n (name the right one in tamis.toml, in a section of its own if other files "
        "differ)"
    )


@pytest.mark.parametrize("known", [True, False])
def test_a_home_from_before_the_count_is_counted_by_its_files(tmp_path, known):
    project = project_of(tmp_path, a_jsonl=lines(10), b_jsonl=CONTENT * 50)
    old = project.store.read_arrow("quarantine").drop_columns(["rows_lost"])
    project.store.drop("quarantine")
    project.store._connect().create_table("quarantine", old)
    if not known:
        (tmp_path / "documents" / "b.jsonl").unlink()
        write(tmp_path / "documents" / "b.jsonl", [])
    assert shares_of(project) == {"web": (50 if known else 1, 60 if known else 11)}
    assert len(read_status(project.project).quarantine) == 1


def test_files_that_no_step_could_read_count_as_their_rows(tmp_path):
    """Of one that was read before the rows of that reading are known, else what the file tells."""
    project = project_of(tmp_path, a_jsonl=lines(20), b_jsonl=lines(30))
    write_jsonl(tmp_path / "documents" / "new.jsonl", texts("cooking", 7))
    pa.parquet.write_table(pa.table({"text": ["x"] * 12}), tmp_path / "documents" / "crashed.parquet")
    (tmp_path / "documents" / "torn.parquet").write_bytes(b"PAR1")
    failed = [
        FailedStep(asset="documents", partition=f"web__{name}", input_key="", reason="", failed_at=None)
        for name in ("a.jsonl", "new.jsonl", "crashed.parquet", "torn.parquet", "gone.jsonl")
    ]
    assert shares_of(project, failed=failed) == {"web": (20 + 7 + 12 + 1, 70)}
    other = [
        FailedStep(asset="embeddings", partition="web__a.jsonl", input_key="", reason="", failed_at=None)
    ]
    assert shares_of(project, failed=other) == {"web": (0, 50)}


def test_a_file_that_is_still_being_written_counts_with_the_rows_it_had(tmp_path):
    project = project_of(tmp_path, a_jsonl=lines(20), b_jsonl=lines(30))
    note = {"shard": "web__a.jsonl", "row": -1, "reason": "still_being_written", "detail": "", "excerpt": ""}
    project.store.merge("quarantine", rows_of("quarantine", [note]))
    assert shares_of(project) == {"web": (20, 50)}


def test_what_a_stage_set_aside_could_be_read(tmp_path):
    project = project_of(tmp_path, a_jsonl=lines(20))
    row = {
        "shard": "stage/embeddings/web__a.jsonl",
        "row": 1,
        "reason": "no_vector",
        "detail": "",
        "excerpt": "",
    }
    project.store.merge("quarantine", rows_of("quarantine", [row]))
    assert shares_of(project) == {"web": (0, 20)}


def test_a_target_counts_the_rows_of_its_files(tmp_path):
    write_jsonl(tmp_path / "target" / "goal.jsonl", texts("sailing", 3))
    project = project_of(tmp_path, corpus(), target(), a_jsonl=lines(20))
    examples = [
        {"target": "goal", "doc_id": f"{n:032x}", "split": "train", "text": "x", "source": ""}
        for n in range(50)
    ]
    project.store.append("target_examples", rows_of("target_examples", examples))
    bad = {
        "shard": "target/goal/b.jsonl",
        "row": -1,
        "reason": "missing_text_column",
        "detail": "",
        "excerpt": "",
    }
    project.store.merge("quarantine", rows_of("quarantine", [bad | {"rows_lost": 30}]))
    assert "goal" not in shares_of(project), "it was not made yet"
    record(project.home, "target_examples", "goal")
    assert shares_of(project) == {"web": (0, 20), "goal": (30, 80)}, (
        "at most, as repeated examples are not known"
    )
    record(project.home, "target_examples", "goal", input_key="next", beside={"rows_read": 400})
    status = read_status(project.project)
    assert status.lines()[0] == "30 of 400 rows of targets could not be read: target goal 30 of 400"
    assert any("target goal: 7.5 % of its rows are in quarantine" in line for line in status.problems())
    assert status.to_json()["unread_rows"]["targets"] == {"goal": {"rows": 30, "of": 400}}


def test_lines_of_corpora_and_targets_stand_side_by_side():
    shares = [
        Share(name="web", bad=3, rows=10, maximum=0.5, foreseen=True, about=True),
        Share(name="notes", bad=0, rows=10, maximum=0.5),
        Share(kind="target", name="goal", bad=1, rows=10, maximum=0.05),
    ]
    assert unread_line(shares) == (
        "about 3 of 20 rows would not be read: corpus web 3 of 10; "
        "1 of 10 rows of targets could not be read: target goal 1 of 10"
    )
    assert [share.is_over for share in shares] == [False, False, True]
    assert unread_json(shares)["rows"] == 3
    assert unread_line(shares[1:2]) == ""


def test_the_page_that_leads_to_the_others_says_it_first(tmp_path):
    project = project_of(tmp_path, corpus(), selection("any"), a_jsonl=lines(10), b_jsonl=CONTENT * 30)
    (project.home.reports).mkdir(parents=True, exist_ok=True)
    (project.home.reports / "selection_any.html").write_text("")
    current = read_current_values(project.store)
    assert write_index(project.snapshot, current, [])
    page = (project.home.reports / "index.html").read_text()
    answer = "30 of 40 rows could not be read: corpus web 30 of 40."
    assert page.index("</h1>") < page.index(answer) < page.index('class="lead"')
    assert not write_index(project.snapshot, current, []), "it is written once"
    project.store.delete("quarantine", "true")
    assert write_index(project.snapshot, current, [])
    assert "could not be read" not in (project.home.reports / "index.html").read_text()


def test_what_the_files_decided_is_said(tmp_path):
    several = corpus(text_column=["text", "content", "Text"])
    write(tmp_path / "documents" / "excel.csv", ["Nr;Text;my_score", "1;Some words;0,12"])
    write_jsonl(tmp_path / "target" / "goal.jsonl", texts("sailing", 3))
    goal = target(text_column="auto")
    mixed = [*lines(3), *CONTENT * 2]
    project = project_of(tmp_path, several, goal, a_jsonl=lines(2), b_jsonl=CONTENT, c_jsonl=mixed)
    expected = [
        "corpus web: texts are taken from the columns Text in excel.csv; content in b.jsonl; text in "
        "a.jsonl; text in 3 rows of c.jsonl; content in 2 rows of c.jsonl",
        "corpus web: fields are separated by semicolons in 1 file (excel.csv)",
        "corpus web: numbers with a decimal comma are kept as text, as in the file, in the columns my_score",
        "target goal: texts are taken from the column text in goal.jsonl",
    ]
    assert reading_notes(project.snapshot) == expected
    status = read_status(project.project)
    assert set(expected) <= set(status.lines())
    assert status.to_json()["reading"] == expected


def test_of_a_column_that_tamis_toml_names_nothing_is_said(tmp_path):
    project = project_of(tmp_path, corpus(), target(path="documents"), a_jsonl=lines(2))
    assert reading_notes(project.snapshot) == []
    assert shard_key("web", "a.jsonl") in project.snapshot.files


def test_the_status_says_that_rows_are_read_again_once_settings_have_changed(tmp_path):
    project = project_of(tmp_path, a_jsonl=CONTENT * 30)
    keys = [*project.snapshot.shards]
    note_made(project.project, "raw_shards", *keys)
    note_made(project.project, "documents", *keys, ready=True)
    before = read_status(project.project)
    assert "fix or exclude what `tamis status` lists" in before.problems()[0]
    assert not any("read again" in line for line in before.lines())
    project.reconfigure('path = "documents"', 'path = "documents"\ntext_column = "content"')
    status = read_status(project.project)
    again = "they will be read again by the next run, since files or settings have changed"
    assert status.problems()[0].endswith(f"in [automation]; {again}")
    assert status.quarantine_lines()[1].startswith("  as read last; these will be read again by the next run")
    assert status.lines()[0] == "30 of 30 rows could not be read: corpus web 30 of 30"


def test_the_status_says_so_of_some_rows_where_one_file_has_changed(tmp_path):
    project = project_of(tmp_path, a_jsonl=CONTENT * 30, b_jsonl=CONTENT * 20)
    keys = [*project.snapshot.shards]
    note_made(project.project, "raw_shards", *keys)
    note_made(project.project, "documents", *keys, ready=True)
    write_jsonl(tmp_path / "documents" / "b.jsonl", texts("cooking", 20))
    status = read_status(project.project)
    problem = next(line for line in status.problems() if "maximum_quarantine" in line)
    assert "; some of them will be read again by the next run, since files or settings have" in problem
    assert "fix or exclude what `tamis status` lists" in problem
    lines = status.quarantine_lines()
    assert [index for index, line in enumerate(lines) if "as read last" in line] == [len(lines) - 2]
    assert "b.jsonl" in lines[-1]
