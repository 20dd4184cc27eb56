"""Kills, alterations and losses behind the command's back: found, named, and made good."""

import os
import random
import shutil

from crashes import draw, kill, lay, usual
from projects import VECTORS
from soundness import assert_sound, versions


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


def test_what_is_damaged_is_named_and_made_again(project):
    before = versions(project)
    shutil.rmtree(project.home.root / "lance" / "documents.lance")
    shutil.rmtree(project.home.fitted / "density_sketch")
    for file in (project.home.root / "lance" / "transport_algebra.lance" / "data").iterdir():
        file.write_bytes(b"")
    heads = project.store.read("heads").filter(asset="target_examples")
    manifest = heads["manifest"][0]
    (project.home.manifests / manifest[:2] / f"{manifest}.json").unlink()
    folder = project.manifests
    embedded = project.store.read("heads").filter(asset="embeddings").sort("partition")["manifest"][-1]
    lost = folder.rows_path(folder.read(embedded).rows[VECTORS])
    lost.unlink()
    said = project.tamis("status", code=1).stdout
    for part in (
        lost.name,
        "documents is missing",
        "transport_algebra is damaged",
        "density_sketch",
        "the manifest is missing",
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
    shutil.rmtree(project.home.dagster)
    assert "logged again" in project.tamis("materialize").stderr
    assert versions(project) == before
    assert project.json("audit")["status"] == "green"
    os.truncate(next(project.home.dagster.rglob("index.db")), 4_000)
    for verb in ("audit", "materialize"):
        assert "move that folder away" in project.tamis(verb, code=2).stderr
    assert versions(project) == before
