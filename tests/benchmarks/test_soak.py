"""The soak: its own picture of the files is right, each of its checks can fail, and a short one holds."""

import gzip
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import lancedb
import polars as pl
import psutil
import pytest

from benchmarks import _soak_checks as checks
from benchmarks import soak
from benchmarks._soak_checks import Tables, difference
from benchmarks._soak_processes import Interface
from benchmarks._soak_project import BAD_LINES, KINDS, File, Landing, content_id, marker
from tamis.corpus import Shard, document_id, read_shard
from tamis.corpus.documents import all_documents
from tamis.settings.config import CorpusSection

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def landing(tmp_path) -> Landing:
    found = Landing(tmp_path, seed=3)
    found.lay()
    return found


def home_of(landing: Landing) -> Tables:
    """The tables that a home without any fault has for these files."""
    home = landing.root / ".tamis"
    rows = [
        {"shard": f"landing__{name}", "row": row, "doc_id": doc_id, "text": landing.files[name].rows[row]}
        for name, found in landing.expected().items()
        for row, doc_id in found.items()
    ]
    places = pl.DataFrame(rows)
    documents = places.select("doc_id", "text").unique(maintain_order=True)
    bad = [
        {"shard": f"landing__{name}", "row": place, "reason": "bad"}
        for name, file in landing.files.items()
        for place in range(file.least_quarantined(name))
    ]
    decided = [
        documents.select(
            "doc_id",
            selection=pl.lit(name),
            verdict=pl.when(pl.int_range(pl.len()) < budget).then(pl.lit("selected")).otherwise(pl.lit("no")),
            reason=pl.lit("rank"),
        )
        for name, budget in landing.budgets.items()
    ]
    decisions = pl.concat(decided)
    connection = lancedb.connect(str(home / "lance"))
    schema = {"shard": pl.String, "row": pl.Int64, "reason": pl.String}
    for name, frame in {
        "documents": documents,
        "occurrences": places.drop("text"),
        "quarantine": pl.DataFrame(bad, schema=schema),
        "decisions": decisions,
        "selected_subset": decisions.filter(pl.col("verdict") == "selected"),
    }.items():
        connection.create_table(name, frame.to_arrow(), mode="overwrite")
    return Tables(home)


def found_by_all(tables: Tables, landing: Landing) -> set[str]:
    """Names of the checks that do not hold."""
    return {name for name, check in checks.OF_FILES.items() if not check(tables, landing)[0]}


def test_the_same_seed_makes_the_same_files_and_another_makes_others(tmp_path):
    made = []
    for folder, seed in (("one", 3), ("two", 3), ("three", 4)):
        one = Landing(tmp_path / folder, seed)
        one.lay()
        for kind in ("arrive", "truncate", "spoil", "change", "disappear", "settings") * 3:
            one.happen(kind)
        files = (tmp_path / folder).rglob("*")
        made.append(
            {path.relative_to(tmp_path / folder): path.read_bytes() for path in files if path.is_file()}
        )
    assert made[0] == made[1]
    assert made[0] != made[2]


def test_files_are_as_they_are_said_to_be(landing):
    for kind in ("arrive", "spoil", "truncate", "change", "arrive", "disappear", "truncate") * 4:
        landing.happen(kind)
    on_disk = {path.name for path in (landing.root / "landing").iterdir()}
    assert on_disk == set(landing.files)
    for name, file in landing.files.items():
        content = (landing.root / "landing" / name).read_bytes()
        if file.share == 1:
            plain = gzip.decompress(content) if name.endswith(".gz") else content
            assert plain.count(b"\n") == len(file.rows)
            assert len(file.readable(name)) == len(file.texts)
        else:
            with pytest.raises(EOFError):
                gzip.decompress(content)
            assert len(file.readable(name)) < len(file.texts)


def test_a_broken_file_holds_what_the_product_reads_of_it(tmp_path):
    rows = [
        f"{marker(0, number)} of a row" if number % 5 else number % len(BAD_LINES) for number in range(20)
    ]
    corpus, path = CorpusSection(name="web", kind="files", path="."), tmp_path / "a.jsonl.gz"
    shard = Shard(corpus="web", name=path.name, key=path.name, kind="file", path=path)
    read = []
    for step in range(10, 100):
        file = File([*rows], step / 100)
        path.write_bytes(file.content(path.name))
        batch = all_documents(read_shard(shard, corpus))
        assert file.readable(path.name) == dict(batch.documents.select("row", "text").iter_rows())
        read.append(len(batch.documents))
    assert len(set(read)) > 10, "markers must not compress, or nothing is cut"


def test_ids_are_those_of_the_product():
    for text in ("plain", "  around\r\nlines ", "e\u0301"):
        assert content_id(text) == document_id(text)


def test_a_home_without_fault_passes_every_check_of_files(landing):
    for kind in ("arrive", "spoil", "truncate", "settings"):
        landing.happen(kind)
    landing.withdrawn.add(landing.to_withdraw())
    assert found_by_all(home_of(landing), landing) == set()


