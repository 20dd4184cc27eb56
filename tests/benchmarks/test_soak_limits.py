"""Each limit of the soak can be missed, and one that was not measured is not kept."""

from http.client import RemoteDisconnected
from pathlib import Path
from urllib.error import URLError

import polars as pl
import pytest

from benchmarks._soak_answers import ABSENT, Answer, Asking
from benchmarks._soak_disk import Count, allocated, count, folders_of
from benchmarks._soak_limits import (
    LEAST_MINUTES,
    TOO_SHORT,
    answers,
    disk,
    disk_of_rebuild,
    errors_in,
    failures,
    growth,
    quantile,
    unanswered,
)
from benchmarks._soak_processes import Interface, Paths
from benchmarks._yardstick import Limit
from tamis.store.tables import Store

ROLES = ("daemon", "webserver")
SHORT = LEAST_MINUTES / 2


def series(last: float, minutes: float = 60.0, every: float = 10.0, role: str = "daemon") -> list[dict]:
    """A series in which a role has 50 MB at first, 100 in the middle and `last` in the end, steadily."""
    found, count = [], round(60 * minutes / every) + 1
    for place in range(count):
        share = place / (count - 1)
        megabytes = 50 + 100 * share if share < 0.5 else 100 + (last - 100) * (2 * share - 1)
        plain = {"megabytes": 80.0, "descriptors": 9, "threads": 4}
        processes = dict.fromkeys(ROLES, plain) | {role: plain | {"megabytes": megabytes}}
        found.append({"second": every * place, "processes": processes})
    return found


@pytest.mark.parametrize(("last", "holds"), [(100.0, True), (108.0, True), (115.0, False), (300.0, False)])
@pytest.mark.parametrize("role", ROLES)
def test_memory_that_grows_in_the_second_half_is_found(last, holds, role):
    found, figures = growth(series(last, role=role), 60.0, ROLES)
    assert found is holds
    first, latest, ratio = figures["from_to_ratio"][role]["megabytes"]
    assert (first >= 100) & (latest <= last) & ((ratio < 1.1) == holds)
    assert "said" not in figures


def test_growth_of_the_first_half_and_one_high_sample_count_for_nothing():
    samples = series(100.0)
    samples[-1]["processes"]["daemon"]["megabytes"] = 900.0
    assert growth(samples, 60.0, ROLES)[0] is True


@pytest.mark.parametrize(
    "samples",
    {
        "nothing": [],
        "five samples": series(100.0, every=900.0),
        "sampling that ended at half the time": series(100.0)[:181],
        "a role that was never there": [
            one | {"processes": {"daemon": one["processes"]["daemon"]}} for one in series(100.0)
        ],
        "a role that was gone in the end": [*series(100.0)[:-1], {"second": 3600.0, "processes": {}}],
    }.values(),
)
def test_memory_that_was_not_measured_does_not_hold(samples):
    assert growth(samples, 60.0, ROLES)[0] is False


@pytest.mark.parametrize("last", [100.0, 300.0])
def test_growth_of_a_short_soak_is_a_figure_alone(last):
    holds, figures = growth(series(last, minutes=SHORT), SHORT, ROLES)
    assert (holds, figures["said"]) == (None, TOO_SHORT)
    assert figures["from_to_ratio"]["daemon"]["megabytes"][1] == pytest.approx(last, rel=0.2)
    assert growth([], SHORT, ROLES)[0] is None
    assert growth(series(last, minutes=LEAST_MINUTES), LEAST_MINUTES, ROLES)[0] is (last == 100.0)


def limit(seconds: float) -> Limit:
    return Limit(stated=seconds, here=seconds, kind="core", reference="made-up", measured_factor=1.0)


def asked(seconds: list[float], during: bool, problem: str = "", of: str = "ui") -> list[Answer]:
    return [
        Answer(second=2.0 * place, of=of, seconds=one, during=during, problem=problem)
        for place, one in enumerate(seconds)
    ]


