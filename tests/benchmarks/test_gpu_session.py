"""A session on a GPU that is cut off goes on: what ended is kept, what was stopped begins again."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import gpu_session
from benchmarks.gpu_session import PARTS, Part, run_session

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Short(Part):
    """A part that prints a line, then does what its words say."""

    def command(self, out: Path, rehearse: bool) -> list[str]:
        return [sys.executable, "-S", "-c", f"print('{self.name}', flush=True); {self.words[0]}"]


def short(name: str, does: str) -> Short:
    return Short(name=name, words=(does,), rehearsed=())


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(gpu_session, "FEWEST_SECONDS", 0.5)


def test_what_ended_is_kept_and_what_was_stopped_or_failed_begins_again(tmp_path):
    child = "import subprocess; subprocess.run(['sleep', '60'])"
    parts = [short("first", "pass"), short("second", "raise SystemExit(3)"), short("third", child)]
    began = time.monotonic()
    ended = run_session([*parts, short("fourth", "pass")], tmp_path, 2.0)
    assert time.monotonic() - began < 30
    assert [one.ending for one in ended.values()] == ["done", "failed", "stopped", "no time"]
    assert (ended["second"].exit_code, ended["third"].exit_code) == (3, None)
    mended = [short(name, "pass") for name in ("first", "second", "third", "fourth")]
    assert {one.ending for one in run_session(mended, tmp_path, 60.0).values()} == {"done"}
    assert (tmp_path / "first.jsonl").read_text().split() == ["first"]
    assert (tmp_path / "third.jsonl").read_text().split() == ["third", "third"], "lines of both tries stay"
    noted = json.loads((tmp_path / "session.json").read_text())
    assert [noted[part.name]["ending"] for part in mended] == ["done"] * 4


def test_the_parts_are_benchmarks_and_the_one_that_resumes_has_a_home(tmp_path):
    for part in PARTS:
        for rehearse in (True, False):
            command = part.command(tmp_path, rehearse)
            module = command[2].replace(".", "/")
            assert (CHECKOUT / f"{module}.py").is_file()
            assert (str(tmp_path / part.name) in command) == part.has_home
    assert [part.name for part in PARTS if part.has_home] == ["tune", "ladder"]
