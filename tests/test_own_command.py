import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tamis.base import own_command
from tamis.base.errors import UnknownNameError
from tamis.base.own_command import Ended, fill, poll, run_to_end, start, stop
from tamis.base.processes import process_named

PATIENCE = 60.0
"""Seconds to wait for what happens at once on an idle machine."""


def until(condition, what: str):
    deadline = time.monotonic() + PATIENCE
    while not (answer := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return answer


def run(tmp_path: Path, code: str, time_limit: float = PATIENCE, grace: float = PATIENCE) -> Ended:
    return run_to_end(
        ["python", "-c", code], cwd=tmp_path, folder=tmp_path / "run", time_limit=time_limit, grace=grace
    )


def begin(tmp_path: Path, code: str, time_limit: float = 10 * PATIENCE, grace: float = PATIENCE) -> Path:
    folder = tmp_path / "run"
    start(["python", "-c", code], cwd=tmp_path, folder=folder, time_limit=time_limit, grace=grace)
    return folder


def processes(folder: Path) -> dict[str, int]:
    named = json.loads((folder / own_command.PROCESS).read_text())
    return {name: int(named[name].split(":")[1]) for name in ("supervisor", "command")}


def runs(number: int) -> bool:
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


SLEEPS = "import time; print('begun', flush=True); time.sleep(600)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPS}"
WITH_WORKER = f"""
import subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", {SLEEPS!r}])
open("worker", "w").write(str(worker.pid))
{SLEEPS}
"""


def has_begun(folder: Path) -> bool:
    return "begun" in (folder / own_command.LOG).read_text()


def test_placeholders_are_filled_and_unknown_ones_refused_with_the_valid():
    command = ["python", "train.py", "--spec={spec}", "{out}", '{"a": 1}', "{}"]
    assert own_command.placeholders(command) == ["spec", "out"]
    assert fill(command, {"spec": "a b", "out": Path("o")}) == [
        *("python", "train.py", "--spec=a b", "o", '{"a": 1}', "{}")
    ]
    with pytest.raises(UnknownNameError, match=r"\{spce\}.*valid: \{out\}, \{spec\}; did you mean"):
        fill(["{spce}"], {"spec": 1, "out": 2})


def test_a_command_runs_in_its_folder_with_caches_within_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", "/models")
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    ended = run(
        tmp_path,
        "import json, os, sys, tempfile; print('to the log'); print('and errors', file=sys.stderr);"
        "found = [os.getcwd(), sys.executable, tempfile.gettempdir(), dict(os.environ)];"
        "json.dump(found, open('seen', 'w'))",
    )
    cwd, python, temporary, environment = json.loads((tmp_path / "seen").read_text())
    folder = tmp_path / "run"
    assert ended.succeeded
    assert ended.code == 0
    assert 0 < ended.seconds < PATIENCE
    assert 10**6 < ended.peak_memory_bytes < 10**9
    assert (Path(cwd), python) == (tmp_path, sys.executable)
    for name in ("HF_HOME", "HF_DATASETS_CACHE", "TMPDIR"):
        assert Path(environment[name]).is_relative_to(folder)
        assert Path(environment[name]).is_dir()
    assert Path(temporary).is_relative_to(folder)
    assert (environment["HF_HUB_CACHE"], environment["HF_TOKEN_PATH"]) == ("/models/hub", "/models/token")
    assert sorted((folder / own_command.LOG).read_text().splitlines()) == ["and errors", "to the log"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; sys.exit(3)", "ended with exit code 3"),
        ("import sys; sys.exit(137)", "ended with exit code 137: it was killed, often for lack of memory"),
        ("import os; os.kill(os.getpid(), 9)", "ended with exit code 137: it was killed, often for lack of"),
        ("import os; os.kill(os.getpid(), 11)", "ended with exit code 139: it was ended by SIGSEGV"),
    ],
)
def test_exit_codes_are_said_in_words(tmp_path, code, words):
    ended = run(tmp_path, code)
    assert not ended.succeeded
    assert not ended.stopped
    assert not ended.timed_out
    assert ended.in_words().startswith(words)


def test_the_message_of_a_failure_names_the_log_and_quotes_nothing_of_it(tmp_path):
    ended = run(tmp_path, "import sys; print('a secret document'); sys.exit(1)")
    error = own_command.CommandFailedError("[trainer]", ended.in_words(), tmp_path / "run")
    assert "secret" not in str(error)
    assert str(tmp_path / "run" / "log.txt") in str(error)
    assert "a secret document" in error.withheld


def test_a_program_that_does_not_exist_is_refused(tmp_path):
    for name in ("no-such-program", "./train.sh"):
        with pytest.raises(own_command.UnknownProgramError, match=f"{name}.*relative to"):
            start([name], cwd=tmp_path, folder=tmp_path / "run", time_limit=1)
    (tmp_path / "train.sh").write_text("#!/bin/sh\necho done\n")
    (tmp_path / "train.sh").chmod(0o755)
    ended = run_to_end(["./train.sh"], cwd=tmp_path, folder=tmp_path / "run", time_limit=PATIENCE)
    assert ended.succeeded


