"""Precheck: mistakes that the files show before anything runs, and none in a project that is well."""

import gzip
import importlib.util
import json
import random

import polars as pl
import pytest
from projects import (
    base_model,
    corpus,
    due_key,
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

from tamis.base.errors import UnknownNameError
from tamis.base.installation import install_command
from tamis.corpus import read_shard
from tamis.corpus.intake import store_shards
from tamis.graph.plan import full_plan
from tamis.records.current_values import read_current_values
from tamis.scan.precheck import UnmetTargetsError, precheck
from tamis.scan.sources import scan
from tamis.tokens.identity import UnknownTokenizerError
from tamis.verbs.plan import checked_plan, without_documents
from tamis.verbs.status import read_status

GOAL = target(train=20, held_out=10)


@pytest.fixture
def folder(tmp_path):
    """A folder with sixty documents in two files and thirty examples."""
    write_jsonl(tmp_path / "documents" / "a.jsonl", texts("algebra", 30))
    write_jsonl(tmp_path / "documents" / "b.jsonl", texts("cooking", 30))
    write_jsonl(tmp_path / "target" / "goal.jsonl", texts("sailing", 30))
    return tmp_path


def checked(folder, *sections: str):
    """What is found in a project of these sections."""
    return checked_plan(plain_project(folder, settings(*(sections or (corpus(), GOAL))), {}).project)[1]


def test_a_project_that_is_well_has_no_findings(folder):
    assert checked(folder).lines == []
    assert checked(folder, corpus(), GOAL, selection("best", budget=60)).lines == []


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        (texts("sailing", 29), "need 30 distinct examples; there are 29"),
        (texts("sailing", 1) * 40, "need 30 distinct examples; there are 1;"),
        (
            [f"{texts('sailing', 1)[0]} {end}" for end in "abcdefghijklmnopqrstuvwxyzABCDEFG"],
            "there are 33, of which 0",
        ),
    ],
    ids=["too few", "one text", "near-duplicates"],
)
def test_a_target_that_is_too_small_is_unmet_until_it_was_made_once(folder, examples, said):
    write_jsonl(folder / "target" / "goal.jsonl", examples)
    found = checked(folder)
    assert said in found.unmet[0]
    assert found.warnings == []
    project = plain_project(folder, settings(corpus(), GOAL), {}).project
    note_made(project, "target_examples", "goal")
    snapshot, current = scan(project), read_current_values(project.home.store)
    again = precheck(snapshot, current, full_plan(snapshot, {}))
    assert (again.unmet, said in again.warnings[0]) == ([], True)


def test_a_target_without_its_column_says_which_columns_there_are(folder):
    (folder / "target" / "goal.jsonl").write_text('{"question": "why"}\n' * 40)
    (line,) = checked(folder).unmet
    assert "no row of goal.jsonl could be read; the first that could not be read: goal.jsonl: " in line
    assert "no column 'text' in any of its 40 rows; columns found: question" in line


UNREAD = "no row of goal.jsonl could be read; the first that could not be read: goal.jsonl"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", f"{UNREAD}: the file holds nothing"),
        ("\n\n", "no example in goal.jsonl; 30 are needed"),
        ('{"text": " "}', f"{UNREAD}, row 0: the text is empty"),
    ],
)
def test_a_target_without_an_example_names_its_file(folder, content, said):
    (folder / "target" / "goal.jsonl").write_text(content)
    (line,) = checked(folder).unmet
    assert line.startswith(f"target goal: {said}")


def test_types_that_nothing_reads_are_counted_with_the_key_that_leaves_them_out(folder):
    for name in ("a.png", "deep/b.png", "deep/c.PDF", "README", "d.tar.gz"):
        (folder / "documents" / name).parent.mkdir(exist_ok=True)
        (folder / "documents" / name).write_bytes(b"x")
    (line,) = checked(folder, corpus(exclude=["old/**"]), GOAL).warnings
    assert line.startswith(
        "corpus web: 5 files of an unsupported type: 1 without extension in the corpus folder, "
    )
    assert "1 .PDF in deep/, 1 .png in deep/" in line
    excluded = ["old/**", "**/*.PDF", "**/*.png", "**/*.tar.gz", "**/README"]
    named = ", ".join(f'"{glob}"' for glob in excluded)
    assert line.endswith(f"exclude = [{named}] in [[corpus]] web")
    assert checked(folder, corpus(exclude=excluded), GOAL).lines == []