QUICK = asked([0.1] * 100, False) + asked([0.5] * 100, True)
ANSWERS = {
    "all in time": (QUICK, True),
    "exactly the limit when idle": (QUICK + asked([1.0], False), True),
    "one too slow when idle": (QUICK + asked([1.01], False), False),
    "5 % too slow during a run": (asked([0.1] * 100, False) + asked([0.5] * 95 + [9.0] * 5, True), True),
    "6 % too slow during a run": (asked([0.1] * 100, False) + asked([0.5] * 94 + [9.0] * 6, True), False),
    "never asked when idle": (asked([0.5] * 100, True), False),
    "hardly asked during a run": (asked([0.1] * 100, False) + asked([0.5] * 29, True), False),
    "only silence during a run": (asked([0.1] * 100, False) + asked([0.5] * 99, True, "refused"), False),
    "silence for a minute is no answer": (QUICK + asked([60.0], False, "timed out"), True),
    "nothing": ([], False),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_slow_answers_are_found(name):
    found, holds = ANSWERS[name]
    assert answers(found, 60.0, limit(1.0), limit(3.0))[0] is holds
    judged, figures = answers(found, SHORT, limit(1.0), limit(3.0))
    assert (judged, figures["said"]) == (None, TOO_SHORT)


def test_figures_of_answers_are_those_of_the_series():
    found = asked([0.1, 0.2, 0.9], False) + asked([2.5], True, of="map")
    figures = answers(found, 60.0, limit(1.0), limit(3.0))[1]
    within = {"50_percent": 0.2, "95_percent": 0.9, "99_percent": 0.9, "100_percent": 0.9}
    assert figures["idle"]["within_seconds"] == within
    assert figures["slowest"][:2] == [["map", 2.5, "run"], ["ui", 0.9, "idle"]]


def test_a_quantile_is_one_of_the_values():
    values = [float(one) for one in range(100, 0, -1)]
    assert [quantile(values, share) for share in (0.0, 0.5, 0.95, 1.0)] == [1.0, 50.0, 95.0, 100.0]


UNANSWERED = {
    "all": (QUICK, True),
    "none to one question": (QUICK + asked([60.0], True, "TimeoutError: timed out"), False),
    "a page that is absent for a while": (QUICK + asked([0.1], True, ABSENT), True),
    "a page that was always absent": (QUICK + asked([0.1], True, ABSENT, of="map"), False),
    "nothing was asked": ([], False),
}


@pytest.mark.parametrize("name", UNANSWERED)
def test_a_silence_is_found_in_a_soak_of_any_length(name):
    found, holds = UNANSWERED[name]
    assert unanswered(found, {"ui", *(one.of for one in found)})[0] is holds


PROBLEMS = {
    "an answer": (200, ""),
    "a page that is not there": (404, ABSENT),
    "an error of the server": (500, "status 500"),
    "nobody at the port": (URLError("refused"), "URLError: <urlopen error refused>"),
    "a connection that was cut": (RemoteDisconnected("cut"), "RemoteDisconnected: cut"),
}


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("settled", [False, True])
def test_what_is_no_answer_is_noted(tmp_path, monkeypatch, name, settled):
    said, problem = PROBLEMS[name]

    def status_of(_ui: Interface, _url: str) -> int:
        if isinstance(said, Exception):
            raise said
        return said

    ui = object.__new__(Interface)
    ui.paths, ui.port = Paths(tmp_path, tmp_path), 1
    (tmp_path / "dagster").mkdir()
    monkeypatch.setattr(Interface, "status_of", status_of)
    monkeypatch.setattr(Interface, "at_work", lambda _ui: False)
    asking = Asking(ui, lambda _answer: None, lambda: 7.0)
    if settled:
        asking.settled.set()
        problem = problem.replace(ABSENT, "absent although all is current")
    asking.ask("map", asking.addresses()["map"], True)
    asking.ask("map", asking.addresses()["map"], False)
    assert [(one.problem, one.during) for one in asking.answers] == [(problem, True), (problem, False)]


@pytest.mark.parametrize("answer", [{"assetOrError": {}}, {"assetOrError": {"definition": None}}, {}])
def test_an_asset_page_without_a_definition_is_no_answer(tmp_path, monkeypatch, answer):
    ui = object.__new__(Interface)
    ui.paths, ui.port = Paths(tmp_path, tmp_path), 1
    (tmp_path / "dagster").mkdir()
    monkeypatch.setattr(Interface, "ask", lambda _ui, _query, **_variables: answer)
    monkeypatch.setattr(Interface, "at_work", lambda _ui: False)
    asking = Asking(ui, lambda _answer: None, lambda: 7.0)
    asking.ask("asset", asking.addresses()["asset"], False)
    assert asking.answers[0].problem


def of(documents: int, live: int, retained: int = 0, **folders: int) -> Count:
    return Count(documents=documents, live=live, retained=retained, folders=folders)


DISK = {
    "as much": (of(100, 1_000), of(100, 1_000), True),
    "a pool that grew": (of(100, 1_000), of(200, 2_000), True),
    "more for each": (of(100, 1_000), of(100, 1_110), False),
    "as much for fewer": (of(100, 1_000), of(50, 1_000), False),
    "more of what is kept for a time and of records": (
        of(100, 1_000, 10, dagster=10),
        of(100, 1_000, 1_000, dagster=10_000),
        True,
    ),
    "not counted at half": (None, of(100, 1_000), False),
    "without documents": (of(100, 1_000), of(0, 1_000), False),
    "without documents at half": (of(0, 1_000), of(100, 1_000), False),
}


@pytest.mark.parametrize("name", DISK)
def test_disk_that_grows_for_each_document_is_found(name):
    half, end, holds = DISK[name]
    assert disk(half, end, 60.0)[0] is holds
    judged, figures = disk(half, end, SHORT)
    assert (judged, figures["said"]) == (None, TOO_SHORT)


@pytest.mark.parametrize(
    ("settled", "rebuilt", "holds"),
    [
        (of(100, 1_050), of(100, 1_000), True),
        (of(100, 1_110), of(100, 1_000), False),
        (of(100, 1_000), of(90, 1_000), False),
        (of(0, 0), of(0, 0), False),
    ],
)
def test_a_home_that_takes_more_than_its_rebuild_is_found(settled, rebuilt, holds):
    assert disk_of_rebuild(settled, rebuilt)[0] is holds


def test_a_count_is_of_live_rows_whatever_versions_and_retained_rows_there_are(tmp_path):
    home, rows = tmp_path / ".tamis", 400
    paths, store = Paths(tmp_path, home), Store(home / "lance")
    vectors = pl.DataFrame({"doc_id": [str(one) for one in range(rows)], "text": ["a text " * 40] * rows})
    for part in vectors.iter_slices(50):
        append(store, "documents", part)
    before, found = folders_of(home)["lance"], count(paths)
    assert (found.documents, found.retained) == (rows, 0)
    assert 0 < found.live < before
    assert count(paths) == found
    assert folders_of(home)["lance"] == before, "the home itself is not compacted"
    append(store, "documents", vectors.with_columns(doc_id="doc_id" + pl.lit("later")))
    store.delete("documents", "doc_id LIKE '%later'")
    append(store, "retained_embeddings_static", vectors)
    after = count(paths)
    assert (after.documents, after.live) == (rows, found.live)
    assert after.retained > 0
    assert after.folders["lance"] > before
    assert [*tmp_path.iterdir()] == [home]
    append(store, "heads_of_nothing", vectors)
    assert count(paths).live > found.live, "what another table grows by counts, too"


def append(store: Store, table: str, frame: pl.DataFrame) -> None:
    connection = store._connect()
    if store.exists(table):
        connection.open_table(table).add(frame.to_arrow())
    else:
        connection.create_table(table, frame.to_arrow())


def test_what_is_allocated_are_blocks_and_not_lengths(tmp_path):
    (tmp_path / "small").write_bytes(b"a")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10**8)
    found = allocated([tmp_path / "small", tmp_path / "sparse", tmp_path / "gone"])
    assert 0 < found < 10**6


