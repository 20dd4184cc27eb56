"""A project in the Dagster of a team: as a code location next to theirs, and merged into theirs."""

import os
import signal
import subprocess
import sys

import pytest
from projects import SmallProject, make_project, selection, sentences, settings, target, write, write_jsonl
from served import answers, ask, free_port, wait_for
from test_cancelled_run import LAUNCH
from test_materialize_all import ASSETS, at_its_end, begin

pytestmark = pytest.mark.slow
THEIRS = """
import dagster as dg

@dg.asset(deps=["selected_subset"])
def resources():  # as a module of somebody else may be called
    return 1

defs = dg.Definitions(assets=[resources])
"""
MERGED = (
    THEIRS
    + """
import tamis
defs = tamis.definitions(merge_with=defs)
"""
)
OURS = "  - python_module: tamis.platform.definitions\n"
SHARDS = '{ assetNodes(assetKeys: [{path: ["raw_shards"]}]) { partitionKeys } }'
MATERIALIZED = """
{ assetNodes(assetKeys: [{path: ["resources"]}]) { assetMaterializations(limit: 1) { runId } } }
"""


@pytest.fixture
def project(tmp_path, encoder_cache) -> SmallProject:
    text = settings(target(train=30, held_out=15), selection("best", "got-d", 20, target="goal"))
    made = make_project(tmp_path / "project", encoder_cache, text)
    write_jsonl(made.root / "documents" / "pool.jsonl", sentences("cooking", 40, 100))
    return made


@pytest.mark.parametrize(("ours", "theirs"), [(OURS, THEIRS), ("", MERGED)], ids=["next to it", "merged"])
def test_a_selection_is_made_in_an_instance_of_others(project, tmp_path, ours, theirs):
    team = tmp_path / "team"
    write(team / "team.py", theirs.splitlines())
    write(team / "workspace.yaml", [f"load_from:\n{ours}  - python_file: team.py"])
    write(team / "home" / "dagster.yaml", ["telemetry:\n  enabled: false"])
    port = free_port()
    command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-p", str(port)]
    with (project.root / "server.log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=team,
            env=project.environment
            | {"DAGSTER_HOME": str(team / "home"), "TAMIS_PROJECT": str(project.file)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(lambda: answers(port), 180, project)
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: len(ask(url, ASSETS)["assetNodes"]) > 2, 600, project)
        # The sensor arrivals registers the file; a click before it finds no document.
        wait_for(lambda: ask(url, SHARDS)["assetNodes"][0]["partitionKeys"], 600, project)
        at_its_end(project, url, begin(url, "resources"))
        selector = {
            "repositoryLocationName": "team.py",
            "repositoryName": "__repository__",
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": ["resources"]}],
        }
        ask(url, LAUNCH, given={"selector": selector, "runConfigData": {}, "mode": "default"})
        wait_for(lambda: ask(url, MATERIALIZED)["assetNodes"][0]["assetMaterializations"], 120, project)
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
    assert project.store.count("selected_subset", "selection = 'best'") > 0
    assert not (project.home.dagster / "storage").exists() or project.json("status")["due"] == []
    audit = project.json("audit")
    assert audit["status"] == "amber", audit
    assert "another instance of Dagster" in str(audit)
