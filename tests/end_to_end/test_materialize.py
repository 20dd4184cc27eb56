"""The command on a small project: from nothing, unchanged, with changed and bad files, after a kill."""

import gzip
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time

import pytest
from crashes import draw, kill, lay, usual
from small_project import SETTINGS, sentences, write_jsonl
from soundness import assert_sound, versions

from tamis.lineage.heads import read_heads
from tamis.lineage.manifest import ManifestFolder
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

EXPLANATION_KEYS = {"doc_id", "occurrences", "scores", "decisions", "checkpoints"}


@pytest.fixture(scope="module")
def built(tmp_path_factory, materialized):
    """A small project that was materialized once."""
    return materialized(tmp_path_factory.mktemp("built") / "project")


@pytest.fixture
def project(built, tmp_path):
    """A copy of it."""
    return built.copy(tmp_path / "copy")


def store_of(project) -> Store:
    return Store(project.home / "lance")


def state(project) -> tuple:
    """Everything that a run which does nothing must leave as it is."""
    store = store_of(project)
    tables = {name: store.version(name) for name in store.names()}
    manifests = sorted(path.name for path in (project.home / "manifests").rglob("*") if path.is_file())
    runs = len(list((project.home / "dagster").rglob("*.db")))
    return versions(project), tables, manifests, runs


def test_everything_is_made_and_a_second_time_nothing(built):
    before = state(built)
    done = built.tamis("materialize")
    assert "everything is current" in done.stderr
    assert state(built) == before
    made = {asset for asset, _partition in before[0]}
    assert {"documents", "transport_scores", "selected_subset", "decisions", "mart_reasons"} <= made
    assert built.json("plan") == []
    status = built.json("status")
    assert status["documents"] == 180
    assert status["quarantine"] == status["failed_checks"] == status["due"] == []


def test_a_copied_home_is_current_and_green(project):
    assert "everything is current" in project.tamis("materialize").stderr
    assert project.json("audit")["status"] == "green"
    assert "root " in project.tamis("audit", "near-algebra", "--quick", "--anchor", "anchor.json").stderr
    assert project.json("audit", "--quick", "--against", "anchor.json")["status"] == "green"
    anchored = json.loads((project.root / "anchor.json").read_text())["manifests"][0][2]
    (project.home / "manifests" / anchored[:2] / f"{anchored}.json").unlink()
    found = project.json("audit", "--quick", "--against", "anchor.json", code=1)
    assert "the anchor anchor.json names it" in str(found["nodes"])


def test_the_selection_follows_the_target_and_every_document_has_a_reason(built):
    decisions = store_of(built).read("decisions")
    assert decisions.group_by("selection").len()["len"].to_list() == [180, 180]
    assert decisions["reason"].null_count() == 0
    chosen = store_of(built).read("selected_subset", ["doc_id"], "selection = 'near-algebra'")
    shards = store_of(built).read("occurrences", ["doc_id", "shard"]).join(chosen, on="doc_id", how="semi")
    assert len(chosen) == 20
    assert (shards["shard"].str.contains("algebra")).mean() >= 0.9


def test_explain_names_scores_reasons_and_origin(built):
    chosen = store_of(built).read("selected_subset", ["doc_id"], "selection = 'near-algebra'")["doc_id"][0]
    found = built.json("explain", chosen[:12])
    assert set(found) == EXPLANATION_KEYS
    assert found["doc_id"] == chosen
    assert {"shard", "row", "source"} == set(found["occurrences"][0])
    assert all(0 <= score["percentile"] <= 100 for score in found["scores"])
    reasons = {row["selection"]: row["verdict"] for row in found["decisions"]}
    assert reasons["near-algebra"] == "selected"
    assert "32 hexadecimal digits" in built.tamis("explain", "nonsense", code=2).stderr
    text = store_of(built).read("documents", ["text"], f"doc_id = '{chosen}'")["text"][0]
    (built.root / "letter.txt").write_text(text, encoding="utf-8-sig")
    assert built.json("explain", "--text", "letter.txt") == found, "a byte order mark is no part of a text"
    assert "or a shard by its key" in built.tamis("explain", "--file", "letter.txt", code=2).stderr
    place = ("--file", "landing/algebra.jsonl", "--row", "-1")
    assert "rows are counted from 0" in built.tamis("explain", *place, code=2).stderr


