"""How a command ends: with one line, no traceback and the exit code of a signal, or of its output."""

import os
import signal
import subprocess
import sys
from itertools import product

import pytest
from projects import plain_project, settings

COMMAND = """
import sys, tamis.cli.removal
class Announced:
    def read(self):
        {preparation}
        print("waits", flush=True)
        return stdin.buffer.read()
stdin, sys.stdin = sys.stdin, type("Input", (), dict(buffer=Announced()))
sys.argv = ["tamis", "withdraw", "--text", "-"]
tamis.cli.console()
"""
WITHIN_EXEC = "print('waits', flush=True); exec('stdin.buffer.read()')"
BACKGROUND = ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")
AS_DAGSTER = "import dagster._utils.interrupts as i; i.setup_interrupt_handlers()"


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a command in a project that waits for its standard input, after a preparation.

    `ignoring`: as a script starts it in the background.
    """
    plain_project(tmp_path, settings())
    for name in ("TAMIS_PROJECT", "TAMIS_HOME"):
        monkeypatch.delenv(name, raising=False)

    def starting(preparation: str, ignoring: bool = False) -> subprocess.Popen[str]:
        (tmp_path / "waiting_command.py").write_text(COMMAND.format(preparation=preparation))
        process = subprocess.Popen(
            [*(BACKGROUND if ignoring else ()), sys.executable, "-m", "waiting_command"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        return process

    return starting


PREPARATIONS = {"alone": "pass", "within exec": WITHIN_EXEC, "after a run of Dagster": AS_DAGSTER}
PLACES = {"in the foreground": False, "in the background": True}
ENDS = {"SIGINT": (signal.SIGINT, 130, "interrupted"), "SIGTERM": (signal.SIGTERM, 143, "terminated")}
EVERY_TWO = [
    ("alone", "in the foreground", "SIGINT"),
    ("alone", "in the background", "SIGTERM"),
    ("within exec", "in the background", "SIGINT"),
    ("within exec", "in the foreground", "SIGTERM"),
    ("after a run of Dagster", "in the foreground", "SIGTERM"),
    ("after a run of Dagster", "in the background", "SIGINT"),
]
"""Of three ways that a command may be when a signal comes, each pair."""
CASES = [
    pytest.param(*case, marks=[] if case in EVERY_TWO else [pytest.mark.slow])
    for case in product(PREPARATIONS, PLACES, ENDS)
]


@pytest.mark.parametrize(("preparation", "place", "ended_by"), CASES)
def test_a_signal_ends_a_command_with_one_line(start, preparation, place, ended_by):
    ended_by, code, said = ENDS[ended_by]
    process = start(PREPARATIONS[preparation], PLACES[place])
    process.send_signal(ended_by)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (code, f"tamis: {said}; run the same command again to continue\n")


SLOW_TORCH = """
import os, signal
os.kill(os.getpid(), signal.{signal})
print("loaded whole", flush=True)
"""
LOADING = """
import sys, tamis.cli.removal
class Announced:
    def read(self):
        import torch
sys.stdin = type("Input", (), dict(buffer=Announced()))
sys.argv = ["tamis", "withdraw", "--text", "-"]
tamis.cli.console()
"""


@pytest.mark.parametrize(("ended_by", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_waits_until_torch_is_loaded(tmp_path, monkeypatch, ended_by, code):
    # The real one aborts the process (exit -6) where the signal comes within its C++.
    plain_project(tmp_path, settings())
    (tmp_path / "torch.py").write_text(SLOW_TORCH.format(signal=ended_by))
    for name in ("TAMIS_PROJECT", "TAMIS_HOME"):
        monkeypatch.delenv(name, raising=False)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    ran = subprocess.run(
        [sys.executable, "-c", LOADING], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (code, "loaded whole\n")
    assert len(ran.stderr.splitlines()) == 1
