"""Which processes a `tamis ui` ends or waits for: services that a killed one left, and its own, no others."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tamis.runtime import services
from tamis.runtime.services import children_awaited, end_left_over, kill_services

SLEEPS = [sys.executable, "-S", "-c", "import time; time.sleep(120)"]
PARENT = """
import os, subprocess, sys
child = subprocess.Popen(os.environ["WORDS"].split("|"), stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
if sys.argv[1] == "tamis":
    child.wait()
"""
DAEMON = ("-m", "dagster._daemon", "run", "--shutdown-pipe", "34")


@pytest.fixture
def processes() -> Iterator[list[psutil.Process]]:
    found: list[psutil.Process] = []
    yield found
    for one in found:
        if one.is_running():
            one.kill()


def started(processes: list[psutil.Process], project: Path, *words: str, parent: str) -> psutil.Process:
    """A process with these words on its command line that sleeps; its parent lives if it is called tamis."""
    above = subprocess.Popen(
        [sys.executable, "-S", "-c", PARENT, parent],
        env=os.environ | {"TAMIS_PROJECT": str(project), "WORDS": "|".join([*SLEEPS, *words])},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert above.stdout is not None
    process = psutil.Process(int(above.stdout.readline()))
    if parent == "tamis":
        processes.append(psutil.Process(above.pid))
    else:
        above.wait()
    processes.append(process)
    return process


def lives(process: psutil.Process) -> bool:
    """Whether it runs: an orphan that ended stays in the list of processes until somebody asks how."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_services_whose_ui_was_killed_are_ended_and_no_others(tmp_path, processes):
    project, other = tmp_path / "one.toml", tmp_path / "other.toml"
    webserver = ("-m", "dagster_webserver", "--port", "4310", "--shutdown-pipe", "33")
    left = [started(processes, project, *words, parent="gone") for words in (DAEMON, webserver)]
    kept = [
        started(processes, other, *DAEMON, parent="gone"),
        started(processes, project, "-m", "dagster._daemon", "run", parent="gone"),
        started(processes, project, "-m", "pytest", "--shutdown-pipe", "34", parent="gone"),
        started(processes, project, *DAEMON, parent="tamis"),
    ]
    assert end_left_over(project) == ["daemon", "webserver"]
    assert not any(lives(one) for one in left)
    assert all(lives(one) for one in kept)
    assert end_left_over(project) == []


def test_services_below_this_process_are_killed_and_a_run_goes_on(tmp_path, processes):
    project = tmp_path / "one.toml"
    code = ("-m", "dagster", "api", "grpc", "--lazy-load-user-code")
    services = [started(processes, project, *words, parent="tamis") for words in (DAEMON, code)]
    run = started(processes, project, "-m", "dagster", "api", "execute_run", parent="tamis")
    kill_services()
    for one in services:
        one.wait(10)
    assert lives(run)


def test_what_was_started_meanwhile_is_waited_for_though_it_is_an_orphan_and_what_was_there_is_not(
    tmp_path, processes, monkeypatch
):
    monkeypatch.setattr(services, "LOOKED_AT_SECONDS", 0.05)
    there = started(processes, tmp_path / "one.toml", parent="tamis")
    with children_awaited():
        shell = subprocess.Popen(["sh", "-c", "sleep 1.2 & echo $!; exec sleep .6"], stdout=subprocess.PIPE)
        assert shell.stdout is not None
        orphan = psutil.Process(int(shell.stdout.readline()))
        processes.append(orphan)
        assert shell.wait() == 0
        assert lives(orphan)
        began = time.monotonic()
    assert not lives(orphan)
    assert lives(there)
    assert time.monotonic() - began < services.PATIENCE_SECONDS / 2
