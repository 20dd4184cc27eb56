"""The wrapper for Slurm of the documentation, on commands like Slurm's for processes of this machine."""

import json
import os
import re
import signal
import stat
import sys
import time
from pathlib import Path

import psutil
import pytest

from tamis.base.own_command import LOG, PROCESS, forget, last_lines, poll, run_to_end, start, stop

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "train-with-your-own-trainer.md"
SBATCH = r"""#!/bin/bash
# The daemon of a node starts the job: it is in no group of the wrapper's, and has none of its variables.
echo "sbatch $*" >> "$STATE/calls"
[ -f "$STATE/full" ] && { echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2; exit 1; }
for word in "$@"; do
  case "$last" in --wrap) program=$word;; esac
  case "$word" in --output=*) output=${word#--output=};; esac
  last=$word
done
clean=(env -i PATH="$PATH" STATE="$STATE" setsid)
"${clean[@]}" bash -c "echo \$\$ > \"$STATE/job\"; $program" > "$output" 2>&1 < /dev/null &
while [ ! -s "$STATE/job" ]; do sleep 0.01; done
echo "4711;cluster"
"""
SQUEUE = r"""#!/bin/bash
[ "$*" = "--noheader --me --format=%A" ] || exit 2
[ -f "$STATE/away" ] && { echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }
echo 47110
[ -f "$STATE/lost" ] && exit 0
"$PYTHON" "$STATE/alive.py" "$(cat "$STATE/job")" && echo 4711
exit 0
"""
# A job that ended is gone, even where nobody collects its process.
ALIVE = """
import os, sys
import psutil

def is_of_the_job(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE and os.getpgid(process.pid) == int(sys.argv[1])
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False


sys.exit(not any(map(is_of_the_job, psutil.process_iter())))
"""
SCANCEL = r"""#!/bin/bash
sleep 0.3
kill -TERM -- "-$(cat "$STATE/job")"
echo "scancel $*" >> "$STATE/calls"
"""
TRAIN = """
import json, os, sys, time
from pathlib import Path

state, folder = Path(os.environ["STATE"]), Path(sys.argv[1]).parent
print("training", flush=True)
while (state / "hold").exists():
    time.sleep(0.02)
if (state / "fails").exists():
    sys.exit("out of memory")
(folder / "result.json").write_text("{}")
"""


class Cluster:
    """A folder with the commands, and what the jobs are to do, as files."""

    def __init__(self, root: Path) -> None:
        self.root, self.state, self.folder = root, root / "state", root / "a run"
        for name in ("bin", "state", "a run"):
            (root / name).mkdir()
        for name, code in (("sbatch", SBATCH), ("squeue", SQUEUE), ("scancel", SCANCEL)):
            path = root / "bin" / name
            path.write_text(code)
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        (wrapper,) = re.findall(
            r"^```text\n(#!/bin/bash\n.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL
        )
        assert wrapper.count("sleep 10") == 1
        (root / "submit.sh").write_text(wrapper.replace("sleep 10", "sleep 0.05"))
        (root / "train.py").write_text(TRAIN)
        (self.state / "alive.py").write_text(ALIVE)
        self.command = ["bash", "submit.sh", str(self.folder / "spec.json")]

    def calls(self) -> list[str]:
        return [line.split()[0] for line in (self.state / "calls").read_text().splitlines()]

    def run(self):
        return run_to_end(self.command, cwd=self.root, folder=self.folder, time_limit=600)

    def start(self) -> None:
        start(self.command, cwd=self.root, folder=self.folder, time_limit=600)

    def job_runs(self) -> bool:
        try:
            return psutil.Process(int((self.state / "job").read_text())).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Cluster:
    made = Cluster(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("STATE", str(made.state))
    monkeypatch.setenv("PYTHON", sys.executable)
    return made


def until(condition, what: str):
    deadline = time.monotonic() + 60
    while not (answer := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return answer


def test_a_job_is_submitted_and_waited_for(cluster):
    assert cluster.run().succeeded
    assert (cluster.folder / "result.json").exists()
    assert cluster.calls() == ["sbatch"]
    assert "training" in (cluster.folder / LOG).read_text()


def test_a_job_that_fails_is_a_run_that_fails_and_its_output_is_shown(cluster):
    (cluster.state / "fails").touch()
    assert cluster.run().code == 1
    assert "out of memory" in last_lines(cluster.folder)


def test_a_job_that_the_queue_refuses_is_a_run_that_fails(cluster):
    (cluster.state / "full").touch()
    assert cluster.run().code == 1
    assert "QOSMaxSubmitJobPerUserLimit" in last_lines(cluster.folder)


def test_a_run_that_is_stopped_cancels_its_job(cluster):
    (cluster.state / "hold").touch()
    cluster.start()
    until((cluster.state / "job").exists, "no job")
    until(lambda: "training" in (cluster.folder / "job.txt").read_text(), "no training")
    assert stop(cluster.folder).code == 143
    assert cluster.calls() == ["sbatch", "scancel"]
    until(lambda: not cluster.job_runs(), "the job runs")


def test_a_job_that_the_queue_loses_is_a_run_that_fails(cluster):
    (cluster.state / "hold").touch()
    cluster.start()
    until(lambda: (cluster.folder / "job.txt").exists(), "no job")
    (cluster.state / "lost").touch()
    assert until(lambda: poll(cluster.folder), "it waits on").code == 1
    (cluster.state / "hold").unlink()
    until(lambda: not cluster.job_runs(), "the job runs")


def test_a_job_is_waited_for_again_after_a_restart(cluster):
    (cluster.state / "hold").touch()
    cluster.start()
    until((cluster.folder / "job").exists, "no job")
    named = json.loads((cluster.folder / PROCESS).read_text())
    for name in ("supervisor", "command"):
        os.kill(int(named[name].rsplit(":", 2)[1]), signal.SIGKILL)
    assert until(lambda: poll(cluster.folder), "it runs").vanished
    forget(cluster.folder)
    cluster.start()
    assert poll(cluster.folder) is None
    (cluster.state / "hold").unlink()
    assert until(lambda: poll(cluster.folder), "it waits on").succeeded
    assert cluster.calls() == ["sbatch"]


def test_a_queue_that_does_not_answer_is_waited_for(cluster):
    (cluster.state / "away").touch()
    cluster.start()
    until((cluster.folder / "result.json").exists, "no result")
    time.sleep(0.3)
    assert poll(cluster.folder) is None
    (cluster.state / "away").unlink()
    assert until(lambda: poll(cluster.folder), "it waits on").succeeded
