"""Ctrl-C and SIGTERM end a command with one line, no traceback, and the exit code of the signal."""

import os
import signal
import subprocess
import sys

import pytest
from projects import plain_project, settings

COMMAND = """
import sys, tamis.cli.removal
class Told:
    def read(self):
        {preparation}
        print("waits", flush=True)
        return stdin.buffer.read()
stdin, sys.stdin = sys.stdin, type("Input", (), dict(buffer=Told()))
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


@pytest.mark.parametrize(
    "preparation",
    ["pass", WITHIN_EXEC, AS_DAGSTER],
    ids=["alone", "within exec", "after a run of Dagster"],
)
@pytest.mark.parametrize("ignoring", [False, True], ids=["in the foreground", "in the background"])
@pytest.mark.parametrize(
    ("ended_by", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_a_command_with_one_line(start, preparation, ignoring, ended_by, code, said):
    process = start(preparation, ignoring)
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
class Told:
    def read(self):
        import torch
sys.stdin = type("Input", (), dict(buffer=Told()))
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
