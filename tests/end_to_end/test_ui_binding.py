"""The UI serves localhost unless told otherwise, and says what it means to be told otherwise."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import psutil
import pytest

from tamis.cli import main


@pytest.fixture
def started(tmp_path, monkeypatch, nowhere):
    """The command that `tamis ui` would become."""
    (tmp_path / "tamis.toml").write_text('[[corpus]]\nname = "own"\nkind = "files"\npath = "texts"\n')
    monkeypatch.chdir(tmp_path)
    commands: list[list[str]] = []

    def become(_program: str, words: list[str]) -> None:
        commands.append(words)
        raise SystemExit

    monkeypatch.setattr(os, "execv", become)

    def run(*arguments: str) -> list[str]:
        with pytest.raises(SystemExit):
            main(["ui", "--port", str(free_port()), *arguments])
        return commands[-1]

    return run


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_localhost_is_what_nobody_has_to_ask_for(started, capsys):
    words = started()
    assert words[words.index("-h") + 1] == "127.0.0.1"
    assert "no login" not in capsys.readouterr().err


def test_another_address_is_served_with_a_word_about_who_may_come(started, capsys):
    words = started("--host", "0.0.0.0")
    assert words[words.index("-h") + 1] == "0.0.0.0"
    assert "there is no login" in capsys.readouterr().err


def test_an_address_that_is_not_this_machines_is_refused(started, capsys):
    assert main(["ui", "--host", "192.0.2.1", "--port", str(free_port())]) == 2
    assert "no address to serve at" in capsys.readouterr().err


@pytest.mark.slow
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
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False
