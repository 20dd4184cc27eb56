"""The command on a small project: from nothing, unchanged, and what each verb tells of it."""

import json
import os
import signal
import socket
import subprocess

from small_project import SETTINGS, sentences, write_jsonl
from soundness import state

from tamis.lineage.heads import read_heads
from tamis.lineage.manifest import ManifestFolder
from tamis.store.tables import Store

EXPLANATION_KEYS = {"doc_id", "occurrences", "scores", "decisions", "checkpoints"}


def store_of(project) -> Store:
    return Store(project.home / "lance")


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


def test_wrong_settings_name_the_key(project):
    text = SETTINGS.replace('sampler = "got-d"', 'sampler = "gotd"')
    (project.root / "tamis.toml").write_text(text)
    said = project.tamis("materialize", code=2).stderr
    assert "sampler" in said
    assert "gotd" in said
    assert "got-d-quality" in said


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


def test_what_failed_is_told_and_by_the_status_until_it_is_mended(small_project):
    settings = small_project.root / "tamis.toml"
    right = settings.read_text()
    settings.write_text(right.replace("train = 30", "train = 300"))
    said = small_project.tamis("materialize", "--only", "target_examples", code=1).stderr
    assert said.count("need 315 distinct examples") == 2, "when it happens, and at the end"
    assert (
        "failed: target_examples[algebra]: train = 300 and held_out = 15 need 315"
        in small_project.tamis("status", code=1).stdout
    )
    settings.write_text(right)
    assert "failed:" not in small_project.tamis("status").stdout
