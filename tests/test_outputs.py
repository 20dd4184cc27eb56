"""Standard output and standard error that cannot be written: what a command says then, and how it ends."""

import io
import os
import subprocess
import sys

import pytest

from tamis.base.progress import guard_standard_streams

ANSWERING = """
import atexit, pathlib, sys, tamis.cli
def main():
    atexit.register(pathlib.Path("ran").touch)
    print("an answer" * {times})
    print("a message", file=sys.stderr)
    return {code}
tamis.cli.{place}
tamis.cli.console()
"""
full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
CANNOT = "tamis: standard output cannot be written (No space left on device), so the answer is incomplete"


def answered(tmp_path, code=0, times=1, unbuffered="", inside=True, **streams):
    """Run a command that prints an answer and a message; returns what came of it.

    `inside`: it prints where errors of a verb are caught, else at the very end.
    """
    place = "verbs.invoke = lambda context: main()" if inside else "main = main"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": unbuffered}
    return subprocess.run(
        [sys.executable, "-c", ANSWERING.format(times=times, code=code, place=place), "status"],
        cwd=tmp_path,
        env=environment,
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams),
        text=True,
    )


@full
@pytest.mark.parametrize(
    ("times", "unbuffered", "inside"),
    [(1, "", True), (1, "1", True), (10_000, "", True), (10_000, "1", True), (1, "", False)],
)
def test_an_output_that_is_full_is_named_and_not_the_disk_of_the_home(tmp_path, times, unbuffered, inside):
    with open("/dev/full", "w") as at_fault:
        done = answered(tmp_path, times=times, unbuffered=unbuffered, inside=inside, stdout=at_fault)
    assert done.returncode == 1
    assert CANNOT in done.stderr
    assert "the disk that holds" not in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "ran").exists()


@full
def test_a_command_that_failed_keeps_its_exit_code_where_its_output_is_full(tmp_path):
    with open("/dev/full", "w") as at_fault:
        assert answered(tmp_path, code=2, stdout=at_fault).returncode == 2


@full
@pytest.mark.parametrize("code", [0, 1, 2])
def test_messages_that_cannot_be_written_fail_nothing(tmp_path, code):
    with open("/dev/full", "w") as at_fault:
        done = answered(tmp_path, code=code, stderr=at_fault)
    assert (done.returncode, done.stdout) == (code, "an answer\n")


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("times", [1, 100_000])
def test_a_reader_that_has_seen_enough_changes_neither_the_work_nor_the_exit_code(tmp_path, code, times):
    reader, writer = os.pipe()
    os.close(reader)
    done = answered(tmp_path, code=code, times=times, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (code, "a message\n")
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_fail_nothing(tmp_path, closed):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    code = ANSWERING.format(times=1, code=0, place="verbs.invoke = lambda context: main()")
    command = ["/bin/sh", "-c", f'"$0" -c "$1" status {closed}', sys.executable, code]
    assert subprocess.run(command, cwd=tmp_path, env=environment).returncode == 0


def test_an_output_over_the_size_that_a_file_may_have_names_the_limit(tmp_path):
    with open(tmp_path / "answer", "w") as limited:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        place = "verbs.invoke = lambda context: main()"
        code = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)){ANSWERING}"
        code = code.format(times=1000, code=0, place=place)
        done = subprocess.run(
            [sys.executable, "-c", code, "status"],
            cwd=tmp_path,
            env=environment,
            stdout=limited,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert "(File too large; the size of a file is limited to 4 kB here (`ulimit -f`))" in done.stderr


def test_a_stream_in_memory_stays_as_it_is(monkeypatch):
    memory = io.StringIO()
    monkeypatch.setattr("sys.stdout", memory)
    monkeypatch.setattr("sys.stderr", memory)
    guard_standard_streams()
    print("seen")
    assert memory.getvalue() == "seen\n"