def test_a_program_that_cannot_be_executed_ends_with_the_reason(tmp_path):
    (tmp_path / "train").write_bytes(b"\x00\x01")
    (tmp_path / "train").chmod(0o755)
    ended = run_to_end(["./train"], cwd=tmp_path, folder=tmp_path / "run", time_limit=PATIENCE)
    assert ended.in_words() == "ended with exit code 126: the program cannot be executed"


@pytest.mark.parametrize("code", [SLEEPS, DEAF], ids=["on SIGTERM", "on SIGKILL"])
def test_a_hanging_command_is_stopped_at_its_time_limit(tmp_path, code):
    ended = run(tmp_path, code, time_limit=1.0, grace=0.5)
    assert ended.timed_out
    assert not ended.succeeded
    assert ended.seconds >= 1.0
    assert ended.in_words(1.0) == "was stopped at its time limit of 1 s"


def test_stop_ends_the_whole_group_and_waits_the_grace(tmp_path):
    folder = begin(tmp_path, WITH_WORKER)
    worker = int(
        (until((tmp_path / "worker").exists, "no worker") and (tmp_path / "worker").read_text()) or 0
    )
    assert poll(folder) is None
    ended = stop(folder)
    assert ended.stopped
    assert not ended.succeeded
    assert ended == poll(folder)
    numbers = [worker, *processes(folder).values()]
    until(lambda: not any(map(runs, numbers)), "one of them lives")


def test_workers_that_outlive_their_command_are_ended(tmp_path):
    begun = f"{WITH_WORKER.rsplit('import time', 1)[0]}"
    assert run(tmp_path, begun).succeeded
    worker = int((tmp_path / "worker").read_text())
    until(lambda: not runs(worker), "the worker lives")