KILLED, OTHER = "0b3c8a52-killed", "77f1d2aa-other"
RECORD = "2026-11-26 21:06:21 +0000 - dagster - {} - __ASSET_JOB - {} - documents - it failed"
TRACE = "\nTraceback (most recent call last):\n  File ...\nOSError: gone"
LAUNCH = (
    "\x1b[32m2026-11-26 22:09:45 +0000\x1b[0m - dagster.daemon.QueuedRunCoordinatorDaemon - "
    "\x1b[34mERROR\x1b[0m - \x1b[31mCaught an error dequeuing run {}\x1b[0m"
)
LOGS = {
    LAUNCH.format(OTHER) + TRACE: 2,
    LAUNCH.format(KILLED) + TRACE: 0,
    "": 0,
    RECORD.format("WARNING", OTHER): 0,
    RECORD.format("ERROR", OTHER): 1,
    RECORD.format("ERROR", OTHER) + TRACE: 2,
    RECORD.format("INFO", OTHER) + "\nan ERROR in the text of a document": 0,
    RECORD.format("ERROR", KILLED) + TRACE: 0,
    RECORD.format("ERROR", KILLED) + TRACE + "\n" + RECORD.format("ERROR", OTHER): 1,
    RECORD.format("INFO", OTHER) + TRACE: 1,
    TRACE: 1,
}


@pytest.mark.parametrize("log", LOGS)
def test_errors_in_the_log_are_those_of_runs_that_nobody_killed(log):
    assert len(errors_in(log, {KILLED})) == LOGS[log]
    assert failures({KILLED}, {KILLED}, log)[0] is (LOGS[log] == 0)


def test_an_error_is_shown_with_what_was_going_on():
    assert errors_in(RECORD.format("INFO", OTHER) + TRACE + "\nmore", set()) == [
        f"OSError: gone, after: {RECORD.format('INFO', OTHER)}"
    ]


@pytest.mark.parametrize(
    ("failed", "holds"), [(set(), True), ({KILLED}, True), ({OTHER}, False), ({KILLED, OTHER}, False)]
)
def test_a_run_that_failed_by_itself_is_found(failed, holds):
    found, figures = failures(failed, {KILLED, "killed when it had ended"}, "")
    assert found is holds
    assert figures["failed_runs"] == len(failed)


def test_failures_are_not_known_of_an_interface_that_does_not_answer():
    assert failures(None, set(), "")[0] is False


def test_the_soak_reads_the_log_whole(tmp_path: Path):
    ui = object.__new__(Interface)
    ui.log = tmp_path / "ui.log"
    ui.log.write_text(RECORD.format("ERROR", OTHER) + "\nplain" * 10_000)
    assert len(errors_in(ui.tail(10**8), set())) == 1
