"""What a person sees of long work: one live line on a terminal, few lines elsewhere, none when quiet."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from tamis.base import progress as module
from tamis.base.progress import (
    INTERVAL_SECONDS,
    Heartbeat,
    Progress,
    begin_step,
    close_all,
    complain,
    ignore,
    say,
    show,
    visible,
)
from tamis.cli.parts import answer

CHECKOUT = Path(__file__).resolve().parents[1]
WORK = """
import time
from tamis.base.progress import close_all, Progress, Heartbeat, begin_step, say, show
show("auto")
begin_step("[3/14] ")
with Heartbeat("embeddings"):
    time.sleep(0.5)
    with Progress("embedding documents", 4_000, "documents") as progress:
        for _ in range(8):
            time.sleep(0.1)
            progress.advance(500)
        say("a line between")
        time.sleep(0.4)
say("[3/14] embeddings: 3 shards, 1 s")
"""


@pytest.fixture(autouse=True)
def plain():
    """Every test begins and ends with the ordinary style, outside any step."""
    begin_step("")
    show("auto")
    yield
    show("auto")


def on_a_terminal(code: str, columns: int = 100, term: str = "xterm") -> str:
    """What a program writes to standard error where that is a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = os.environ | {"TERM": term}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=theirs, env=environment, stdout=subprocess.DEVNULL
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 4_096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        written += part
    os.close(ours)
    assert process.wait() == 0, written.decode()
    return written.decode()


def left_standing(written: str) -> list[str]:
    """The lines that stay on a terminal; a carriage return begins the line again and may overwrite it."""
    lines = []
    for line in written.replace("\r\n", "\n").split("\n"):
        shown = ""
        for part in re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", line).split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return [line for line in lines if line]


def test_a_terminal_has_one_live_line_and_keeps_what_was_said():
    written = on_a_terminal(WORK)
    assert left_standing(written) == ["a line between", "[3/14] embeddings: 3 shards, 1 s"]
    assert re.search(r"\[3/14\] embeddings, \d s", written)
    drawn = r"\[3/14\] embedding documents: [\d,]+/4,000 documents, [\d,]+/s, \d+ s left \|[^|]+\|"
    assert re.search(drawn, written)


def test_on_forty_columns_no_line_is_wider():
    drawn = re.split(r"[\r\n]", on_a_terminal(WORK, columns=40))
    assert max(len(re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", one)) for one in drawn) <= 40
    assert any("embedding documents" in one for one in drawn)


@pytest.mark.parametrize("terminal", [{"term": "dumb"}, {"columns": 0}], ids=["dumb", "of no known width"])
def test_a_terminal_that_cannot_draw_a_line_again_gets_lines_alone(terminal):
    written = on_a_terminal(WORK, **terminal)
    assert written.splitlines() == ["a line between", "[3/14] embeddings: 3 shards, 1 s"]
    assert "\r" not in written.replace("\r\n", "\n")


def test_elsewhere_a_line_comes_where_silence_lasts(capsys, monkeypatch):
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.6)
    say("begun")
    with Heartbeat("embeddings"), Progress("embedding", 10):
        time.sleep(1.6)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "begun"
    assert [re.sub(r"\d s", "N s", line) for line in lines[1:]] == ["embedding: working, N s"] * 2


def test_a_heartbeat_speaks_only_where_nothing_else_does(capsys, monkeypatch):
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.5)
    with Heartbeat("moving"):
        for _ in range(20):
            say("here")
            time.sleep(0.05)
        assert "moving" not in capsys.readouterr().err
        time.sleep(0.9)
    assert capsys.readouterr().err.startswith("moving: working, ")


def test_a_step_that_ends_leaves_the_heartbeat_of_its_run(capsys, monkeypatch):
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.3)
    with Heartbeat("12 models"), Progress("left open by a step") as left:
        close_all(background=False)
        assert not left._thread.is_alive()
        time.sleep(0.7)
    assert capsys.readouterr().err.startswith("12 models: working, ")


def test_quiet_says_only_what_is_wrong(capsys, monkeypatch):
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.2)
    show("quiet")
    with Progress("embedding", 10):
        say("nothing to worry about")
        complain("failed: trials")
        time.sleep(0.5)
    assert capsys.readouterr().err == "failed: trials\n"


def test_verbose_says_it_every_moment(capsys, monkeypatch):
    monkeypatch.setattr(module, "INTERVAL_SECONDS", 0.3)
    show("verbose")
    with Progress("embedding", 10) as progress:
        progress.advance(5)
        time.sleep(1.4)
    assert 3 <= len(capsys.readouterr().err.splitlines()) <= 5


def test_short_work_prints_nothing(capsys):
    with Progress("hashing", total=3) as progress:
        progress.advance(3)
    assert capsys.readouterr() == ("", "")


def test_work_goes_on_where_nobody_listens_any_more(tmp_path):
    code = "from tamis.base.progress import say\nfor _ in range(10_000): say('a line')\nopen('done', 'w')"
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "CODE": code, "PYTHON": sys.executable}
    command = ["bash", "-c", '"$PYTHON" -c "$CODE" 2>&1 | head -1']
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert (ran.stdout, ran.stderr) == ("a line\n", "")
    assert (tmp_path / "done").exists()


def test_work_goes_on_where_the_terminal_is_gone(monkeypatch):
    ours, theirs = pty.openpty()
    monkeypatch.setattr("sys.stderr", os.fdopen(theirs, "w"))
    os.close(ours)
    say("a line")
    say("another one")
    assert sys.stderr.name == os.devnull