def test_a_command_outlives_the_process_that_started_it_and_is_started_once(tmp_path):
    counts = "open('times', 'a').write('x'); import time; time.sleep(2)"
    program = (
        "import os, signal, sys; from pathlib import Path; from tamis.base.own_command import start;"
        f"start(['python', '-c', {counts!r}], cwd=Path.cwd(), folder=Path('run').absolute(), time_limit=600);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    starter = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    assert starter.returncode == -signal.SIGKILL
    folder = begin(tmp_path, counts)
    begin(tmp_path, counts)
    ended = until(lambda: poll(folder), "it runs on")
    assert ended.succeeded
    assert (tmp_path / "times").read_text() == "x"


def test_two_supervisors_of_one_folder_run_one_command(tmp_path):
    (tmp_path / "run").mkdir()
    code = "open('times', 'a').write('x'); import time; time.sleep(1)"
    starters = [
        subprocess.Popen(
            [
                *(sys.executable, "-c"),
                "from pathlib import Path; from tamis.base.own_command import start;"
                f"start(['python', '-c', {code!r}], cwd=Path.cwd(), folder=Path('run').absolute(),"
                "time_limit=600)",
            ],
            cwd=tmp_path,
        )
        for _ in range(4)
    ]
    assert [one.wait() for one in starters] == [0, 0, 0, 0]
    until(lambda: poll(tmp_path / "run"), "it runs on")
    assert (tmp_path / "times").read_text() == "x"


def test_a_command_whose_supervisor_was_killed_runs_on_and_can_be_stopped(tmp_path):
    folder = begin(tmp_path, SLEEPS)
    numbers = processes(folder)
    os.kill(numbers["supervisor"], signal.SIGKILL)
    until(lambda: not runs(numbers["supervisor"]), "the supervisor lives")
    assert poll(folder) is None
    assert stop(folder, grace=0.2).vanished
    assert not runs(numbers["command"])
    ended = poll(folder)
    assert ended.vanished
    assert ended.in_words().startswith("ended without an exit code")


def test_a_command_without_a_supervisor_is_not_waited_for_longer_than_its_limit(tmp_path):
    folder = begin(tmp_path, SLEEPS)
    numbers = processes(folder)
    os.kill(numbers["supervisor"], signal.SIGKILL)
    until(lambda: not runs(numbers["supervisor"]), "the supervisor lives")
    path = folder / own_command.PROCESS
    path.write_text(json.dumps(json.loads(path.read_text()) | {"until": time.time() - 1}))
    assert poll(folder).vanished
    assert runs(numbers["command"])
    stop(folder, grace=0.2)
    assert not runs(numbers["command"])


DAEMON = f"""
import os, subprocess, sys
if os.fork() == 0:
    os.setsid()
    worker = subprocess.Popen([sys.executable, "-c", {SLEEPS!r}], start_new_session=True)
    open("worker.draft", "w").write(str(worker.pid))
    os.rename("worker.draft", "worker")
    os._exit(0)
import time
while not os.path.exists("worker"):
    time.sleep(0.01)
"""


@pytest.mark.parametrize("supervisor", ["lives", "killed"])
def test_a_daemon_that_has_left_the_group_is_ended(tmp_path, supervisor):
    folder = begin(tmp_path, DAEMON if supervisor == "lives" else f"{DAEMON}time.sleep(600)")
    until((tmp_path / "worker").exists, "no worker")
    worker = int((tmp_path / "worker").read_text())
    if supervisor == "killed":
        os.kill(processes(folder)["supervisor"], signal.SIGKILL)
        stop(folder, grace=5)
    else:
        assert until(lambda: poll(folder), "it runs on").succeeded
    assert not runs(worker)


def test_a_stopped_process_is_asked_to_end(tmp_path):
    code = (
        "import os, signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7));"
        "print('begun', flush=True); os.kill(os.getpid(), signal.SIGSTOP)"
    )
    folder = begin(tmp_path, code)
    until(lambda: has_begun(folder), "it has not begun")
    until(lambda: psutil.Process(processes(folder)["command"]).status() == "stopped", "it runs")
    assert stop(folder).code == 7


def test_what_a_command_starts_to_end_well_has_the_grace(tmp_path):
    code = "trap 'sleep 0.7; touch ended; exit 5' TERM; echo begun; while true; do sleep 0.1 & wait $!; done"
    folder = tmp_path / "run"
    start(["bash", "-c", code], cwd=tmp_path, folder=folder, time_limit=600, grace=PATIENCE)
    until(lambda: has_begun(folder), "it has not begun")
    assert stop(folder).code == 5
    assert (tmp_path / "ended").exists()


def test_files_of_the_supervisor_that_a_command_has_written_over_are_no_answer(tmp_path):
    folder = begin(tmp_path, SLEEPS)
    numbers = processes(folder)
    (folder / own_command.ENDED).write_text("[1")
    assert poll(folder) is None
    (folder / own_command.ENDED).write_text("[1]")
    assert poll(folder) is None
    os.kill(numbers["supervisor"], signal.SIGTERM)
    until(lambda: not any(map(runs, numbers.values())), "it lives")


def test_a_program_that_is_there_and_not_executable_is_said_to_be(tmp_path):
    (tmp_path / "train.sh").write_text("true")
    with pytest.raises(own_command.UnknownProgramError, match=r"cannot be executed.*chmod \+x ./train.sh"):
        start(["./train.sh"], cwd=tmp_path, folder=tmp_path / "run", time_limit=1)
    assert not (tmp_path / "run").exists()


def test_a_number_that_another_process_has_now_is_not_killed(tmp_path):
    stranger = subprocess.Popen([sys.executable, "-c", SLEEPS], start_new_session=True)
    folder = tmp_path / "run"
    folder.mkdir()
    host = process_named(stranger.pid).split(":")[0]
    earlier = f"{host}:{stranger.pid}:{time.time() - 10_000:.0f}"
    (folder / own_command.PROCESS).write_text(
        json.dumps({"supervisor": earlier, "command": earlier, "until": time.time() + 600})
    )
    (folder / own_command.LOCK).touch()
    assert poll(folder).vanished
    assert stop(folder, grace=0.1).vanished
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_command_of_another_machine_runs_until_it_must_have_ended(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / own_command.LOCK).touch()
    for until_when, running in ((time.time() + 600, True), (time.time() - 1, False)):
        (folder / own_command.PROCESS).write_text(
            json.dumps({"supervisor": "elsewhere:1:1", "command": "elsewhere:2:1", "until": until_when})
        )
        assert (poll(folder) is None) is running


def test_an_interrupted_wait_stops_the_command(tmp_path):
    def interrupted() -> None:
        if has_begun(tmp_path / "run"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_to_end(
            shlex.split(f"python -c {shlex.quote(SLEEPS)}"),
            cwd=tmp_path,
            folder=tmp_path / "run",
            time_limit=600,
            wait=interrupted,
        )
    assert poll(tmp_path / "run").stopped


def test_a_command_is_no_child_of_who_started_it(tmp_path):
    folder = begin(tmp_path, SLEEPS)
    ours = {one.pid for one in psutil.Process().children(recursive=True)}
    assert ours.isdisjoint(processes(folder).values())
    stop(folder)


def test_a_command_whose_folder_is_erased_ends(tmp_path):
    folder = begin(tmp_path, SLEEPS)
    numbers = processes(folder)
    shutil.rmtree(folder)
    until(lambda: not any(map(runs, numbers.values())), "it lives")
    assert not folder.exists()


def test_a_command_of_another_machine_is_not_waited_for(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / own_command.LOCK).touch()
    (folder / own_command.PROCESS).write_text(
        json.dumps({"supervisor": "elsewhere:1:1", "command": "elsewhere:2:1", "until": time.time() + 600})
    )
    assert stop(folder).vanished
