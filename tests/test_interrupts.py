"""How a command ends: with one line, no traceback and the exit code of a signal, or of its output."""

import os
import signal
import subprocess
import sys
import time
from itertools import product

import psutil
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


UNINTERRUPTED = "print('waits', flush=True); hashlib.pbkdf2_hmac('sha256', b'x', b'y', 2**31 - 1)"
STUCK_COMMAND = f"""
import hashlib, sys, tamis.base.processes, tamis.cli.removal
tamis.base.processes.PATIENCE_SECONDS = 1.0
class Stuck:
    def read(self):
        {UNINTERRUPTED}
sys.stdin = type("Input", (), dict(buffer=Stuck()))
sys.argv = ["tamis", "withdraw", "--text", "-"]
tamis.cli.console()
"""
STUCK_RUN = f"""
import hashlib, signal, sys, time, tamis.base.processes
tamis.base.processes.PATIENCE_SECONDS = 1.0
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: None)
tamis.base.processes.end_when_stuck()
tamis.base.processes.end_when_stuck()
if sys.argv[1:] == ["works"]:
    print("waits", flush=True)
    began = time.monotonic()
    while time.monotonic() - began < 4:
        sum(range(1000))
    print("went on", flush=True)
    sys.exit()
{UNINTERRUPTED}
"""
"""As a run of Dagster, whose handlers note a request to end and leave it to the main thread."""


def started(root, script: str, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=root,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waits\n"
    return process


@pytest.mark.parametrize("ended_by", ENDS)
def test_a_command_within_a_call_that_no_signal_reaches_ends_all_the_same(tmp_path, ended_by):
    plain_project(tmp_path, settings())
    ended_by, code, said = ENDS[ended_by]
    process = started(tmp_path, STUCK_COMMAND)
    process.send_signal(ended_by)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (code, f"tamis: {said}; run the same command again to continue\n")


def test_a_run_ends_where_its_main_thread_does_not_come_back_and_goes_on_where_it_does(tmp_path):
    stuck, works = started(tmp_path, STUCK_RUN), started(tmp_path, STUCK_RUN, "works")
    stuck.send_signal(signal.SIGTERM)
    works.send_signal(signal.SIGTERM)
    stuck.communicate(timeout=30)
    output, _ = works.communicate(timeout=30)
    assert (stuck.returncode, works.returncode, output) == (143, 0, "went on\n")


def test_processes_that_a_command_started_end_with_it(tmp_path):
    plain_project(tmp_path, settings())
    begun = "; import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True); "
    process = started(tmp_path, STUCK_COMMAND.replace("; hashlib", f"{begun}hashlib"))
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    own = psutil.Process(process.pid)
    begun_at = own.cpu_times().user
    while own.cpu_times().user < begun_at + 0.2:  # before it is stuck, it would end by itself at the signal
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
