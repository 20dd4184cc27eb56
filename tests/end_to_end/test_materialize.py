"""The command on a small project: from nothing, unchanged, and what each verb says of it."""

import json
import os
import signal
import subprocess

EXPLANATION_KEYS = {"doc_id", "occurrences", "scores", "decisions", "serves", "checkpoints"}


def test_a_copied_home_is_current_and_green(project):
    assert "everything is current" in project.tamis("materialize").stderr
    assert project.json("audit")["status"] == "green"
    assert "root " in project.tamis("audit", "near-algebra", "--quick", "--anchor", "anchor.json").stderr
    assert project.json("audit", "--quick", "--against", "anchor.json")["status"] == "green"
    anchored = json.loads((project.root / "anchor.json").read_text())["manifests"][0][2]
    (project.home.manifests / anchored[:2] / f"{anchored}.json").unlink()
    found = project.json("audit", "--quick", "--against", "anchor.json", code=1)
    assert "the anchor anchor.json lists this manifest" in str(found["nodes"])


def test_each_verb_says_what_it_cannot_do(project, tmp_path):
    assert "everything is current" in project.tamis("materialize").stderr
    assert "got-d" in project.tamis("compare").stdout
    name = os.fsdecode(b"bad\xff\xfename.jsonl")
    (project.root / "landing" / name).write_text('{"text": "a document in a file of an odd name"}\n')
    os.symlink("itself.jsonl", project.root / "landing" / "itself.jsonl")
    project.tamis("materialize")
    assert project.store.count("documents", "text LIKE '%odd name'") == 1
    environment = project.environment | {"TAMIS_HOME": "/proc/nowhere"}
    done = subprocess.run(
        project.command("materialize"), cwd=project.root, env=environment, capture_output=True
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


def test_ctrl_c_and_termination_end_the_command_and_the_next_one_goes_on(small_project):
    for ended_by, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        running = subprocess.Popen(
            small_project.command("materialize", "--verbose"),
            cwd=small_project.root,
            env=small_project.environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert running.stderr is not None
        for line in running.stderr:
            if line.endswith(": started\n"):
                os.killpg(running.pid, ended_by)  # as a terminal does: to the command and all its processes
                break
        said = running.stderr.read()
        assert running.wait(timeout=120) == code, said
        assert said.count("run the same command again") == 1
        assert "Traceback" not in said
        assert "FAILED" not in said
    small_project.tamis("materialize")
    assert small_project.json("plan") == []


def test_what_failed_is_named_at_once_and_by_the_status_until_it_is_mended(small_project):
    small_project.reconfigure("train = 30", "train = 300")
    said = small_project.tamis("materialize", "--only", "target_examples", code=1).stderr
    assert said.count("need 315 distinct examples") == 2, "before, and at the end"
    assert (
        "failed: target_examples[algebra]: train = 300 and held_out = 15 need 315"
        in small_project.tamis("status", code=1).stdout
    )
    small_project.reconfigure("train = 300", "train = 30")
    assert "failed:" not in small_project.tamis("status").stdout