def test_a_text_column_that_no_file_has_and_one_that_some_lack(folder):
    found = checked(folder, corpus(text_column="body"), GOAL)
    assert found.warnings == [
        "corpus web: no file with columns has the text column: no column 'body' in 60 rows; "
        'set text_column = "text" in [[corpus]] web'
    ]
    assert found.unread == ["60 of 60 rows would not be read: corpus web 60 of 60"]
    assert len(found.too_many) == 1
    pl.DataFrame({"body": ["one of many words", "two"]}).write_parquet(folder / "documents" / "c.parquet")
    found = checked(folder)
    assert found.warnings == [
        "corpus web: 1 file (c.parquet) without the text column: no column 'text' in 2 rows; "
        'set text_column = ["text", "body"] in [[corpus]] web'
    ]
    assert found.lines[0] == "2 of 62 rows would not be read: corpus web 2 of 62"
    assert found.too_many == [], "under the limit"


def test_a_folder_of_texts_hides_no_file_without_the_column(folder):
    """The files that are looked at are those with columns, in whatever folder and form."""
    for number in range(300):
        (folder / "documents" / f"a_{number:03}.txt").write_text(f"text {number}")
    rows = [{"content": f"A text of several words, number {number}"} for number in range(2_000)]
    packed = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    (folder / "documents" / "deep").mkdir()
    (folder / "documents" / "deep" / "z.jsonl.gz").write_bytes(packed)
    chats = [{"messages": [{"role": "user", "content": "What?"}]}] * 700
    (folder / "documents" / "z_chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chats))
    excel = "\ufeffNr;Text;Quelle\r\n" + '1;"Some words; and more";x\r\n' * 700
    (folder / "documents" / "z_excel.csv").write_text(excel)
    found = checked(folder)
    assert found.unread == ["3,400 of 3,760 rows would not be read: corpus web 3,400 of 3,760"]
    assert "90.4 % of its rows would be in quarantine (3,400 of 3,760), above" in found.too_many[0]
    assert found.warnings == [
        "corpus web: 3 files (deep/z.jsonl.gz, z_chats.jsonl, z_excel.csv) without the text column: "
        'no column \'text\' in 3,400 rows; set text_column = ["text", "content", "Text"] in [[corpus]] web; '
        "z_chats.jsonl: 'messages' holds conversations: set exclude = [\"z_chats.jsonl\"] in [[corpus]] web, "
        'and include = ["z_chats.jsonl"], format = "messages" in a [[corpus]] of its own'
    ]
    several = corpus(text_column=["text", "content", "Text"], exclude=["z_chats.jsonl"])
    chats = corpus("chats", include=["z_chats.jsonl"], format="messages")
    assert checked(folder, several, GOAL).lines == checked(folder, several, chats, GOAL).lines[:0] == []


def test_of_many_files_some_of_each_folder_and_form_are_looked_at(folder, monkeypatch):
    """The others count as readable, with as many rows: a plan must not be stricter than the run."""
    monkeypatch.setattr("tamis.scan.remedies.FILES_LOOKED_AT", 4)
    for number in range(20):
        write_jsonl(folder / "documents" / "many" / f"{number:02}.jsonl", texts("algebra", 10, number))
    write(folder / "documents" / "z" / "a.jsonl", ['{"content": "A text of several words"}'] * 6)
    found = checked(folder)
    assert found.unread == ["about 6 of 519 rows would not be read: corpus web 6 of 519"]
    assert len(found.warnings) == 1
    assert "1 file (z/a.jsonl) without the text column" in found.warnings[0]


def test_other_reasons_for_which_nothing_would_be_read_are_said(folder):
    (folder / "documents" / "c.jsonl").write_text('{"text": [1, 2]}\n' * 40)
    (folder / "documents" / "d.jsonl").write_text("{no json\n" * 40)
    (folder / "documents" / "e.parquet").write_bytes(b"PAR1\0 no more")
    pl.DataFrame({"text": [1, 2]}).write_parquet(folder / "documents" / "f.parquet")
    (folder / "documents" / "g.png").write_bytes(b"no text")
    pl.DataFrame({"text": ["a"] * 7}).write_ipc(folder / "documents" / "h.feather", compression=None)
    found = checked(folder)
    assert found.unread == ["about 91 of 151 rows would not be read: corpus web 91 of 151"]
    said = "\n".join(found.warnings)
    for line in (
        "1 file (c.jsonl) would not be read, non text in 40 rows: the text is of type list, not a string",
        "1 file (d.jsonl) would not be read, malformed row in 40 rows: ",
        "1 file (e.parquet) would not be read, malformed file: ",
        "1 file (f.parquet) would not be read, non text in 2 rows: the text is of type int64, not a string",
        "2 files of an unsupported type: 1 .feather in the corpus folder, 1 .png in the corpus folder",
    ):
        assert f"corpus web: {line}" in said


def test_what_was_read_before_is_said_too_and_of_what_is_due_the_look_counts(folder):
    project = plain_project(folder, settings(corpus(), GOAL), {})
    write(folder / "documents" / "a.jsonl", ['{"content": "A text of several words"}'] * 30)
    shards = project.snapshot.shards
    sections = project.project.settings.corpus
    for _group in store_shards(
        project.store, [(key, read_shard(shard, sections[0])) for key, shard in shards.items()]
    ):
        pass
    note_made(project.project, "raw_shards", *shards)
    note_made(project.project, "documents", *shards)
    current = read_current_values(project.store)
    found = precheck(project.snapshot, current, full_plan(project.snapshot, current))
    assert found.unread == ["30 of 60 rows could not be read: corpus web 30 of 60"]
    assert found.too_many
    write(folder / "documents" / "c.jsonl", ['{"content": "A text of several words"}'] * 50)
    found = precheck(project.snapshot, current, full_plan(project.snapshot, current))
    assert found.unread == ["80 of 110 rows would not be read: corpus web 80 of 110"]


def test_a_plan_ends_with_what_materializing_would(folder, monkeypatch, nowhere, capsys):
    from tamis.cli import main

    write(folder / "documents" / "c.jsonl", ['{"content": "A text of several words"}'] * 4)
    project = plain_project(folder, settings(corpus(), GOAL), {})
    monkeypatch.chdir(folder)
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    assert main(["plan"]) == 1
    assert "4 of 64 rows would not be read" in capsys.readouterr().err
    project.reconfigure("[automation]", "[automation]\nmaximum_quarantine = 0.1")
    assert main(["plan"]) == 0
    assert "4 of 64 rows would not be read" in capsys.readouterr().err
    project.reconfigure('path = "documents"', 'path = "documents"\ntext_column = "auto"')
    assert main(["plan"]) == 0
    assert "would not be read" not in capsys.readouterr().err


def test_what_cannot_be_read_is_left_to_the_steps(folder, monkeypatch):
    def fails(*_args):
        raise ZeroDivisionError

    (folder / "documents" / "torn.parquet").write_bytes(b"PAR1\0 no more")
    monkeypatch.setattr("tamis.scan.remedies.look_at", fails)
    monkeypatch.setattr("tamis.scan.precheck.read_target_rows", fails)
    assert checked(folder, corpus(), GOAL, selection("best", budget=900)).lines == []


def test_a_budget_above_what_the_files_can_hold(folder):
    (line,) = checked(folder, corpus(), GOAL, selection("best", budget=61)).warnings
    assert line.startswith(
        "selection best: its budget of 61 documents is larger than the pool, which has at most 60"
    )
    pl.DataFrame({"text": texts("sailing", 5)}).write_parquet(folder / "documents" / "c.parquet")
    (folder / "documents" / "d.txt").write_text("one more")
    (folder / "documents" / "e.csv").write_text("text\none\ntwo")
    assert checked(folder, corpus(), GOAL, selection("best", budget=68)).lines == []
    assert len(checked(folder, corpus(), GOAL, selection("best", budget=90)).warnings) == 1
    (folder / "documents" / "f.json").write_text('[{"text": "a"}]')
    assert checked(folder, corpus(), GOAL, selection("best", budget=90)).lines == [], "that is not known"


def test_a_token_budget_above_what_the_files_can_hold(folder):
    most = sum(path.stat().st_size for path in (folder / "documents").iterdir()) // 4
    (line,) = checked(folder, corpus(), GOAL, selection("best", budget=f"{most + 70}tok")).warnings
    assert line.startswith(
        f"selection best: its budget of {most + 70:,} tokens is larger than the pool, which has at"
    )
    assert "estimated as bytes / 4; every eligible document will be chosen" in line
    assert checked(folder, corpus(), GOAL, selection("best", budget=f"{most - 70}tok")).lines == []
    pl.DataFrame({"text": texts("sailing", 5)}).write_parquet(folder / "documents" / "c.parquet")
    asked = selection("best", budget=f"{most + 7_000}tok")
    assert checked(folder, corpus(), GOAL, asked).lines == [], "of a compressed file that is not known"


def test_a_tokenizer_that_is_not_found_is_named_before_anything_is_read(folder):
    text = settings(corpus(), GOAL).replace("[project]", '[project]\ntokenizer = "smollm-135m"')
    project = plain_project(folder, text, {}).project
    with pytest.raises(UnknownTokenizerError, match="did you mean 'smollm2-135m'"):
        checked_plan(project)


def test_a_plan_that_reads_no_documents_says_nothing_of_budgets(folder):
    project = plain_project(folder, settings(corpus(), GOAL, selection("best", budget=900)), {}).project
    snapshot = scan(project)
    targets = [one for one in full_plan(snapshot, {}) if one.asset == "target_examples"]
    assert precheck(snapshot, {}, targets).lines == []


def test_packages_that_are_not_installed_are_named_with_the_command(folder, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else found(name))
    assert checked(folder).lines == []
    (line,) = checked(folder, corpus(), GOAL, '[engine]\nkind = "ray"\n').warnings
    assert line.endswith(f"install it with: {install_command('ray')}")


def test_a_materialization_stops_before_it_begins(folder, monkeypatch, nowhere):
    from tamis.cli import main

    write_jsonl(folder / "target" / "goal.jsonl", texts("sailing", 5))
    project = plain_project(folder, settings(corpus(), GOAL), {})
    monkeypatch.chdir(folder)
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    assert main(["materialize"]) == 2
    assert read_current_values(project.home.store) == {}
    for path in (folder / "documents").iterdir():
        path.unlink()
    found = precheck(scan(project.project), {}, full_plan(scan(project.project), {}))
    assert (
        found.unmet[0]
        == "no corpus contains a file that it can read now; put files into corpus web: documents"
    )
    assert str(UnmetTargetsError(found.unmet)).endswith("or add examples. Nothing was materialized")


def test_globs_that_no_file_matches_are_named_with_the_files_that_are_there(folder):
    by = corpus(include=["*.txt", "c/**"], exclude=["d.txt"])
    project = plain_project(folder, settings(by, GOAL), {}).project
    said = 'documents (2 files, but none matches include = ["*.txt", "c/**"] and not exclude = ["d.txt"])'
    plan, _ = checked_plan(project)
    assert f"corpus web: {said}" in without_documents(project, plan)
    (folder / "target" / "goal.jsonl").write_text("")
    found = precheck(scan(project), {}, full_plan(scan(project), {}))
    assert found.unmet[0].endswith(f"corpus web: {said}")


def test_files_that_are_still_being_written_are_not_said_to_match_no_glob(folder):
    project = plain_project(folder, settings(corpus(), GOAL), {}).project
    assert "corpus web: documents (2 files, perhaps still being written)" in without_documents(project, [])


def test_an_encoder_that_cannot_exist_is_refused_before_anything_is_read(folder):
    encoder = '[encoder]\nname = "minilmm"\n'
    with pytest.raises(UnknownNameError, match="did you mean 'minilm'"):
        checked(folder, corpus(), GOAL, selection("best", "density"), encoder)
    for name in ("organisation/not-downloaded@main", str(folder)):
        checked(folder, corpus(), GOAL, selection("best", "density"), encoder.replace("minilmm", name))


MIXTURE = '[mixture]\ntarget = "goal"\nmodel = "llama-0.3m"\nsources = "source"\ntrain_tokens = 4_000\n'


@pytest.mark.parametrize(("sampler", "warned"), [("random", False), ("got-d", True)])
def test_shares_that_were_measured_with_another_sampler_are_said_to_be(folder, sampler, warned):
    following = selection("mixed", sampler, budget="1ktok", mixture=True, target="goal")
    found = checked(folder, corpus(), GOAL, following, selection("other", "knn", 5, target="goal"), MIXTURE)
    said = [line for line in found.warnings if "is measured" in line or "are measured" in line]
    assert len(said) == warned
    for line in said:
        assert line.startswith("selection mixed: its sampler is got-d")
        assert "measured on documents chosen by random" in line
        assert 'sampler = "got-d" in [mixture]' in line


def test_texts_outside_the_encoders_vocabulary_are_said_before_anything_is_read(folder):
    draw = random.Random(0)
    letters = [chr(code) for code in range(0x1780, 0x17B3)]
    khmer = [" ".join("".join(draw.choices(letters, k=4)) for _ in range(20)) for _ in range(30)]
    write_jsonl(folder / "documents" / "a.jsonl", khmer)
    write_jsonl(folder / "documents" / "b.jsonl", khmer[::-1])
    best = selection("best", "got-d", target="goal")
    (web,) = checked(folder, corpus(), GOAL, best).warnings
    assert web.startswith("corpus web: the encoder static does not know 100 % of the characters")
    assert 'set name = "multilingual-e5-small"' in web
    write_jsonl(folder / "target" / "goal.jsonl", khmer)
    _, goal = checked(folder, corpus(), GOAL, best).warnings
    assert goal.startswith("target goal: the encoder static does not know 100 % of the characters")
    assert checked(folder, corpus(), GOAL, selection("any")).warnings == []


def test_languages_that_are_no_codes_are_counted_in_the_first_rows(folder):
    rows = [{"text": text, "language": "English"} for text in texts("algebra", 30)]
    (folder / "documents" / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    english = '[filters]\nlanguages = ["en"]\n'
    (line,) = checked(folder, corpus(), GOAL, english).warnings
    assert line.startswith(
        'corpus web: 20 rows with a language that is no ISO 639 code among the first: "English" (20); '
    )


def read_as_it_is(folder, *sections: str):
    """Return a project whose files were read with these settings, as a run leaves it."""
    project = plain_project(folder, settings(*sections), {})
    snapshot = scan(project.project)
    by_name = {section.name: section for section in project.project.settings.corpus}
    shards = [(file.key, read_shard(file, by_name[file.corpus])) for file in snapshot.files.values()]
    for _group in store_shards(project.home.store, shards):
        pass
    for asset in ("raw_shards", "documents"):
        for key in snapshot.shards:
            record(project.home, asset, key, input_key=due_key(project.project, asset, key))
    return project


def test_rows_in_quarantine_of_files_that_are_read_again_do_not_count(tmp_path):
    rows = [json.dumps({"content": text}) for text in texts("algebra", 40)]
    write(tmp_path / "documents" / "a.jsonl", rows)
    project = read_as_it_is(tmp_path, corpus())
    assert checked_plan(project.project)[1].unread == ["40 of 40 rows could not be read: corpus web 40 of 40"]
    for right in ("content", "auto"):
        found = checked(tmp_path, corpus(text_column=right))
        assert (found.lines, found.shares[0].rows) == ([], 40)
    wrong = checked(tmp_path, corpus(text_column="body"))
    assert wrong.unread == ["40 of 40 rows would not be read: corpus web 40 of 40"], "not 40 of 80"
    assert "the files named below" in wrong.too_many[0]


def test_files_that_are_not_read_again_count_beside_those_that_are(tmp_path):
    for name, count in (("a", 30), ("b", 40)):
        rows = [json.dumps({"content": text}) for text in texts("algebra", count)]
        write(tmp_path / "documents" / f"{name}.jsonl", rows)
    read_as_it_is(tmp_path, corpus())
    write_jsonl(tmp_path / "documents" / "b.jsonl", texts("cooking", 170))
    assert checked(tmp_path, corpus()).unread == ["30 of 200 rows could not be read: corpus web 30 of 200"]


def test_files_that_are_not_looked_at_count_as_readable_once_they_are_read_again(tmp_path, monkeypatch):
    write(tmp_path / "documents" / "a.jsonl", ['{"content": "Some words"}'] * 40)
    project = read_as_it_is(tmp_path, corpus())
    monkeypatch.setattr("tamis.scan.remedies.is_looked_at", lambda _file: False)
    project.reconfigure('path = "documents"', 'path = "documents"\ntext_column = "content"')
    found = checked_plan(project.project)[1]
    assert (found.lines, found.shares[0].rows) == ([], 40)


def test_rows_of_a_target_that_is_read_again_count_as_its_files_tell(folder):
    write_jsonl(folder / "target" / "goal.jsonl", texts("sailing", 40))
    project = plain_project(folder, settings(corpus(), GOAL), {}).project
    bad = {"shard": "target/goal/b.jsonl", "row": -1, "reason": "missing_text_column", "detail": ""}
    entry = rows_of("quarantine", [bad | {"excerpt": "", "rows_lost": 30}])
    project.home.store.merge("quarantine", entry)
    record(project.home, "target_examples", "goal", beside={"rows_read": 70})
    assert checked(folder).lines == [], "its section or files changed, and all can be read now"
    write(folder / "target" / "b.jsonl", ['{"question": "why"}'] * 10)
    found = checked(folder)
    assert found.unread == ["10 of 50 rows of targets would not be read: target goal 10 of 50"]
    assert "target goal: 20.0 % of its rows would be in quarantine (10 of 50)" in found.too_many[0]
    assert found.warnings[0].startswith("target goal: b.jsonl (whole file), missing text column: no column")


def test_a_target_that_cannot_be_made_is_a_problem_of_the_status(folder, monkeypatch, capsys, nowhere):
    from tamis.cli import main

    write(folder / "target" / "goal.jsonl", ['{"question": "why"}'] * 40)
    project = plain_project(folder, settings(corpus(), GOAL), {})
    (line,) = checked(folder).unmet
    assert line.startswith("target goal: no row of goal.jsonl could be read; the first that could")
    assert "status" not in line, "which has nothing of it"
    status = read_status(project.project)
    assert status.problems() == status.to_json()["unmet"] == [line]
    assert status.lines()[-1].endswith("; `tamis materialize` begins once each target can be made")
    monkeypatch.chdir(folder)
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    assert main(["status"]) == 1
    assert line in capsys.readouterr().out
    note_made(project.project, "target_examples", "goal")
    assert read_status(project.project).unmet == []


def test_a_new_project_without_files_has_no_problem(tmp_path):
    for name in ("documents", "target"):
        (tmp_path / name).mkdir()
    assert read_status(plain_project(tmp_path, settings(corpus(), GOAL), {}).project).problems() == []


def test_texts_beside_the_files_with_columns_have_no_column_to_lack(tmp_path):
    for number in range(3):
        write(tmp_path / "documents" / f"{number}.txt", ["A text"])
    write(tmp_path / "documents" / "a.jsonl", ['{"content": "Some words"}'] * 5)
    (line,) = checked(tmp_path, corpus()).warnings
    assert line.startswith("corpus web: no file with columns has the text column: no column 'text' in 5 rows")


def test_target_path_says_which_model_is_not_causal_and_which_package_it_needs(folder, monkeypatch):
    path = selection("near", "target-path:given", target="goal")
    sections = (corpus(), GOAL, base_model("given", preset=None, path="model"), path)
    write(folder / "model" / "config.json", ['{"architectures": ["BertForMaskedLM"]}'])
    (line,) = checked(folder, *sections).warnings
    assert line.startswith(
        "the sampler target-path:given will fail: [[base_model]] given is a BertForMaskedLM"
    )
    for config in ('{"architectures": ["LlamaForCausalLM"]}', "{}", "no json", "[]"):
        write(folder / "model" / "config.json", [config])
        assert checked(folder, *sections).warnings == []
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "peft" else known(name))
    (line,) = checked(folder, *sections).warnings
    assert line.startswith("the sampler target-path:given needs the package 'peft'")