def test_export_writes_the_chosen_documents(project):
    import polars as pl

    project.tamis("export", "near-algebra", "--format", "jsonl")
    rows = pl.read_ndjson(project.home / "exports" / "near-algebra.jsonl")
    assert len(rows) == 20
    assert rows["rank"].to_list() == list(range(1, 21))
    assert rows.columns == ["doc_id", "rank", "margin", "shard", "row", "source", "licence", "text"]
    assert rows["margin"].is_sorted(descending=True)
    lines = {path.name: path.read_text().splitlines() for path in (project.root / "landing").iterdir()}
    for shard, row, text in rows.select("shard", "row", "text").iter_rows():
        assert json.loads(lines[shard.removeprefix("landing__")][row])["text"] == text
    assert "near-algebra" in project.tamis("export", "nothing", code=2).stderr
    write_jsonl(project.root / "landing" / "more.jsonl", sentences("sailing", 3, 5))
    assert "this choice is out of date" in project.tamis("export", "near-algebra").stderr


def test_a_mart_tells_what_it_read_and_where_its_columns_come_from(built):
    head = read_heads(store_of(built))["mart_selection_mix", ""]
    mix = ManifestFolder(built.home / "manifests").read(head.manifest)
    versions = mix.beside["source_versions"]
    assert {"decisions", "documents", "occurrences"} <= versions.keys()
    assert versions["decisions"] == store_of(built).version("decisions")
    assert mix.files.keys() == {"reports/sql_mart_selection_mix.html"}
    page = (built.home / "reports" / "sql_mart_selection_mix.html").read_text()
    assert "<code>documents.n_bytes</code>" in page
    assert "<code>decisions.verdict</code>" in page


def test_lineage_is_written_in_the_forms_of_other_tools(project):
    project.tamis("export", "near-algebra")
    beside = {path.name for path in (project.home / "exports").iterdir()}
    names = ("parquet", "card.md", "croissant.json", "openlineage.jsonl", "prov.json")
    assert beside == {f"near-algebra.{name}" for name in names}
    events, document = project.root / "all.jsonl", project.root / "one.json"
    project.tamis("audit", "--quick", "--openlineage", str(events))
    made = {json.loads(line)["job"]["name"] for line in events.read_text().splitlines()}
    assert {"raw_shards", "selected_subset", "mart_selection_mix", "lineage_audit"} <= made
    project.tamis("audit", "near-algebra", "--quick", "--prov", str(document))
    labels = {entity["prov:label"] for entity in json.loads(document.read_text())["entity"].values()}
    assert {"selected_subset[near-algebra]", "raw_shards[landing__algebra.jsonl]"} <= labels
    assert "selected_subset[uniform]" not in labels
    document.unlink()
    shard = read_heads(store_of(project))["raw_shards", "landing__algebra.jsonl"].manifest
    ManifestFolder(project.home / "manifests").path(shard).write_text("{}")
    assert "was not written" in project.tamis("audit", "--quick", "--prov", str(document), code=1).stderr
    assert not document.exists()


