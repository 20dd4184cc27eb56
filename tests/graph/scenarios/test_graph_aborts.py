"""A file of which the process dies: the others are made, and after two deaths it is set aside."""

import signal
import subprocess
import sys

import pytest
from projects import CHECKOUT, SmallProject, corpus, make_graph, settings, texts, write_jsonl

from tamis.graph.failures import Abort, _write
from tamis.graph.plan import input_key
from tamis.graph.stages import stages
from tamis.platform.definitions import definitions_of
from tamis.runtime.driver import materialize
from tamis.runtime.running import Wanted
from tamis.verbs.status import read_status

MADE = frozenset({"raw_shards", "documents", "embeddings"})
BAD, GOOD = "web__bad.jsonl", ("web__a.jsonl", "web__z.jsonl")

PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import dagster, polars, pyarrow.parquet, scipy.sparse, sqlalchemy  # once for both
from projects import SmallProject
from tamis.platform.assets import corpus

read = corpus.read_as

def dying(shard, *arguments, **named):
    if shard.key == "web__bad.jsonl":
        os.abort()
    return read(shard, *arguments, **named)

corpus.read_as = dying
for _ in range(2):
    process = os.fork()
    if not process:
        os.dup2(2, 1)
        SmallProject(Path(sys.argv[2]), durable=True).try_making({"raw_shards", "documents", "embeddings"})
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


@pytest.fixture
def graph(tmp_path, encoder_cache, nowhere) -> SmallProject:
    root = make_graph(tmp_path / "project", encoder_cache, settings(corpus(path="landing"))).root
    graph = SmallProject(root, durable=True)
    for path in graph.landing.iterdir():
        path.unlink()
    for name in (*GOOD, BAD):
        write_jsonl(graph.landing / name.removeprefix("web__"), texts("sailing", 3))
    yield graph
    graph.close()


def die_twice(graph: SmallProject) -> None:
    """Make it all in two processes, one after the other, that abort when they read the bad file."""
    arguments = [str(CHECKOUT / "tests"), str(graph.root)]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], cwd=CHECKOUT, capture_output=True)
    assert done.stdout.decode().split() == [str(-signal.SIGABRT)] * 2, done.stderr.decode()


def made(graph: SmallProject, asset: str) -> set[str]:
    return {key for name, key in graph.current if name == asset}


def test_a_file_of_which_the_process_dies_twice_is_set_aside_until_it_changes(graph):
    die_twice(graph)
    assert made(graph, "documents") == {*GOOD}, "the second time the others come first"
    outcome = graph.try_making(MADE)
    assert "it crashed the process 2 times (aborted)" in outcome.failed["documents"]
    assert made(graph, "embeddings") == {*GOOD}
    failed = read_status(graph.project).failed_steps
    assert [(one.asset, one.partition) for one in failed] == [("documents", BAD)]
    assert "it crashed the process 2 times (aborted), so it is set aside" in failed[0].reason
    write_jsonl(graph.landing / "bad.jsonl", texts("sailing", 4))
    graph.make(MADE)
    assert made(graph, "embeddings") == {*GOOD, BAD}
    graph.assert_sound(MADE)


def test_what_is_set_aside_holds_no_other_back_and_is_tried_again_when_a_person_asks_for_it(graph):
    graph.make({"raw_shards"})
    key = input_key(stages()["documents"], BAD, graph.snapshot, graph.current)
    found = Abort(asset="documents", partition=BAD, input_key=key, reasons=("aborted", "aborted"))
    _write(graph.home, [found])
    assert graph.try_making(MADE).failed.keys() == {"documents"}
    assert made(graph, "embeddings") == {*GOOD}
    wanted = Wanted(only=MADE, try_again=True)
    done = materialize(graph.project, definitions_of, graph.instance, graph.said.append, wanted)
    assert not done.failed
    assert made(graph, "embeddings") == {*GOOD, BAD}
    assert "retrying 1 partition that crashed the process" in graph.said
