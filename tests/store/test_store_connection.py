"""The connection of a home: one a process, of the files that are there, in threads and forked processes."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import lancedb
import pyarrow as pa
import pytest

from tamis.graph.repair import unreadable_tables
from tamis.store.home import Home
from tamis.store.schemas import schema_of
from tamis.store.table_errors import DamagedTableError


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