def test_a_changed_file_changes_what_depends_on_it_and_taking_it_back_undoes_it(project):
    before = versions(project)
    original = (project.root / "landing" / "cooking.jsonl").read_text()
    write_jsonl(project.root / "landing" / "cooking.jsonl", sentences("algebra", 60, 9))
    project.tamis("materialize")
    after = versions(project)
    changed = {key for key in before if after.get(key) != before[key]}
    assert ("documents", "landing__cooking.jsonl") in changed
    assert ("selected_subset", "near-algebra") in changed
    assert ("documents", "landing__sailing.jsonl") not in changed
    told = project.json("diff", "near-algebra")
    assert (told["from"]["version"], told["to"]["version"]) == (1, 2)
    assert told["causes"]["in"]["new_document"] > 0
    assert told["counts"]["in"] == told["counts"]["out"] == 20 - told["counts"]["kept"] > 0
    assert store_of(project).count("documents") == store_of(project).count("embeddings_static") == 180
    (project.root / "landing" / "cooking.jsonl").write_text(original)
    project.tamis("materialize")
    assert versions(project) == before
    first, _second, third = project.json("diff", "near-algebra", "--list")
    assert third["data_version"] == first["data_version"]


def test_an_added_and_removed_shard_leaves_nothing_behind(project):
    before = versions(project)
    write_jsonl(project.root / "landing" / "new.jsonl", sentences("algebra", 30, 5))
    project.tamis("materialize")
    assert store_of(project).count("documents") == 210
    (project.root / "landing" / "new.jsonl").unlink()
    project.tamis("materialize")
    assert versions(project) == before
    for table in ("documents", "embeddings_static", "scores_density", "transport_algebra"):
        assert store_of(project).count(table) == 180


def test_bad_input_goes_to_quarantine_and_loses_nothing_beside_it(project):
    landing = project.root / "landing"
    good = sentences("sailing", 5, 11)
    whole = gzip.compress("".join(json.dumps({"text": text}) + "\n" for text in good * 40).encode())
    (landing / "broken.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (landing / "latin.jsonl").write_bytes(
        json.dumps({"text": good[0]}).encode()
        + b'\n{"text": "caf\xe9 noir"}\n'
        + json.dumps({"text": good[1]}).encode()
    )
    (landing / "columns.csv").write_text("body,other\nhello,1\n")
    (landing / "empty.jsonl").write_text("")
    with (landing / "giant.jsonl").open("w") as stream:
        stream.write(json.dumps({"text": good[2]}) + "\n")
        stream.write('{"text": "' + "x" * 50_000_000 + '"}\n')
        stream.write(json.dumps({"text": good[3]}) + "\n")
    done = project.tamis("materialize", code=1)
    assert "quarantine" in done.stderr
    found = {(row["shard"], row["reason"]) for row in project.json("status", code=1)["quarantine"]}
    reasons = {shard.removeprefix("landing__").split(".")[0]: reason for shard, reason in found}
    assert reasons == {
        "broken": "broken_compression",
        "latin": "wrong_encoding",
        "columns": "missing_text_column",
        "empty": "empty_file",
        "giant": "giant_row",
    }
    store = store_of(project)
    assert store.count("occurrences", "shard LIKE '%giant%'") == 2
    assert store.count("occurrences", "shard LIKE '%latin%'") == 2
    said = project.tamis("status", code=1).stdout
    assert "quarantine: landing__latin.jsonl row 1: wrong_encoding" in said
    assert "quarantine: landing__columns.csv as a whole: missing_text_column" in said
    for name in ("columns.csv", "empty.jsonl", "giant.jsonl"):
        (landing / name).unlink()
    (landing / "broken.jsonl.gz").write_bytes(whole)
    (landing / "latin.jsonl").write_text(json.dumps({"text": "caf\xe9 noir et un croissant chaud"}) + "\n")
    project.tamis("materialize")
    assert project.json("status")["quarantine"] == []
    assert store_of(project).count("occurrences", "shard LIKE '%latin%'") == 1
    assert store_of(project).count("occurrences", "shard LIKE '%broken%'") == 200


