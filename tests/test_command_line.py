"""Verbs that read a materialized project, and calls that cannot be answered, in this process."""

import errno
import io
import json
import os
import re
import socket
import sqlite3
import subprocess
import tomllib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from dagster._cli.dev import dev_command
from mlflow.exceptions import MlflowException
from projects import (
    SMALL,
    SmallProject,
    make_project,
    plain_project,
    rows_of,
    sentences,
    settings,
    target,
    write_jsonl,
)

from tamis.base.errors import PermanentError
from tamis.base.installation import install_command
from tamis.base.trust import TRUST
from tamis.cli import COMPLETION, TITLES, main, serving, verbs
from tamis.cli.making import next_step
from tamis.cli.parts import answer
from tamis.graph.plan import Due
from tamis.report.address import pages_address
from tamis.runtime.instance_file import EARLIER, ON_SQLITE, POSTGRES_URL, prepare_folder
from tamis.runtime.services import noted
from tamis.scan.sources import scan_files
from tamis.store.retained import retain
from tamis.store.served import NOTE
from tamis.verbs.plan import with_damage
from tamis.verbs.status import read_status

EXPLANATION_KEYS = {"doc_id", "occurrences", "scores", "decisions", "serves", "checkpoints"}


@dataclass(frozen=True)
class Answer:
    """What a command printed, with the exit code it was expected to have."""

    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def tamis(monkeypatch, capsys, nowhere):
    """Return a function that runs a verb in a project's folder and checks its exit code."""

    def run(project: SmallProject, *arguments: str, code: int = 0) -> Answer:
        monkeypatch.chdir(project.root)
        for name, value in project.environment.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        found = main(list(arguments))
        said = Answer(*capsys.readouterr())
        assert found == code, said.err
        return said

    return run


@pytest.fixture
def project(tmp_path, materialized) -> SmallProject:
    """Return a materialized small project that the test may change."""
    return materialized(tmp_path / "copy")


@pytest.fixture
def empty(tmp_path, encoder_cache) -> SmallProject:
    """Return a small project of which nothing is made."""
    return make_project(tmp_path / "project", encoder_cache)


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def test_explain_names_scores_reasons_and_origin(built, tamis, tmp_path):
    chosen = built.store.read("selected_subset", ["doc_id"], "selection = 'near-algebra'")["doc_id"][0]
    found = tamis(built, "explain", chosen[:12], "--json").json
    assert set(found) == EXPLANATION_KEYS
    assert found["doc_id"] == chosen
    assert {"shard", "row", "source"} == set(found["occurrences"][0])
    assert all(0 <= score["percentile"] <= 100 for score in found["scores"])
    verdicts = {row["selection"]: row["verdict"] for row in found["decisions"]}
    assert verdicts["near-algebra"] == "selected"
    letter = tmp_path / "letter.txt"
    text = built.store.read("documents", ["text"], f"doc_id = '{chosen}'")["text"][0]
    letter.write_text(text, encoding="utf-8-sig")
    by_text = tamis(built, "explain", "--text", str(letter), "--json").json
    assert by_text == found, "a byte order mark is no part of a text"
    lines = tamis(built, "explain", chosen).out.splitlines()
    assert lines[0].startswith(f'document {chosen} "{text.split()[0]}')
    assert text[:20] not in json.dumps(found), "a text is not written where --json is sent"
    example = found["serves"][0]["example_id"]
    of_example = built.store.read("target_examples", ["text"], f"doc_id = '{example}'")["text"][0]
    assert any(line.strip().startswith(f'{example} "{of_example.split()[0]}') for line in lines)


def test_explain_says_when_its_answer_is_out_of_date(project, tamis):
    chosen = project.store.read("selected_subset", ["doc_id"])["doc_id"][0]
    assert "out of date" not in tamis(project, "explain", chosen).err
    write_jsonl(project.root / "landing" / "more.jsonl", sentences("sailing", 3, 5))
    said = tamis(project, "explain", chosen).err
    assert "selection near-algebra (and 1 more) is out of date: it waits for " in said
    unread = tamis(project, "explain", "--file", "landing/more.jsonl", code=2).err
    assert "has not been read yet" in unread


def test_a_question_about_a_file_scans_the_files_once(built, tamis, monkeypatch):
    scans, scanned = [], scan_files

    def counting(*given, **more):
        scans.append(given)
        return scanned(*given, **more)

    monkeypatch.setattr("tamis.scan.sources.scan_files", counting)
    assert "found in landing__algebra.jsonl, row 1 " in (
        tamis(built, "explain", "--file", "landing/algebra.jsonl", "--row", "1").out
    )
    assert len(scans) == 1


