"""The definitions of a project among those of others."""

import dagster as dg
import pytest
from projects import SMALL, SmallProject, make_project

import tamis
from tamis.base.errors import BadArgumentError
from tamis.platform.definitions import ClashError


@dg.asset(deps=["selected_subset"])
def report() -> None: ...


@dg.asset
def documents() -> None: ...


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> SmallProject:
    return make_project(tmp_path_factory.mktemp("project"), None, SMALL)


@pytest.mark.parametrize("named", ["file", "folder"])
def test_they_have_what_the_assets_ask_for_and_no_executor(project, named):
    found = tamis.definitions(project.file if named == "file" else project.root)
    assert found.executor is None
    assert set(found.resources) == {"store", "encoder", "judge", "tracker", "engine"}
    dg.Definitions.validate_loadable(found)


def test_merged_with_others_they_are_one_graph(project):
    others = dg.Definitions(assets=[report], resources={"warehouse": dg.ResourceDefinition.none_resource()})
    found = tamis.definitions(project.file, merge_with=others)
    dg.Definitions.validate_loadable(found)
    graph = found.resolve_asset_graph()
    assert graph.get(dg.AssetKey("report")).parent_keys == {dg.AssetKey("selected_subset")}
    assert graph.get(dg.AssetKey("selected_subset")).is_materializable


def test_names_of_both_are_listed_with_the_way_out(project):
    others = dg.Definitions(assets=[documents, report], resources={"store": 1})
    with pytest.raises(ClashError, match=r"assets: documents; resources: store.*tamis.platform.definitions"):
        tamis.definitions(project.file, merge_with=others)


def test_what_is_no_definitions_of_dagster_is_named_with_what_would_be_right(project):
    with pytest.raises(BadArgumentError, match=r"merge_with: int; expected a dagster\.Definitions"):
        tamis.definitions(project.file, merge_with=3)
