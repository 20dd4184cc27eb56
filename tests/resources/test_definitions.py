"""What Dagster loads: the project's owner on every asset, and one step for all that is made of a file."""

import runpy
from pathlib import Path

from projects import plain_project, settings

from tamis.graph.stages import stages

CHECKOUT = Path(__file__).resolve().parents[2]


def test_the_owner_of_the_project_is_on_every_asset(tmp_path, monkeypatch):
    text = settings().replace('name = "small"', 'name = "small"\nowner = "team:ours"')
    project = plain_project(tmp_path, text)
    monkeypatch.setenv("TAMIS_PROJECT", str(project.file))
    monkeypatch.setenv("DAGSTER_HOME", str(project.home.dagster))
    graph = runpy.run_path(str(CHECKOUT / "definitions.py"))["defs"].resolve_asset_graph()
    owned = {key.path[-1]: list(graph.get(key).owners) for key in graph.get_all_asset_keys()}
    assert owned.keys() == stages().keys()
    assert set(map(tuple, owned.values())) == {("team:ours",)}


def test_a_step_makes_the_stages_that_declare_it():
    from assets.shards import shards

    declared = {stage.name for stage in stages().values() if stage.step == shards.op.name}
    assert {key.path[-1] for key in shards.keys} == declared
