"""A cluster of several nodes, each with processes of its own, on this machine; it ends with the tests."""

import os
from pathlib import Path

import pytest
from stored_texts import some_texts, store_of

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ray_cluster():
    """A head without room for workers and two nodes with a processor each."""
    ray = pytest.importorskip(
        "ray", reason="ray is not installed: pip install -c constraints.txt -e '.[ray]'"
    )
    from ray.cluster_utils import Cluster

    # Workers import Tamis and the work of these tests from where this process has them.
    set_before = {name: os.environ.get(name) for name in ("PYTHONPATH", "RAY_USAGE_STATS_ENABLED")}
    os.environ["PYTHONPATH"] = os.pathsep.join([str(CHECKOUT), str(Path(__file__).parent)])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    for name, value in set_before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture
def ray_engine(ray_cluster):
    """An engine on that cluster, two workers, two tries of a block; its workers end with the test."""
    from tamis.engine.ray_engine import RayEngine
    from tamis.settings.sections import EngineSection

    engine = RayEngine(EngineSection(kind="ray", address=ray_cluster.address, workers=2, retries=1))
    yield engine
    engine.close()


@pytest.fixture
def twins(tmp_path):
    """Two stores with the same 5,000 documents: one for each engine."""
    texts = some_texts(5_000)
    (local, ids), (spread, _) = store_of(tmp_path / "local", texts), store_of(tmp_path / "spread", texts)
    return local, spread, ids
