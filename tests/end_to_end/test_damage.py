"""Kills, alterations and losses behind the command's back: found, named, and made good."""

import json
import os
import random
import shutil

from crashes import draw, kill, lay, usual
from soundness import assert_sound, versions

from tamis.lineage.manifest import ManifestFolder
from tamis.store.tables import Store


def store_of(project) -> Store:
    return Store(project.home / "lance")


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
