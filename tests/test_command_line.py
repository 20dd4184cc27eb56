"""Verbs that read a materialized project, and calls that cannot be answered, in this process."""

import json
import socket
from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest
from dagster._cli.dev import dev_command
from projects import SMALL, SmallProject, make_project, plain_project, rows_of, sentences, write_jsonl

from resources.instance import ON_SQLITE, POSTGRES_URL, prepare_folder
from tamis.base.errors import PermanentError
from tamis.cli import main
from tamis.store.retained import retain

EXPLANATION_KEYS = {"doc_id", "occurrences", "scores", "decisions", "checkpoints"}


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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("explain", "nonsense"), "32 hexadecimal digits"),
        (("explain", "--file", "letter.txt"), "or a shard by its key"),
        (("explain", "--file", "landing/algebra.jsonl", "--row", "-1"), "rows are counted from 0"),
        (("export", "nothing"), "near-algebra"),
        (("diff", "near-algebra", "9"), "but version 1"),
        (("diff", "worst"), "valid: near-algebra"),
        (("restore", "near-algebra"), "VERSION or --latest"),
        (("restore", "near-algebra", "7"), "but version 1"),
        (("materialize", "--only", "nothing"), "valid: "),
        (("bench", "nothing"), "valid: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_call_that_names_nothing_is_refused_with_what_is_valid(built, tamis, words, said):
    assert said in tamis(built, *words, code=2).err


def test_export_writes_the_chosen_documents(project, tamis):
    tamis(project, "export", "near-algebra", "--format", "jsonl")
    rows = pl.read_ndjson(project.home.exports / "near-algebra.jsonl")
    assert rows["rank"].to_list() == list(range(1, 21))
    assert rows.columns == ["doc_id", "rank", "margin", "shard", "row", "source", "licence", "text"]
    assert rows["margin"].is_sorted(descending=True)
    lines = {path.name: path.read_text().splitlines() for path in (project.root / "landing").iterdir()}
    for shard, row, text in rows.select("shard", "row", "text").iter_rows():
        assert json.loads(lines[shard.removeprefix("landing__")][row])["text"] == text
    write_jsonl(project.root / "landing" / "more.jsonl", sentences("sailing", 3, 5))
    assert "this choice is out of date" in tamis(project, "export", "near-algebra").err


def test_an_export_is_described_in_the_forms_of_other_tools(project, tamis):
    tamis(project, "export", "near-algebra")
    written = {path.name for path in project.home.exports.iterdir()}
    names = ("parquet", "card.md", "croissant.json", "openlineage.jsonl", "prov.json")
    assert written == {f"near-algebra.{name}" for name in names}


def test_an_audit_writes_a_tree_a_page_openlineage_and_prov(built, tamis, tmp_path):
    page, events, document = (str(tmp_path / name) for name in ("audit.html", "all.jsonl", "one.json"))
    said = tamis(built, "audit", "--html", page, "--openlineage", events)
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
    assert "the anchor anchor.json names it" in str(found["nodes"])


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


def test_a_home_that_cannot_be_made_is_named(empty, tamis, monkeypatch):
    monkeypatch.setattr(SmallProject, "environment", empty.environment | {"TAMIS_HOME": "/proc/nowhere"})
    assert "/proc/nowhere" in tamis(empty, "materialize", code=1).err


def test_what_waits_for_documents_is_named(empty, tamis):
    assert "has not been made yet" in tamis(empty, "compare", code=2).err
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
    assert "no address to serve at" in elsewhere.err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port} is taken" in tamis(empty, "ui", "--port", port, code=2).err


def test_a_missing_package_and_a_dagster_yaml_of_the_users_own_are_named(tmp_path, nowhere, monkeypatch):
    project = plain_project(tmp_path, SMALL, {}).project
    folder = prepare_folder(project)
    assert (folder / "dagster.yaml").read_text() == ON_SQLITE
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv(POSTGRES_URL, "postgresql://me@127.0.0.1/tamis")
    with pytest.raises(PermanentError, match="somewhere else than in the database"):
        prepare_folder(project)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PermanentError, match=r"pip install -e '\.\[postgres\]'"):
        prepare_folder(project)


def test_purge_deletes_answers_of_a_server_and_says_how_many(empty, tamis):
    assert tamis(empty, "purge", "--answers").out == "no answer is retained\n"
    ids = ["a" * 32, "b" * 32]
    rows = rows_of("scores_judge", [{"doc_id": one, "by_server": True} for one in ids])
    empty.store.merge("scores_judge", rows)
    retain(empty.store, "scores_judge", ids, local=False)
    assert tamis(empty, "purge", "--answers", "--json").json == {"server_answers": 2}
    assert tamis(empty, "purge", "--answers").out == "no answer is retained\n"