def test_bad_rows_of_a_target_go_to_quarantine_and_leave_it_when_they_are_repaired(project):
    target = project.root / "target" / "algebra.jsonl"
    whole, before = target.read_text(), versions(project)
    target.write_text(whole + 'broken\n{"body": "no text here"}\n{"text": 3}\n')
    assert "quarantine: target/algebra/algebra.jsonl" in project.tamis("materialize", code=1).stderr
    found = project.json("status", code=1)["quarantine"]
    assert [(row["shard"], row["row"], row["reason"]) for row in found] == [
        ("target/algebra/algebra.jsonl", 60, "malformed_row"),
        ("target/algebra/algebra.jsonl", 61, "missing_text_column"),
        ("target/algebra/algebra.jsonl", 62, "non_text"),
    ]
    assert "quarantine: target/algebra/algebra.jsonl row 60" in project.tamis("status", code=1).stdout
    assert project.json("audit")["status"] == "green"
    assert versions(project) == before, "the examples are the same"
    again = state(project)
    project.tamis("materialize", code=1)
    assert state(project) == again
    store_of(project).replace("quarantine", schema_of("quarantine").empty_table(), "row = 61")
    assert project.json("audit", code=1)["status"] == "red", "a row that is gone is found"
    target.write_text(whole)
    project.tamis("materialize")
    assert project.json("status")["quarantine"] == []
    assert versions(project) == before
    assert_sound(project)


def test_a_file_that_is_still_being_written_waits(project):
    import threading

    growing = project.root / "landing" / "growing.jsonl"
    stop = threading.Event()

    def write():
        while not stop.wait(0.2):
            with growing.open("a") as stream:
                stream.write(json.dumps({"text": sentences("sailing", 1, int(time.time() * 1e6))[0]}) + "\n")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        time.sleep(0.5)
        project.tamis("materialize", code=1)
        quarantine = project.json("status", code=1)["quarantine"]
        assert [row["reason"] for row in quarantine] == ["still_being_written"]
    finally:
        stop.set()
        writer.join()
    time.sleep(1.5)
    project.tamis("materialize")
    assert project.json("status")["quarantine"] == []
    assert store_of(project).count("occurrences", "shard LIKE '%growing%'") > 0


def test_five_killed_runs_and_files_that_change_back_leave_what_an_undisturbed_run_does(project, built):
    known, chance = usual(built), random.Random(9)
    lay(project, "third")
    for moment in draw(project, known, 3, chance):
        kill(project, *moment)
    lay(project, "first")
    for _ in range(2):
        kill(project, *draw(project, known, 1, chance, ready=True)[0])
    project.tamis("materialize")
    assert versions(project) == versions(built)
    assert_sound(project)


def test_the_audit_names_an_altered_row(project):
    import pyarrow as pa

    store = store_of(project)
    rows = store.read_arrow("transport_algebra").sort_by("doc_id").slice(0, 1)
    forged = rows.set_column(2, rows.schema.field(2), pa.array([-9.0]))
    store.merge("transport_algebra", forged)
    done = project.tamis("audit", "--json", code=1)
    found = json.loads(done.stdout)
    assert found["status"] == "red"
    assert found["lowest_broken"] == ["transport_scores[algebra]"]


def test_an_audit_is_a_tree_a_page_and_an_anchor_that_shows_what_is_gone(project):
    page, anchor = project.root / "audit.html", project.root / "anchor.json"
    said = project.tamis("audit", "--html", str(page), "--anchor", str(anchor))
    assert said.stdout.startswith("GREEN")
    assert "└─ raw_shards[landing__algebra.jsonl]: green" in said.stdout
    assert "root " in said.stderr
    assert "<svg" in page.read_text()
    assert project.json("audit", "uniform", "--against", str(anchor))["status"] == "green"
    manifest = store_of(project).read("heads").filter(asset="mart_reasons")["manifest"][0]
    (project.home / "manifests" / manifest[:2] / f"{manifest}.json").unlink()
    assert project.json("audit", "uniform", "--quick")["status"] == "green"
    found = project.json("audit", "uniform", "--quick", "--against", str(anchor), code=1)
    assert found["lowest_broken"] == ["mart_reasons"]


