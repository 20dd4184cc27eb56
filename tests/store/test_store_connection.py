"""The connection of a home: one a process, of the files that are there, in threads and forked processes."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import lancedb
import pyarrow as pa
import pytest
from lancedb.table import LanceTable

from tamis.graph.repair import unreadable_tables
from tamis.store import remembered, tables
from tamis.store.home import Home
from tamis.store.schemas import schema_of
from tamis.store.table_errors import DamagedTableError
from tamis.store.tables import Store


def sample(*parts):
    ids = [f"{number:032x}" for number in range(len(parts))]
    return pa.table([ids, list(parts)], schema=schema_of("judge_sample"))


@pytest.fixture
def sessions(monkeypatch):
    """Return the sessions that LanceDB has opened."""
    opened: list[object] = []
    session = lancedb.Session

    def counted(**sizes):
        opened.append(sizes)
        return session(**sizes)

    monkeypatch.setattr(lancedb, "Session", counted)
    return opened


def test_a_home_has_one_connection_a_process(tmp_path, sessions):
    Home(tmp_path / "a").store.merge("judge_sample", sample("train"))
    for _ in range(3):
        assert Home(tmp_path / "a").store.count("judge_sample") == 1
    assert len(sessions) == 1
    assert Home(tmp_path / "b").store.count("judge_sample") == 0
    assert Home(tmp_path / "a").store.names() == ["judge_sample"]


def test_what_another_process_wrote_is_read(tmp_path):
    store = Home(tmp_path).store
    store.merge("judge_sample", sample("train"))
    assert store.read("judge_sample")["part"].to_list() == ["train"]
    code = (
        "import sys, pickle; from tamis.store.home import Home; from pathlib import Path\n"
        "store = Home(Path(sys.argv[1])).store\n"
        "store.delete('judge_sample', 'true')"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)
    assert store.count("judge_sample") == 0
    assert store.version("judge_sample") == 3


def test_a_table_or_a_home_in_the_place_of_another_is_read_as_it_is(tmp_path):
    store = Home(tmp_path / "home").store
    store.merge("judge_sample", sample("train"))
    for number, part in enumerate(("hold_out", "active", "train")):
        other = Home(tmp_path / f"other{number}").store
        other.merge("judge_sample", sample(part, part))
        for place in ("lance/judge_sample.lance", "lance", "."):
            shutil.rmtree(tmp_path / "home" / place)
            shutil.copytree(tmp_path / f"other{number}" / place, tmp_path / "home" / place)
            assert store.read("judge_sample")["part"].to_list() == [part, part]
            store.merge("judge_sample", sample("mine"))
            assert store.read("judge_sample")["part"].to_list() in (["mine", part], [part, "mine"])
    shutil.rmtree(tmp_path / "home")
    assert store.names() == []
    store.merge("judge_sample", sample("anew"))
    assert store.read("judge_sample")["part"].to_list() == ["anew"]


def test_a_home_copied_over_one_with_as_many_versions_is_read_as_it_is(tmp_path):
    """As of a backup that is laid over a home while its UI runs: the folders stay, and so do the names."""
    store = Home(tmp_path / "home").store
    store.merge("judge_sample", sample("train"))
    assert store.read("judge_sample")["part"].to_list() == ["train"]
    Home(tmp_path / "other").store.merge("judge_sample", sample("other", "other"))
    shutil.copytree(tmp_path / "other", tmp_path / "home", dirs_exist_ok=True)
    assert store.count("judge_sample") == 2
    assert store.read("judge_sample")["part"].to_list() == ["other", "other"]


def test_a_table_dropped_and_made_again_by_another_process_is_read_as_it_is(tmp_path):
    store = Home(tmp_path).store
    for part in ("train", "active", "hold_out"):
        other = Store(store.folder)
        if other.exists("judge_sample"):
            other.drop("judge_sample")
        other.merge("judge_sample", sample(part))
        assert store.version("judge_sample") == 2
        assert store.read("judge_sample")["part"].to_list() == [part]


def test_a_changed_frame_changes_nothing_that_is_remembered(tmp_path):
    store = Home(tmp_path).store
    store.merge("judge_sample", sample("train"))
    read = store.read("judge_sample")
    read[0, "part"] = "mine"
    read.insert_column(0, read["part"].alias("more"))
    assert store.read("judge_sample").to_dict(as_series=False)["part"] == ["train"]


def test_reads_without_rows_are_not_remembered_without_bound(monkeypatch):
    monkeypatch.setattr(remembered, "MOST_BYTES", 100 * remembered.BYTES_OF_EACH)
    memory = remembered.Remembered()
    for number in range(1_000):
        memory.put(("attempts", number), sample())
    assert (
        90 < len([number for number in range(1_000) if memory.get(("attempts", number)) is not None]) <= 100
    )
    for number in range(1_000):
        memory.put(("attempts", "x" * remembered.BYTES_OF_EACH, number), sample())
    long = [memory.get(("attempts", "x" * remembered.BYTES_OF_EACH, number)) for number in range(1_000)]
    assert 40 < sum(one is not None for one in long) <= 50


def test_a_slice_counts_for_all_that_it_holds_on_to(monkeypatch):
    monkeypatch.setattr(remembered, "MOST_BYTES", 1 << 20)
    memory = remembered.Remembered()
    for number in range(3):
        rows = sample(*["train"] * 20_000)
        assert 1 << 19 < rows.nbytes < 1 << 20
        memory.put(number, rows.slice(number, 1))
    assert [memory.get(number) is not None for number in range(3)] == [False, False, True]


def test_what_was_read_before_files_are_read_afresh_is_not_remembered_after(tmp_path, monkeypatch):
    """A thread that is still reading when another begins to verify."""
    store = Home(tmp_path).store
    store.merge("judge_sample", sample("train"))
    stream = tables.stream_rows

    def interrupted(*arguments):
        yield from stream(*arguments)
        store.read_afresh()

    monkeypatch.setattr(tables, "stream_rows", interrupted)
    first = store.read_arrow("judge_sample")
    monkeypatch.setattr(tables, "stream_rows", stream)
    assert store.read_arrow("judge_sample") is not first
    assert store.read_arrow("judge_sample") is store.read_arrow("judge_sample")


def test_a_read_that_has_no_stamp_opens_its_table_once_and_counts_no_rows(tmp_path, monkeypatch):
    """As of an object store, where each costs a request."""
    store, opened = Home(tmp_path).store, []
    store.merge("judge_sample", sample("train"))
    monkeypatch.setattr(tables, "stamp_of_versions", lambda *_: None)
    monkeypatch.setattr(
        Store, "open", lambda self, name, open_it=Store.open: (opened.append(name), open_it(self, name))[1]
    )
    monkeypatch.setattr(LanceTable, "__len__", lambda _self: pytest.fail("rows were counted"))
    assert store.read("judge_sample")["part"].to_list() == ["train"]
    assert opened == ["judge_sample"]


def test_threads_share_the_connection_from_the_first_reading_on(tmp_path):
    Home(tmp_path).store.merge("judge_sample", sample(*"abcdefgh"))
    home = Home(tmp_path)
    home.store.read_afresh()
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: home.store.count("judge_sample"), range(64)))
    assert set(counts) == {8}


FORKED = """
import os, signal, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from tamis.store.home import Home
home = Home(Path(sys.argv[1]))
before = home.store
assert before.count("judge_sample") == 1
if (child := os.fork()) == 0:
    signal.alarm(60)
    assert home.store is not before
    os._exit(home.store.count("judge_sample") - 1)