def test_a_sink_gets_lines_in_time_while_work_blocks():
    moments: list[float] = []
    started = time.monotonic()
    with Progress("embedding", total=10, sink=lambda line: moments.append(time.monotonic() - started)):
        time.sleep(2 * INTERVAL_SECONDS + 0.4)
    gaps = [later - earlier for earlier, later in zip([0.0, *moments], moments, strict=False)]
    assert len(moments) == 2
    assert max(gaps) < 2.0


def test_line_holds_done_total_rate_and_time_left():
    progress = Progress("scoring", total=4_000, unit="documents")
    time.sleep(0.1)
    progress.advance(600)
    progress.advance(400)
    found = re.fullmatch(r"scoring: 1,000/4,000 documents, ([\d,]+)/s, (\d+) s left", progress.line())
    assert found is not None
    assert 0 < int(found[1].replace(",", "")) <= 10_000


def test_a_long_time_is_said_in_minutes_and_a_slow_rate_is_not_zero():
    progress = Progress("trial", total=40, unit="documents")
    progress.started -= 600
    assert progress.line() == "trial: working, 10 min"
    progress.advance(10)
    assert progress.line() == "trial: 10/40 documents, 1/min, 30 min left"


@pytest.mark.parametrize(
    ("assets", "label", "said"),
    [
        ("trials", "trial goal-100 (3 of 14)", ""),
        ("raw_shards, documents", "documents", ""),
        ("near_duplicates", "near-duplicates", ""),
        ("sampler_trials", "18 runs", "sampler_trials: "),
        ("base_models", "pre-training tiny (1 of 2)", "base_models: "),
        ("", "encoding texts", ""),
    ],
)
def test_what_is_shown_names_the_asset_once(assets, label, said):
    assert module._Screen(step="[3/14] ", assets=assets)._before(label) == f"[3/14] {said}"


def test_line_before_the_first_row_and_without_a_total():
    assert re.fullmatch(r"reading: working, 0 s", Progress("reading", total=5).line())
    endless = Progress("reading")
    time.sleep(0.01)
    endless.advance(2_500)
    assert re.fullmatch(r"reading: 2,500 rows, [\d,]+/s", endless.line())


def test_time_left_falls_while_a_batch_takes_long():
    progress = Progress("asking", total=10)
    progress.started -= 10
    progress.advance(2)
    progress._advanced -= 5
    now, left = re.fullmatch(r"asking: 2/10 rows, (0\.\d)/s, (\d+) s left", progress.line()).groups()
    assert (now, left) == ("0.4", "15")


def test_more_than_announced_leaves_no_negative_time():
    progress = Progress("reading", total=5)
    time.sleep(0.01)
    progress.advance(7)
    assert progress.line().startswith("reading: 7/7 rows")
    assert progress.line().endswith(" 0 s left")


def test_an_error_in_the_work_passes_through_and_ends_the_thread():
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), Progress("dividing"):
        1 / 0  # noqa: B018
    assert threading.active_count() == before


def test_ignore_takes_rows_and_says_nothing(capsys):
    ignore(5)
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_few_lines_and_one_at_the_end(monkeypatch):
    monkeypatch.setattr(module, "INTERVAL_SECONDS", 0.02)
    monkeypatch.setattr(module, "FIRST_LOGGED_SECONDS", 0.1)
    monkeypatch.setattr(module, "LOG_INTERVAL_SECONDS", 0.4)
    shown: list[str] = []
    logged: list[tuple[float, str]] = []
    started = time.monotonic()
    with Progress(
        "embedding",
        100,
        "documents",
        shown.append,
        lambda line: logged.append((time.monotonic() - started, line)),
    ) as progress:
        progress.advance(40)
        time.sleep(1.3)
        progress.advance(10)
    moments = [moment for moment, _line in logged]
    assert len(shown) > 20
    assert 4 <= len(moments) <= 7  # at .1, .2, .4, .8 and 1.2 s, and at the end
    assert all(later >= 1.5 * earlier for earlier, later in pairwise(moments[:3]))
    assert re.fullmatch(r"embedding: 40/100 documents, [\d,.]+/s, \d+ s left", logged[0][1])
    assert re.fullmatch(r"embedding: 50 documents in \d s", logged[-1][1])


def test_short_work_leaves_no_line_in_the_log():
    logged: list[str] = []
    with Progress("hashing", 3, log=logged.append) as progress:
        progress.advance(3)
    assert logged == []


def test_lines_of_threads_that_speak_at_once_stay_whole(monkeypatch):
    written = []
    stderr = SimpleNamespace(write=written.append, flush=lambda: None, isatty=lambda: False)
    monkeypatch.setattr("sys.stderr", stderr)
    say("a line")
    assert written == ["a line\n"]


def test_a_name_is_one_line_and_turns_no_text_around():
    assert module.visible("found in \u202ertl") == "found in \\u202ertl"
    assert module.visible_name("x\nfailed: corpus\t\x1b[2J") == "x\\nfailed: corpus\\t\\x1b[2J"


def test_control_characters_of_names_never_reach_a_terminal(capsys):
    name = "a\x1b[2J\x1b]0;title\x07\x9b2J\x7f\rb\t.jsonl \u00e9"
    shown = "a\\x1b[2J\\x1b]0;title\\x07\\x9b2J\\x7f\\x0db\t.jsonl \u00e9"
    assert visible(name) == shown
    complain(f"{name}\nfailed: corpus")
    answer(False, None, [f"{name}\nfailed: corpus", "next"])
    answer(True, {"name": name}, [])
    said = capsys.readouterr()
    assert said.err == f"{shown}\\nfailed: corpus\n"
    text, _, printed = said.out.partition("{")
    assert text == f"{shown}\\nfailed: corpus\nnext\n"
    assert not [one for one in printed if (ord(one) < 32 and one != "\n") or 127 <= ord(one) < 160]
    assert json.loads("{" + printed) == {"name": name}