FAULTS = {
    "a document is lost": ("occurrences", "row != 1", {"pool"}),
    "its text is lost": ("documents", "text NOT LIKE '%7'", {"pool", "decisions"}),
    "an entry of quarantine is lost": ("quarantine", "row != 0", {"quarantine"}),
    "a verdict is lost": ("decisions", "selection != 'near'", {"decisions"}),
    "a chosen one is not listed": ("selected_subset", "selection != 'near'", {"decisions"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_loss_is_found(landing, fault):
    landing.happen("spoil")
    tables = home_of(landing)
    name, kept, expected = FAULTS[fault]
    tables.connection.open_table(name).delete(f"NOT ({kept})")
    assert expected <= found_by_all(tables, landing)


def test_a_doubled_row_is_found(landing):
    tables = home_of(landing)
    table = tables.connection.open_table("occurrences")
    table.add(table.to_arrow().slice(0, 1))
    holds, figures = checks.pool(tables, landing)
    assert (holds, figures["doubled"], figures["lost"]) == (False, 1, 0)


def test_a_text_under_another_id_is_found(landing):
    tables = home_of(landing)
    table = tables.connection.open_table("documents")
    table.update(where="text LIKE '%7'", values={"text": "another text"})
    holds, figures = checks.pool(tables, landing)
    assert not holds
    assert figures["altered"] > 0


@pytest.mark.parametrize("place", ["file", "zipped", "old version", "database"])
def test_a_withdrawn_text_is_found_wherever_it_is_left(landing, place):
    withdrawn = landing.to_withdraw()
    mark = marker(landing.seed, landing.marked[withdrawn])
    landing.withdrawn.add(withdrawn)
    tables = home_of(landing)
    assert checks.withdrawn(tables, landing)[0]
    if place == "file":
        (tables.home / "page.html").write_text(f"<p>{mark}</p>")
    elif place == "zipped":
        (tables.home / "page.gz").write_bytes(gzip.compress(mark[::-1].encode()))
    elif place == "old version":
        table = tables.connection.open_table("documents")
        table.add(pl.DataFrame({"doc_id": [withdrawn], "text": [f"{mark} of a text"]}).to_arrow())
        table.delete(f"doc_id = '{withdrawn}'")
    else:
        import sqlite3

        with sqlite3.connect(tables.home / "events.db") as database:
            database.execute("create table events (body)")
            database.execute("insert into events values (?)", (mark,))
        database.close()
    assert not checks.withdrawn(tables, landing)[0]


def test_old_versions_of_a_table_are_decoded(landing):
    tables = home_of(landing)
    table = tables.connection.open_table("documents")
    text = table.to_arrow()["text"][0].as_py()
    table.delete(f"text = '{text}'")
    showing = [place for place, rows in tables.versions() if text in rows.column(-1).to_pylist()]
    assert showing == ["documents version 1"]


def test_a_search_that_sees_nothing_does_not_pass(landing, monkeypatch):
    tables = home_of(landing)
    monkeypatch.setattr(checks, "_texts", lambda _tables: iter(()))
    holds, figures = checks.withdrawn(tables, landing)
    assert not holds
    assert figures["missed"] == len(landing.marked)


@pytest.mark.parametrize(
    ("code", "status", "holds"), [(0, "green", True), (0, "amber", False), (1, "red", False)]
)
def test_an_audit_holds_when_it_is_green(code, status, holds):
    class Answering:
        def tamis(self, *_arguments: str) -> subprocess.CompletedProcess[str]:
            answer = {"status": status, "nodes": [{"name": "documents", "status": status}]}
            return subprocess.CompletedProcess([], code, json.dumps(answer), "")

    assert checks.audit(Answering())[0] == holds  # type: ignore[arg-type]


def test_a_kill_for_which_no_run_appeared_is_not_counted(landing, monkeypatch, capsys):
    monkeypatch.setattr(soak, "KINDS", ("kill",))
    monkeypatch.setattr(soak, "GAPS", (0.0001,))
    for process in (None, 7):
        monkeypatch.setattr(soak, "kill", lambda *_, found=process: {"killed": found})
        counts = soak.events(
            soak.Options(minutes=0.001),
            landing,
            None,  # type: ignore[arg-type]
            soak.Report(),
            lambda: None,
        )
        assert bool(counts["kill"]) == (process is not None)
    assert '"number": 1,' in capsys.readouterr().out


FRAME = pl.DataFrame({"doc_id": ["a", "b", "c"], "rank": [1, 2, None], "score": [0.5, None, 1e-3]})
OTHERS = {
    "the same": (FRAME.reverse(), False),
    "rounded otherwise": (FRAME.with_columns(pl.col("score") * (1 + 1e-9)), False),
    "another score": (FRAME.with_columns(pl.col("score") * (1 + 1e-5)), True),
    "no score": (FRAME.with_columns(score=pl.lit(None, pl.Float64)), True),
    "another rank": (FRAME.with_columns(rank=pl.Series([1, 3, None])), True),
    "a row less": (FRAME.head(2), True),
    "a row twice": (pl.concat([FRAME, FRAME.head(1)]), True),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_rebuild_that_differs_is_found(name):
    other, differs = OTHERS[name]
    assert bool(difference(FRAME, other)) == differs


def test_a_process_that_was_replaced_is_found():
    found = soak.Series(None, soak.Report(), 1.0)  # type: ignore[arg-type]
    for second in range(20):
        found.samples.append({"second": second, "processes": {"daemon": {"pid": 7}}})
    assert found.replaced() == []
    found.samples[-1]["processes"] = {"daemon": {"pid": 8}, "webserver": {"pid": 7}}
    assert found.replaced() == ["daemon", "webserver"]


def test_the_half_comes_once_between_two_events(landing, monkeypatch, capsys):
    monkeypatch.setattr(soak, "KINDS", ("settings",))
    monkeypatch.setattr(soak, "GAPS", (0.01,))
    asked = []
    options, report = soak.Options(minutes=0.005), soak.Report()
    counts = soak.events(options, landing, None, report, lambda: asked.append(report.second))  # type: ignore[arg-type]
    assert len(asked) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert counts["settings"] == len(lines)
    assert lines[0]["second"] <= asked[0] <= lines[-1]["second"]


TICKS = {
    "at rest": ((20.0, "every selection is current", False), True),
    "given up": ((20.0, "trials failed 3 times; materialize it to see why", False), True),
    "a tick before the last event": ((5.0, "every selection is current", False), False),
    "a run is active": ((20.0, "every selection is current", True), False),
    "tried again": ((20.0, "documents will be tried again shortly", False), False),
    "requested a run": ((20.0, "", False), False),
}


@pytest.mark.parametrize("name", TICKS)
def test_the_sensors_rest_when_a_tick_says_so_and_no_run_is_active(monkeypatch, name):
    ui, (tick, rests) = object.__new__(Interface), TICKS[name]
    monkeypatch.setattr(Interface, "sensor_tick", lambda _ui: tick)
    assert ui.rests(since=10.0) == (rests, tick[1])


def test_an_interface_that_died_does_not_rest():
    ui = object.__new__(Interface)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        ui.port = unused.getsockname()[1]
        rests, said = ui.rests(since=0.0)
        assert (rests, said[:9], ui.failed_runs()) == (False, "no answer", None)


def test_a_check_that_cannot_be_made_does_not_hold(capsys):
    report = soak.Report()
    report.check("pool", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    report.check("audit", lambda: (True, {}))
    report.check("growth", lambda: (None, {}))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["check"], line["holds"]) for line in lines] == [
        ("pool", False),
        ("audit", True),
        ("growth", None),
    ]
    assert (report.failed, report.unjudged) == (["pool"], ["growth"])


@pytest.mark.slow
def test_a_short_soak_holds_and_leaves_nothing_behind(tmp_path, encoder_cache, capfd):
    options = soak.Options(minutes=0.75, settle_minutes=5, seed=5, every=5, cache=encoder_cache)
    holds = soak.soak(options, tmp_path)
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    checked = {line["check"]: line for line in lines if line["part"] == "check"}
    assert holds, [line for line in checked.values() if not line["holds"]]
    named = {"rest", "loopback", "failures", "unanswered", *checks.OF_FILES, "status", "audit", "rebuild"}
    assert named | {"answers", "growth", "disk", "disk_of_rebuild"} == set(checked)
    assert {name for name, line in checked.items() if line["holds"] is None} == {"answers", "growth", "disk"}
    asked = [line for line in lines if line["part"] == "answer"]
    assert {line["of"] for line in asked} == {"ui", "asset", "index", "selection", "map"}
    counted = [line["documents"] for line in lines if line["part"] == "disk"]
    assert len(counted) == 4
    assert counted[-1] == counted[-2] == checked["pool"]["documents"]
    assert {line["event"] for line in lines if line["part"] == "event"} <= set(KINDS)
    series = [line for line in lines if line["part"] == "series"]
    assert set(series[-1]["processes"]) == {"dagster dev", "code server", "grpc", "webserver", "daemon"}
    left = [one.info for one in psutil.process_iter(["pid", "cmdline"]) if names(one.info, tmp_path)]
    assert left == []


@pytest.mark.slow
def test_an_interrupted_soak_ends_its_processes_and_removes_its_folder(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(CHECKOUT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.soak", "--minutes", "5", "--every", "2"],
        cwd=CHECKOUT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("part") == "series":
            break
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 5
    process.terminate()
    process.communicate(timeout=120)
    assert process.returncode == 143
    _gone, alive = psutil.wait_procs(started, timeout=10)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
    left = [path for path in tmp_path.iterdir() if not path.name.startswith("torchinductor_")]  # torch's own
    assert left == []


def names(found: dict, folder: Path) -> bool:
    return any(str(folder) in part for part in found["cmdline"] or ())