assert os.waitpid(child, 0)[1] == 0
assert home.store is before
"""


def test_a_forked_process_opens_a_connection_of_its_own(tmp_path):
    Home(tmp_path).store.merge("judge_sample", sample("train"))
    subprocess.run([sys.executable, "-c", FORKED, tmp_path], check=True, timeout=120)


def test_whoever_looks_for_damage_reads_files_again_that_were_read_before(tmp_path):
    store = Home(tmp_path).store
    store.merge("judge_sample", sample("train"))
    assert store.count("judge_sample", "part = 'train'") == 1
    (file,) = (tmp_path / "lance" / "judge_sample.lance" / "data").iterdir()
    file.write_bytes(file.read_bytes()[:-16] + bytes(16))
    assert unreadable_tables(store) == ["judge_sample"]
    with pytest.raises(DamagedTableError):
        store.read("judge_sample")


def test_damage_that_keeps_size_and_date_is_found_by_a_second_look(tmp_path):
    """As of a file that a repair of the file system, or rsync, wrote again."""
    store = Home(tmp_path).store
    store.merge("judge_sample", sample("train"))
    assert unreadable_tables(store) == []
    (file,) = (tmp_path / "lance" / "judge_sample.lance" / "data").iterdir()
    dated = file.stat()
    with file.open("r+b") as stream:
        stream.seek(-16, os.SEEK_END)
        stream.write(bytes(16))
    os.utime(file, ns=(dated.st_atime_ns, dated.st_mtime_ns))
    assert unreadable_tables(store) == ["judge_sample"]