def test_gaps_lists_the_examples_that_nothing_serves(built, tamis, empty):
    found = tamis(built, "gaps", "algebra", "--json").json
    stored = built.store.read("target_gaps", where="is_gap")
    assert {row["example_id"] for row in found["gaps"]} == set(stored["doc_id"])
    assert set(found) == {"target", "examples", "typical_supply", "limit", "gaps"}
    assert found["examples"] == 30
    assert found["limit"] < found["typical_supply"]
    said = tamis(built, "gaps", "algebra").out
    some = f"{len(stored)} of the" if len(stored) else "all"
    assert f"near {some} 30 examples of algebra" in said
    assert "'target_gaps' has not been materialized yet" in tamis(empty, "gaps", "algebra", code=2).err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("explain", "nonsense"), "pass all 32 digits of the id"),
        (("explain", 300 * "a pasted text "), "pass all 32 digits of the id"),
        (("explain", "--file", "letter.txt"), "or the key of a shard"),
        (("explain", "--file", "landing/algebra.jsonl", "--row", "-1"), "x>=0"),
        (("export", "nothing"), "near-algebra"),
        (("gaps", "algebr"), "did you mean 'algebra'?"),
        (("diff", "near-algebra", "9"), "only version 1"),
        (("diff", "worst"), "valid: near-algebra"),
        (("restore", "near-algebra"), "VERSION or --latest"),
        (("restore", "near-algebra", "7"), "only version 1"),
        (("materialize", "--only", "nothing"), "valid: "),
        (("bench", "nothing"), "valid: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_call_that_names_nothing_is_refused_with_what_is_valid(built, tamis, words, said):
    assert said in tamis(built, *words, code=2).err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("statu",), "Did you mean 'status'?"),
        (("status", "--jsn"), "--json"),
        (("plan", "now"), "unexpected extra argument (now)"),
        (("materialize", "--quiet", "--verbose"), "use --quiet or --verbose, not both"),
        (("export",), "Missing argument 'SELECTION'"),
        (("export", "near-algebra", "--format", "csv"), "'parquet', 'jsonl'"),
        (("explain",), "a document id, --text FILE"),
        (("explain", "00", "--row", "3"), "--row N needs --file FILE"),
        (("explain", "--row", "3"), "--row N needs --file FILE"),
        (("health", "--only=tables", "nothing"), "'nothing' is not one of 'tables'"),
        (("approve", "near-algebra", "--all"), "name selections or use --all"),
        (("withdraw", "--reason", "because"), "'mistake'"),
        (("withdraw", "00", "--verify"), "it takes --text alone"),
        (("withdraw", "--list", "--corpus", "web"), "it takes no documents"),
        (("purge",), "--answers"),
        (("health", "--only", "tables", "nothing"), "'nothing' is not one of 'tables'"),
        (("diff", "near-algebra", "--limit", "-1"), "x>=0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_wrong_call_is_refused_with_what_would_be_right(capsys, words, said):
    assert main(words) == 2
    answered = capsys.readouterr()
    assert (said in answered.err, answered.out) == (True, "")


@pytest.mark.parametrize(
    "words",
    [
        ["--only", "tables", "writer", "--json"],
        ["--json", "--only", "tables", "writer"],
        ["--only", "tables", "--only", "writer", "--json"],
        ["--only=tables", "--only=writer", "--json"],
        ["--only=tables", "writer", "--json"],
    ],
    ids=" ".join,
)
def test_an_option_takes_several_values_at_once_or_one_by_one(empty, tamis, words):
    assert [one["part"] for one in tamis(empty, "health", *words).json["parts"]] == ["tables", "writer"]


def test_a_benchmark_gets_the_rest_of_the_call(empty, tamis, tmp_path, monkeypatch):
    (tmp_path / "checkout" / "benchmarks").mkdir(parents=True)
    (tmp_path / "checkout" / "benchmarks" / "made_up.py").write_text("import sys\nprint(sys.argv)")
    monkeypatch.setattr(serving, "BENCHMARKS", tmp_path / "checkout" / "benchmarks")
    monkeypatch.setattr("benchmarks.__path__", [str(tmp_path / "checkout" / "benchmarks")])
    assert tamis(empty, "bench").out == "made_up\n"
    said = tamis(empty, "bench", "made_up", "--help", "--rows", "3", "more").out
    assert said == "['made_up', '--help', '--rows', '3', 'more']\n"


def test_without_a_verb_the_families_are_listed(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    titles = [line.rstrip(":") for line in shown.splitlines() if line.endswith(":") and line[0] != " "]
    assert titles == ["Options", *TITLES.values()]
    listed = {line.split()[0] for line in shown.splitlines() if line.startswith("  ") and line.strip()}
    assert verbs.commands.keys() <= listed


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tamis {version('tamis')}\n"


def test_another_folder_and_how_much_is_said_are_options_before_the_verb(empty, tamis, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in empty.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TAMIS_PROJECT", raising=False)
    assert main(["status"]) == 2
    assert main(["-C", str(empty.root), "status"]) == 0
    monkeypatch.chdir(tmp_path)
    assert main(["-C", "nowhere", "status"]) == 2
    assert tamis(empty, "-q", "materialize", "--only", "raw_shards").err == ""
    assert "raw_shards is current" in tamis(empty, "materialize", "--only", "raw_shards").err
    assert main(["-q", "-v", "status"]) == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion_of_verbs_options_and_names(empty, monkeypatch, capsys, shell):
    monkeypatch.chdir(empty.root)
    monkeypatch.setenv(COMPLETION, f"{shell}_source")
    main([])
    assert "_TAMIS_COMPLETE" in capsys.readouterr().out
    monkeypatch.setenv(COMPLETION, f"{shell}_complete")
    for words, found in (
        ("tamis ex", "explain"),
        ("tamis status --js", "--json"),
        ("tamis export near", "near-algebra"),
    ):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv(
            "COMP_CWORD", words.split()[-1] if shell == "fish" else str(len(words.split()) - 1)
        )
        main([])
        assert found in capsys.readouterr().out


def test_every_verb_has_a_text_and_options_that_fit_eighty_columns(capsys):
    for words in [[], *([verb] for verb in verbs.commands)]:
        assert main([*words, "--help"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[2].strip(), words
        assert max(len(line) for line in lines) <= 80


def test_the_plan_of_a_project_without_documents_says_where_they_go(tmp_path, tamis):
    empty = plain_project(tmp_path, settings(target()), {})
    for name in ("documents", "target"):
        (tmp_path / name).mkdir()
    lines = tamis(empty, "plan").out.splitlines()
    assert lines[0].startswith("nothing to materialize yet: no corpus contains a file")
    assert [line.split(":")[0] for line in lines[1:]] == ["corpus web", "target goal"]
    (tmp_path / "documents" / "one.txt").write_text("now there is one")
    said = tamis(empty, "plan", code=1)
    assert "raw_shards: new, 1 shard" in said.out.splitlines()
    assert said.err.startswith("problem: 'goal': cannot list")


def test_the_plan_says_what_of_a_value_is_missing(project, tamis):
    lost = project.home.root / next(iter(project.manifest("selected_subset", "uniform").files))
    lost.unlink()
    name = project.home.relative(lost)
    assert f"selected_subset: file {name} is missing, 1 selection" in tamis(project, "plan").out
    for selection in ("uniform", "near-algebra"):
        project.manifests.path(project.current["selected_subset", selection].manifest).unlink()
    assert "selected_subset: the manifest is missing, 2 selections" in tamis(project, "plan").out


def test_several_problems_of_an_asset_have_one_line_in_the_plan():
    plan = [
        Due(asset="raw_shards", partition="new", reason="new"),
        *(Due(asset="documents", partition=name, reason="new") for name in "abc"),
    ]
    damage = {("documents", name): f"file {name} is missing" for name in "ab"}
    reasons = {one.partition: one.reason for one in with_damage(plan, damage)}
    both = "file a is missing, and 1 more like it"
    assert reasons == {"new": "new", "a": both, "b": both, "c": "new"}


def test_export_writes_the_chosen_documents(project, tamis):
    tamis(project, "export", "near-algebra", "--format", "jsonl")
    rows = pl.read_ndjson(project.home.exports / "near-algebra.jsonl")
    assert rows["rank"].to_list() == list(range(1, 21))
    own = ["doc_id", "rank", "margin", "shard", "row", "source", "licence", "text"]
    assert rows.columns[:8] == own
    assert rows["margin"].is_sorted(descending=True)
    lines = {path.name: path.read_text().splitlines() for path in (project.root / "landing").iterdir()}
    for shard, row, text in rows.select("shard", "row", "text").iter_rows():
        assert json.loads(lines[shard.removeprefix("landing__")][row])["text"] == text
    write_jsonl(project.root / "landing" / "more.jsonl", sentences("sailing", 3, 5))
    assert "this selection is out of date" in tamis(project, "export", "near-algebra").err


def test_materialize_ends_with_what_was_chosen_and_the_next_command(project, tamis):
    (project.home.reports / "selection_near-algebra.html").write_text("a page")
    said = tamis(project, "materialize")
    lines = said.out.splitlines()
    (first,) = [place for place, line in enumerate(lines) if line.startswith("Selection near-algebra")]
    assert lines[first].startswith("Selection near-algebra: 20 documents of ")
    assert lines[first + 1].startswith("  from algebra")
    best = project.store.read("decisions", ["doc_id", "rank"], "selection = 'near-algebra'").drop_nulls(
        "rank"
    )
    ids = best.sort("rank")["doc_id"][:3]
    assert [line.split()[1].rstrip(",") for line in lines[first + 2 : first + 5]] == [one[:12] for one in ids]
    assert ", found in landing__algebra.jsonl, row " in lines[first + 2]
    assert lines[first + 5] == f"  page: {project.home.reports / 'selection_near-algebra.html'}"
    assert lines[-1].startswith("Next: `tamis export near-algebra`")
    assert "everything is current" in said.err
    assert tamis(project, "materialize", "--quiet").out == ""


def test_a_restored_selection_that_waits_for_a_new_file_says_so(project, tamis):
    assert "not at that version" not in tamis(project, "restore", "near-algebra", "1").err
    write_jsonl(project.root / "landing" / "more.jsonl", sentences("sailing", 3, 5))
    said = tamis(project, "restore", "near-algebra", "1")
    assert "near-algebra is pinned to version 1" in said.out
    assert "not at that version yet (it waits for " in said.err
    shown = tamis(project, "status").out
    assert "near-algebra: 20 documents" in shown
    assert "out of date; pinned to version 1 since" in shown


def test_what_was_done_is_said_though_a_corpus_cannot_be_listed(project, tamis):
    doc_id = project.store.read("documents", ["doc_id"])["doc_id"].sort()[0]
    project.landing.rename(project.root / "unmounted")
    exported = tamis(project, "export", "near-algebra")
    assert "near-algebra.parquet: 20 documents" in exported.out
    assert "whether this selection is current cannot be checked: 'landing': cannot list" in exported.err
    restored = tamis(project, "restore", "near-algebra", "1", code=1)
    assert "near-algebra is pinned to version 1" in restored.out
    assert "not at that version yet: 'landing': cannot list" in restored.err
    done = tamis(project, "withdraw", doc_id, "--json").json
    assert done["withdrawn"] == [doc_id]
    assert (
        {place["file"] for place in done["still_in_files"]}
        == {p["shard"] for p in done["still_in_files"]}
        != set()
    )


def test_the_next_step_of_a_project_that_selects_nothing_is_a_selection(tmp_path):
    project = plain_project(tmp_path, settings()).project
    said = next_step(project, read_status(project), failing=False)
    assert said.startswith("`tamis ui` shows the graph; a [[selection]]")


def test_quarantine_is_a_warning_unless_it_is_strict_or_much(project, tamis):
    landing = project.root / "landing"
    for name in ("one.png", "more/two.png", "more/three.png"):
        (landing / name).parent.mkdir(exist_ok=True)
        (landing / name).write_text("no text")
    (landing / "other.jsonl").write_text('{"body": "a"}\n' * 15)
    (landing / "torn.jsonl").write_text('{"text": "torn\n{"text": 3}\n{"text": 4}\n{"text": 5}\n')
    steps = ("materialize", "--only", "raw_shards", "documents")
    text = project.file.read_text()
    project.configure(text.replace("[automation]", "[automation]\nmaximum_quarantine = 0.2"))
    said = tamis(project, *steps).err
    assert "warning: 22 of 202 rows would not be read: corpus landing 22 of 202\n" in said
    assert 'exclude = ["**/*.png"] in [[corpus]] landing' in said
    shown = tamis(project, "status").out
    assert shown.startswith("22 of 202 rows could not be read: corpus landing 22 of 202\n")
    assert "22 of 202 rows could not be read" in tamis(project, "plan").err
    assert "quarantine: 4 files and 4 rows left out:" in shown
    assert "3 files of an unsupported type: 1 .png in the corpus folder, 2 .png in more/;" in shown
    assert "other.jsonl (whole file), missing text column: no column 'text' in any of its 15 rows" in shown
    assert "torn.jsonl, 3 rows, the first is row 1, non text" in shown
    tamis(project, *steps, "--strict", code=1)
    project.configure(text)
    for command in (steps, ["status"], ["plan"]):
        said = tamis(project, *command, code=1)
        assert "(22 of 202), above maximum_quarantine = 0.05" in said.err + said.out


def test_an_export_of_an_earlier_choice_is_named(project, tamis):
    tamis(project, "export", "near-algebra")
    assert "the export of near-algebra is out of date" not in tamis(project, "status").out
    described = project.home.exports / "near-algebra.prov.json"
    described.write_text(
        described.read_text()
        .replace("tamis:dataVersion", "tamis:dataVersions")
        .replace(project.current["selected_subset", "near-algebra"].data_version, "0" * 64)
    )
    assert "warning: the export of near-algebra is out of date" in tamis(project, "status").out


def test_an_export_is_described_in_the_forms_of_other_tools(project, tamis):
    tamis(project, "export", "near-algebra")
    written = {path.name for path in project.home.exports.iterdir()}
    names = ("parquet", "card.md", "croissant.json", "openlineage.jsonl", "prov.json")
    assert written == {f"near-algebra.{name}" for name in names}


def test_an_audit_writes_a_tree_a_page_openlineage_and_prov(built, tamis, tmp_path):
    page, events, document = (str(tmp_path / name) for name in ("audit.html", "all.jsonl", "one.json"))
    said = tamis(built, "audit", "--tree", "--html", page, "--openlineage", events)
    assert said.out.startswith("GREEN")
    assert "└─ raw_shards[landing__algebra.jsonl]: green" in said.out
    assert "<svg" in (tmp_path / "audit.html").read_text()
    made = {json.loads(line)["job"]["name"] for line in (tmp_path / "all.jsonl").read_text().splitlines()}
    assert {"raw_shards", "selected_subset", "mart_selection_mix", "lineage_audit"} <= made
    tamis(built, "audit", "near-algebra", "--quick", "--prov", document)
    entities = json.loads((tmp_path / "one.json").read_text())["entity"].values()
    labels = {entity["prov:label"] for entity in entities}
    assert {"selected_subset[near-algebra]", "raw_shards[landing__algebra.jsonl]"} <= labels
    assert "selected_subset[uniform]" not in labels


def test_an_audit_against_an_anchor_names_what_is_gone(project, tamis):
    assert "root " in tamis(project, "audit", "--quick", "--anchor", "anchor.json").err
    assert tamis(project, "audit", "--quick", "--against", "anchor.json", "--json").json["status"] == "green"
    manifest = project.current["mart_reasons", ""].manifest
    (project.home.manifests / manifest[:2] / f"{manifest}.json").unlink()
    assert tamis(project, "audit", "uniform", "--quick", "--json").json["status"] == "green"
    found = tamis(project, "audit", "uniform", "--quick", "--against", "anchor.json", "--json", code=1).json
    assert found["lowest_broken"] == ["mart_reasons"]
    assert "the anchor anchor.json lists this manifest" in str(found["nodes"])


def test_an_audit_that_cannot_read_a_manifest_writes_no_prov(project, tamis, tmp_path):
    shard = project.current["raw_shards", "landing__algebra.jsonl"].manifest
    project.manifests.path(shard).write_text("{}")
    document = tmp_path / "one.json"
    assert "was not written" in tamis(project, "audit", "--quick", "--prov", str(document), code=1).err
    assert not document.exists()


def test_a_mart_names_the_versions_it_read_and_where_its_columns_come_from(built):
    mix = built.manifest("mart_selection_mix")
    versions = mix.beside["source_versions"]
    assert {"decisions", "documents", "occurrences"} <= versions.keys()
    assert versions["decisions"] == built.store.version("decisions")
    assert mix.files.keys() == {"reports/sql_mart_selection_mix.html"}
    page = (built.home.reports / "sql_mart_selection_mix.html").read_text()
    assert "<code>documents.n_bytes</code>" in page
    assert "<code>decisions.verdict</code>" in page


def test_wrong_settings_name_the_key_and_what_is_valid(empty, tamis):
    empty.configure(SMALL.replace('sampler = "got-d"', 'sampler = "gotd"'))
    said = tamis(empty, "materialize", code=2).err
    for part in ("sampler", "gotd", "got-d-quality"):
        assert part in said


VERBS = [
    *("status", "plan", "materialize", "init", "init below", "explain 12ab", "export best", "audit", "ui"),
    *("compare", "diff best", "restore best 1", "approve --all", "map best", "gaps goal", "health"),
    *("mixture", "tune", "withdraw --list", "purge --answers", "demo"),
]


@pytest.mark.parametrize(
    ("verb", "named"), [*((verb, False) for verb in VERBS), ("status", True), ("materialize", True)]
)
def test_a_current_folder_that_is_gone_is_named(tmp_path, monkeypatch, capsys, nowhere, verb, named):
    plain_project(tmp_path, settings())
    if named:
        monkeypatch.setenv("TAMIS_PROJECT", str(tmp_path / "tamis.toml"))
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(verb.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("tamis: the current folder no longer exists")
    assert len(said.splitlines()) == 1


def test_a_home_that_cannot_be_made_is_named(empty, tamis, monkeypatch):
    monkeypatch.setattr(SmallProject, "environment", empty.environment | {"TAMIS_HOME": "/proc/nowhere"})
    assert "/proc/nowhere" in tamis(empty, "materialize", code=1).err


@pytest.mark.parametrize(
    ("problem", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1, "is full"),
        (OSError(errno.EROFS, "Read-only file system"), 2, "cannot be written (Read-only file system)"),
    ],
)
def test_a_home_that_refuses_what_a_command_writes_is_named(empty, tamis, monkeypatch, problem, code, said):
    def refuse(*_given: Any) -> None:
        raise problem

    monkeypatch.setattr("tamis.store.unwritable.write_problem", lambda home: problem)
    monkeypatch.setattr("tamis.store.home._note_holder", refuse)
    monkeypatch.setattr("tamis.report.server.keep_port", refuse)
    for arguments in (("approve", "--all"), ("ui", "--port", free_port(), "--reports-port", free_port())):
        assert f"{empty.home.root} {said}" in tamis(empty, *arguments, code=code).err


def test_a_file_that_an_audit_cannot_write_is_named_and_is_no_red_audit(project, tamis, monkeypatch):
    def refuse(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tamis.cli.tracing.write_atomically", refuse)
    said = tamis(project, "audit", "--quick", "--html", "page.html", code=2).err
    assert "page.html cannot be written (No space left on device)" in said


def test_a_project_does_not_begin_in_a_file(empty, tamis):
    for folder in ("tamis.toml", "tamis.toml/below"):
        assert "tamis.toml is a file, but a project is a folder" in tamis(empty, "init", folder, code=2).err


def test_a_comparison_names_what_it_waits_for_and_old_quarantine_is_no_failure(project, tamis):
    (project.root / "landing" / "one.png").write_text("no text")
    tamis(project, "materialize", "--only", "raw_shards", "documents")
    (project.root / "landing" / "one.png").unlink()
    write_jsonl(project.root / "landing" / "more.jsonl", sentences("sailing", 3, 5))
    said = tamis(project, "compare", code=2).err
    assert "sampler_comparison is out of date (it waits for documents[landing__more.jsonl])" in said
    assert "quarantine" not in said


@pytest.mark.slow
def test_a_comparison_does_not_fail_for_quarantine_above_the_limit(project, tamis):
    (project.root / "landing" / "torn.jsonl").write_text('{"text": 3}\n{"text": 4}\n')
    tamis(project, "materialize")
    text = project.file.read_text()
    project.configure(text.replace("[automation]", "[automation]\nmaximum_quarantine = 0.001"))
    assert "above maximum_quarantine = 0.001" in tamis(project, "status", code=1).out
    said = tamis(project, "compare")
    assert "sampler_comparison.html" in said.out
    assert "quarantine" not in said.err


def test_what_waits_for_documents_is_named(empty, tamis):
    assert "has not been materialized yet" in tamis(empty, "compare", code=2).err
    said = tamis(empty, "materialize", "--only", "sampler_comparison", code=1).err
    assert "not made: sampler_comparison waits for documents[" in said


@pytest.fixture
def served(empty, tamis, monkeypatch):
    """Return a function that gives what `tamis ui` asks of `dagster dev`, and what it printed."""

    def run(*arguments: str) -> tuple[dict[str, Any], str]:
        asked: list[dict[str, Any]] = []

        def interrupted(context: Any) -> None:
            asked.append(context.params)
            raise KeyboardInterrupt

        monkeypatch.setattr(dev_command, "invoke", interrupted)
        said = tamis(empty, "ui", "--port", free_port(), *arguments, code=130).err
        return asked[-1], said

    return run


def test_the_ui_serves_localhost_unless_it_is_given_another_address(served):
    asked, said = served()
    assert asked["host"] == "127.0.0.1"
    assert "no login" not in said
    asked, said = served("--host", "0.0.0.0")
    assert asked["host"] == "0.0.0.0"
    assert "there is no login" in said


def test_the_ui_names_an_address_that_is_not_this_machines_and_a_port_that_is_taken(empty, tamis):
    elsewhere = tamis(empty, "ui", "--host", "192.0.2.1", "--port", free_port(), code=2)
    assert "cannot serve at 192.0.2.1" in elsewhere.err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port} is taken" in tamis(empty, "ui", "--port", port, code=2).err


@pytest.mark.parametrize("port", ["0", "-1", "65536", "99999"])
def test_a_port_that_does_not_exist_is_refused(empty, tamis, port):
    assert "is not in the range 1<=x<=65535" in tamis(empty, "ui", "--port", port, code=2).err


@pytest.mark.parametrize(("port", "other"), [(3000, 3002), (65535, 65533)])
def test_a_port_that_is_taken_advises_one_that_exists(port, other):
    assert f"--port {other}" in str(serving.PortTakenError(port, OSError(98, "in use")))


def test_the_ui_says_where_the_pages_are_and_keeps_their_port(empty, served, tamis):
    port = free_port()
    for arguments in (("--reports-port", port), ()):
        assert (
            f"http://127.0.0.1:{port}/{pages_address(empty.home).key}/ shows the report pages"
            in served(*arguments)[1]
        )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(port)))  # it is free again, and somebody else takes it
        taken.listen()
        assert f"port {port} is taken; the report pages and new links to them now use port " in served()[1]
        said = tamis(empty, "ui", "--port", free_port(), "--reports-port", port, code=2).err
    assert f"port {port} is taken" in said
    assert f"tamis ui --reports-port {int(port) + 2}" in said
    assert "need different ports" in tamis(empty, "ui", "--port", port, "--reports-port", port, code=2).err


def test_a_second_ui_of_a_home_is_refused_with_the_address_of_the_first(empty, tamis, served):
    with noted(empty.home, "127.0.0.1", 3456):
        assert "already served at http://127.0.0.1:3456;" in tamis(empty, "ui", code=2).err
        note = (empty.home.dagster / NOTE).read_text()
    ended = note.replace(f":{os.getpid()}:", ":999999999:")
    assert ended != note
    for stale in (ended, "[]", '{"process": 1}', '{"host'):
        (empty.home.dagster / NOTE).write_text(stale)
        served()


def test_a_missing_package_and_a_dagster_yaml_of_the_users_own_are_named(tmp_path, nowhere, monkeypatch):
    project = plain_project(tmp_path, SMALL, {}).project
    folder = prepare_folder(project)
    for written in EARLIER:
        (folder / "dagster.yaml").write_text(written)
        prepare_folder(project)
        assert (folder / "dagster.yaml").read_text() == ON_SQLITE
    before = (folder / "dagster.yaml").stat()
    prepare_folder(project)
    assert (folder / "dagster.yaml").stat() == before, "a home that may only be read can be audited"
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with pytest.raises(PermanentError, match="was not written by Tamis"):
        prepare_folder(project)
    monkeypatch.setenv(POSTGRES_URL, "postgresql://me@127.0.0.1/tamis")
    with pytest.raises(PermanentError, match="outside the database"):
        prepare_folder(project)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PermanentError, match=re.escape(install_command("postgres"))):
        prepare_folder(project)


@pytest.mark.parametrize(
    "written", [b"telemetry: [", b"telemetry", b"telemetry:\n  enab", b"- 1", b"unknown: 1", b"\xff\xfe"]
)
def test_a_damaged_dagster_yaml_is_named_with_the_way_back(empty, tamis, monkeypatch, written):
    monkeypatch.setenv(TRUST, "1")
    path = prepare_folder(empty.project) / "dagster.yaml"
    path.write_bytes(written)
    said = tamis(empty, "audit", code=2).err
    assert f"{path} is not a valid configuration of Dagster" in said
    assert "remove it" in said
    assert len(said) < 600
    path.unlink()
    tamis(empty, "audit")


def test_names_that_the_encoding_of_the_output_lacks_are_written_out(empty, tamis, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", out)
    tamis(empty, "init", "\u0442\u043e\u043c \xe9")
    name = "\u0442\u043e\u043c \xe9 \U0001f600"
    answer(True, {"name": name}, [])
    out.seek(0)
    said, _, printed = out.read().partition("{")
    assert r"\u0442\u043e\u043c \xe9/tamis.toml" in said
    assert json.loads("{" + printed) == {"name": name}


def test_purge_deletes_answers_of_a_server_and_says_how_many(empty, tamis):
    assert tamis(empty, "purge", "--answers").out == "no answers about removed documents are stored\n"
    ids = ["a" * 32, "b" * 32]
    rows = rows_of("scores_judge", [{"doc_id": one, "by_server": True} for one in ids])
    empty.store.merge("scores_judge", rows)
    retain(empty.store, "scores_judge", ids, local=False)
    assert tamis(empty, "purge", "--answers", "--json").json == {"server_answers": 2}
    assert tamis(empty, "purge", "--answers").out == "no answers about removed documents are stored\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (sqlite3.OperationalError("disk I/O error"), "OperationalError: disk I/O error"),
        (MlflowException("Detected out-of-date database schema"), "MlflowException: Detected out-of-date"),
    ],
)
def test_what_a_database_or_mlflow_says_is_a_line_and_no_traceback(empty, tamis, monkeypatch, error, said):
    def fail(_project):
        raise error

    monkeypatch.setattr("tamis.cli.making.read_status", fail)
    (line,) = tamis(empty, "status", code=1).err.splitlines()
    assert line.startswith(f"tamis: {said}")


def initialised(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what `tamis init` prints in a folder."""
    assert main(["init", str(folder)]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_new_project_has_the_name_of_its_folder(tmp_path, capsys):
    initialised(tmp_path / "My Data", capsys)
    assert tomllib.loads((tmp_path / "My Data" / "tamis.toml").read_text())["project"]["name"] == "my-data"


def test_a_new_project_keeps_its_results_out_of_git(tmp_path, capsys):
    subprocess.run(["git", "init", "-q", tmp_path / "new"], check=True)
    first, second = initialised(tmp_path / "new", capsys)
    assert first.startswith(f"wrote {tmp_path / 'new' / 'tamis.toml'}; ")
    assert second.startswith(f"wrote {tmp_path / 'new' / '.gitignore'}, so that git leaves out .tamis/")
    (tmp_path / "new" / ".tamis" / "lance").mkdir(parents=True)
    (tmp_path / "new" / ".tamis" / "lance" / "rows").touch()
    listed = subprocess.run(
        ["git", "-C", tmp_path / "new", "status", "--porcelain", "-uall"], capture_output=True, text=True
    )
    assert sorted(listed.stdout.splitlines()) == ["?? .gitignore", "?? tamis.toml"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"*.pyc\n", b"*.pyc\n# results of Tamis\n.tamis/\n"),
        (b"*.pyc", b"*.pyc\n# results of Tamis\n.tamis/\n"),
        (b"*.pyc\r\nbuild\r\n", b"*.pyc\r\nbuild\r\n# results of Tamis\r\n.tamis/\r\n"),
        (b"# .tamis/\n\xff\n", b"# .tamis/\n\xff\n# results of Tamis\n.tamis/\n"),
        *((line, line + b"# results of Tamis\n.tamis/\n") for line in (b".tamis-old/\n", b"my.tamis\n")),
        *(
            (line, line)
            for line in (
                b".tamis/\n",
                b"/.tamis",
                b"a\r\n.tamis \r\n",
                b"a\n**/.tamis/**\n",
                b"!.tamis/exports\n",
            )
        ),
    ],
)
def test_a_gitignore_that_is_there_keeps_its_lines(tmp_path, capsys, before, after):
    (tmp_path / ".gitignore").write_bytes(before)
    said = initialised(tmp_path, capsys)[1:]
    assert (tmp_path / ".gitignore").read_bytes() == after
    assert [line.startswith("added .tamis/ to ") for line in said] == [True] * (before != after)


def test_a_gitignore_that_cannot_be_written_is_no_reason_not_to_begin(tmp_path, capsys):
    (tmp_path / ".gitignore").mkdir()
    assert "add .tamis/ to it" in initialised(tmp_path, capsys)[1]
    assert (tmp_path / "tamis.toml").is_file()
    (tmp_path / "link").mkdir()
    (tmp_path / "shared").write_text("x\n")
    (tmp_path / "link" / ".gitignore").symlink_to(tmp_path / "shared")
    initialised(tmp_path / "link", capsys)
    assert ".tamis/" in (tmp_path / "shared").read_text()
