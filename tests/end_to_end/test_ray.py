"""The small project on both engines, and a materialization on Ray that is ended in its middle."""

import signal
import subprocess
import time

import numpy as np
import psutil
import pytest
from projects import SMALL, TRAINED, VECTORS, SmallProject, make_project

from tamis.coverage import DensitySketch
from tamis.store.tables import Store

ENGINE = """
[engine]
kind = "ray"
workers = 2
"""
SCORED = """
[perplexity]
model = "small"

[[selection]]
name = "good"
sampler = "ask-llm"
budget = 20
"""
JUDGED = """
[judge]
sample = 150
max_tokens = 96

[[selection]]
name = "good"
sampler = "ask-llm"
budget = 20
"""
TOLERANCE = {
    "scores_judge": ("margin", 1e-3),
    "scores_perplexity": ("bits_per_byte", 1e-2),
    "scores_quality": ("quality", 1e-2),
    "transport_algebra": ("transport_gradient", 1e-3),
}


@pytest.fixture(scope="module")
def both(tmp_path_factory, encoder_cache) -> tuple[Store, Store]:
    """The stores of the same project, made in one process and on two workers."""
    pytest.importorskip("ray", reason="ray is not installed: pip install -c constraints.txt -e '.[ray]'")
    stores = []
    for name, engine in (("local", ""), ("ray", ENGINE)):
        settings = SMALL + TRAINED + SCORED + engine
        project = make_project(tmp_path_factory.mktemp(name) / "project", encoder_cache, settings)
        project.tamis("materialize", timeout=900)
        stores.append(project.store)
    return stores[0], stores[1]


def test_documents_vectors_and_densities_have_the_same_bits(both):
    for table in ("documents", VECTORS, "near_duplicates", "scores_density"):
        columns = [name for name in both[0].schema(table).names if name != "first_seen"]
        ours, theirs = (store.read(table, columns).sort("doc_id") for store in both)
        assert ours.equals(theirs), table
        assert len(ours) or table == "near_duplicates"
    sketches = [next((store.folder.parent / "fitted").rglob("sketch.npz")) for store in both]
    assert len({DensitySketch.load(path).fingerprint for path in sketches}) == 1


@pytest.mark.parametrize("table", sorted(TOLERANCE))
def test_scores_agree(both, table):
    column, tolerance = TOLERANCE[table]
    ours, theirs = (store.read(table, ["doc_id", column]).sort("doc_id") for store in both)
    assert ours["doc_id"].equals(theirs["doc_id"])
    assert np.abs(ours[column].to_numpy() - theirs[column].to_numpy()).max() <= tolerance


def test_settled_selections_are_the_same(both):
    columns = ["selection", "doc_id", "verdict", "reason"]
    ours, theirs = (store.read("decisions", columns).sort(columns) for store in both)
    assert ours.filter(ours["verdict"] == "selected").height > 0
    differing = ours.join(theirs, on=columns, how="anti")
    assert differing.filter(differing["selection"] != "good").height == 0
    assert differing.height <= 4  # the grader's last bits, at the cut


def started(project: SmallProject) -> subprocess.Popen:
    return subprocess.Popen(
        project.command("materialize"),
        cwd=project.root,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(happens, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if happens():
            return True
        time.sleep(0.2)
    return False


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_no_process_and_the_next_goes_on(tmp_path, encoder_cache, ended_by):
    pytest.importorskip("ray", reason="ray is not installed: pip install -c constraints.txt -e '.[ray]'")
    project = make_project(tmp_path / "project", encoder_cache, SMALL + JUDGED + ENGINE)
    store = project.store
    running = started(project)
    try:
        assert wait_for(lambda: store.count("scores_judge") >= 32 or running.poll() is not None, 1_800)
        assert running.poll() is None, running.communicate()
        below = psutil.Process(running.pid).children(recursive=True)
        names = {process: process.name() for process in below}
        assert "raylet" in names.values()
        running.send_signal(ended_by)
        running.communicate(timeout=600)
        assert running.returncode != 0
    finally:
        running.kill()
    gone, agents = psutil.wait_procs(below, timeout=120)
    assert "raylet" in {names[process] for process in gone}
    assert not agents or ended_by == signal.SIGKILL
    # Nobody tells Ray's two agents of a node that was killed: they look for their parent now and then.
    assert {names[process] for process in agents} <= {"ray::DashboardAgent", "ray::RuntimeEnvAgent"}
    assert not psutil.wait_procs(agents, timeout=180)[1]
    before = store.count("scores_judge")
    assert 32 <= before < 150
    project.tamis("materialize", timeout=900)
    assert store.count("scores_judge") == 150
    assert store.count("decisions", "selection = 'good' AND verdict = 'selected'") == 20
