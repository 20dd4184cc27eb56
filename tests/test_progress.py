"""A person who waits must see a line at least every two seconds, even while one batch takes long."""

import re
import threading
import time
from itertools import pairwise
from types import SimpleNamespace

import pytest

from tamis.progress import INTERVAL_SECONDS, Heartbeat, Progress, ignore, say


def test_lines_come_in_time_while_work_blocks():
    moments: list[float] = []
    started = time.monotonic()
    with Progress("embedding", total=10, sink=lambda line: moments.append(time.monotonic() - started)):
        time.sleep(2 * INTERVAL_SECONDS + 0.4)
    gaps = [later - earlier for earlier, later in zip([0.0, *moments], moments, strict=False)]
    assert len(moments) == 2
    assert max(gaps) < 2.0


def test_short_work_prints_nothing(capsys):
    with Progress("hashing", total=3) as progress:
        progress.advance(3)
    assert capsys.readouterr().err == ""


def test_a_line_goes_to_standard_error_only(capsys, monkeypatch):
    monkeypatch.setattr("tamis.progress.INTERVAL_SECONDS", 0.05)
    with Progress("hashing", total=3):
        time.sleep(0.2)
    printed = capsys.readouterr()
    assert printed.err.startswith("hashing: working")
    assert printed.out == ""


def test_line_holds_done_total_rate_and_time_left():
    progress = Progress("scoring", total=4_000, unit="documents")
    time.sleep(0.1)
    progress.advance(600)
    progress.advance(400)
    found = re.fullmatch(r"scoring: 1,000/4,000 documents, ([\d,]+)/s, (\d+) s left", progress.line())
    assert found is not None
    assert 0 < int(found[1].replace(",", "")) <= 10_000


def test_line_before_the_first_row_and_without_a_total():
    assert re.fullmatch(r"reading: working, 0 s", Progress("reading", total=5).line())
    endless = Progress("reading")
    time.sleep(0.01)
    endless.advance(2_500)
    assert re.fullmatch(r"reading: 2,500 rows, [\d,]+/s", endless.line())


def test_time_left_falls_while_a_batch_takes_long():
    progress = Progress("asking", total=10)
    progress._started -= 10
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
    monkeypatch.setattr("tamis.progress.INTERVAL_SECONDS", 0.02)
    monkeypatch.setattr("tamis.progress.FIRST_LOGGED_SECONDS", 0.1)
    monkeypatch.setattr("tamis.progress.LOG_INTERVAL_SECONDS", 0.4)
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


def test_a_heartbeat_is_heard_in_silence_only(capsys, monkeypatch):
    monkeypatch.setattr("tamis.progress.HEARTBEAT_SECONDS", 0.8)
    with Heartbeat("moving"):
        for _ in range(20):
            say("here")
            time.sleep(0.05)
        assert "moving" not in capsys.readouterr().err
        time.sleep(1.5)
    assert capsys.readouterr().err.startswith("moving: working, ")


def test_lines_of_threads_that_speak_at_once_stay_whole(monkeypatch):
    written = []
    monkeypatch.setattr("sys.stderr", SimpleNamespace(write=written.append, flush=lambda: None))
    say("a line")
    assert written == ["a line\n"]