def test_wrong_settings_name_the_key(project):
    text = SETTINGS.replace('sampler = "got-d"', 'sampler = "gotd"')
    (project.root / "tamis.toml").write_text(text)
    said = project.tamis("materialize", code=2).stderr
    assert "sampler" in said
    assert "gotd" in said
    assert "got-d-quality" in said


def test_what_is_damaged_is_named_and_made_again(project):
    before = versions(project)
    shutil.rmtree(project.home / "lance" / "documents.lance")
    shutil.rmtree(project.home / "fitted" / "density_sketch")
    for file in (project.home / "lance" / "transport_algebra.lance" / "data").iterdir():
        file.write_bytes(b"")
    heads = store_of(project).read("heads").filter(asset="target_examples")
    manifest = heads["manifest"][0]
    (project.home / "manifests" / manifest[:2] / f"{manifest}.json").unlink()
    folder = ManifestFolder(project.home / "manifests")
    embedded = store_of(project).read("heads").filter(asset="embeddings").sort("partition")["manifest"][-1]
    lost = folder.rows_path(folder.read(embedded).rows["embeddings_static"])
    lost.unlink()
    said = project.tamis("status", code=1).stdout
    for part in (
        lost.name,
        "documents is missing",
        "transport_algebra is damaged",
        "density_sketch",
        "its manifest is missing",
    ):
        assert part in said
    assert project.json("audit", code=1)["status"] == "red"
    project.tamis("export", "near-algebra", code=2)
    project.tamis("materialize")
    assert versions(project) == before
    assert project.json("audit")["status"] == "green"
    assert "20 documents" in project.tamis("export", "near-algebra").stdout


def test_a_lost_event_log_is_written_again(project):
    before = versions(project)
    shutil.rmtree(project.home / "dagster")
    assert "logged again" in project.tamis("materialize").stderr
    assert versions(project) == before
    assert project.json("audit")["status"] == "green"
    os.truncate(next((project.home / "dagster").rglob("index.db")), 4_000)
    for verb in ("audit", "materialize"):
        assert "move that folder away" in project.tamis(verb, code=2).stderr
    assert versions(project) == before


def test_each_verb_says_what_it_cannot_do(project, tmp_path):
    assert "everything is current" in project.tamis("materialize").stderr
    assert "got-d" in project.tamis("compare").stdout
    name = os.fsdecode(b"bad\xff\xfename.jsonl")
    (project.root / "landing" / name).write_text('{"text": "a document in a file of an odd name"}\n')
    os.symlink("itself.jsonl", project.root / "landing" / "itself.jsonl")
    project.tamis("materialize")
    assert store_of(project).count("documents", "text LIKE '%odd name'") == 1
    environment = project.environment | {"TAMIS_HOME": "/proc/nowhere"}
    done = subprocess.run(
        project.command("materialize"), cwd=project.root, env=environment, capture_output=True
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


def test_what_cannot_be_done_yet_is_said(small_project):
    assert "has not been made yet" in small_project.tamis("compare", code=2).stderr
    alone = small_project.tamis("materialize", "--only", "sampler_comparison", code=1)
    assert "not made: sampler_comparison waits for documents[" in alone.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port} is taken" in small_project.tamis("ui", "--port", port, code=2).stderr


def test_ctrl_c_and_termination_end_the_command_and_the_next_one_goes_on(small_project):
    for ended_by in (signal.SIGINT, signal.SIGTERM):
        running = subprocess.Popen(
            small_project.command("materialize"),
            cwd=small_project.root,
            env=small_project.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert running.stderr is not None
        for line in running.stderr:
            if "materializing" in line:
                running.send_signal(ended_by)
                break
        said = running.stderr.read()
        assert running.wait(timeout=120) == 130, said
        assert "run the same command again" in said
    small_project.tamis("materialize")
    assert small_project.json("plan") == []
