"""The UI serves localhost unless another address is given, and says what that means."""

import contextlib
import os
import signal
import subprocess
import time

import psutil
from served import answers, free_port


def lives(process: psutil.Process) -> bool:
    """Whether it runs: an orphan that ended stays in the list of processes until somebody asks how."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def test_no_process_of_the_ui_listens_beyond_loopback(small_project):
    port = free_port()
    with (small_project.root / "server.log").open("w") as log:
        process = subprocess.Popen(
            small_project.command("ui", "--port", str(port)),
            cwd=small_project.root,
            env=small_project.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 180
        while not answers(port):
            assert time.monotonic() < deadline, (small_project.root / "server.log").read_text()[-3000:]
            time.sleep(1)
        listening = {
            found.laddr.ip.removeprefix("::ffff:")
            for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            for found in one.net_connections("inet")
            if found.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
        started = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does at Ctrl-C
        assert process.wait(60) == 130
        assert [one for one in started if lives(one)] == [], "it ends after all that it started"
        said = (small_project.root / "server.log").read_text()
        assert "Traceback" not in said
        assert said.splitlines()[-1] == "tamis: the UI and the sensors have stopped"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def test_the_ui_ends_at_a_request_to_terminate_while_it_starts(small_project):
    process = subprocess.Popen(
        small_project.command("ui", "--verbose", "--port", str(free_port())),
        cwd=small_project.root,
        env=small_project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "Launching Dagster services" in line:
            process.terminate()
            break
    said = process.stdout.read()
    assert process.wait(60) == 143, said
    assert "Traceback" not in said
    assert said.splitlines()[-1] == "tamis: the UI and the sensors have stopped"
