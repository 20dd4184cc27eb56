"""got-d-debiased in the graph: stages only where it is used, a potential kept while the pool hardly moves."""

from collections.abc import Iterator

import dagster as dg
import numpy as np
import polars as pl
import pytest
from projects import CHOSEN, GRAPH, SmallProject, make_project, selection, sentences, target, write_jsonl

from tamis.corpus import document_id
from tamis.graph.used_stages import used_by
from tamis.history.explain import explain_document, explanation_lines
from tamis.samplers.pool_potential import PoolPotential

POOL_STAGES = {"pool_potential", "pool_potential_scores"}
MADE = CHOSEN | POOL_STAGES
TEXT = GRAPH + selection("apart", "got-d-debiased", 5, target="goal")
BOATS = target("boats", "boats", train=8, held_out=4) + selection(
    "afloat", "got-d-debiased", 5, target="boats"
)
GONE = sentences("sailing", 60, 7)[0]


def project_with(root, encoder_cache, more: list[str]) -> SmallProject:
    """A project with another file, with these texts, that is made."""
    project = make_project(root, encoder_cache, TEXT)
    write_jsonl(project.landing / "more.jsonl", more)
    project.make(MADE)
    return project


@pytest.fixture(scope="module")
def made(tmp_path_factory, encoder_cache) -> Iterator[SmallProject]:
    folder = tmp_path_factory.mktemp("debiased")
    project = project_with(folder / "project", encoder_cache, sentences("sailing", 60, 7))
    yield project
    project.close()


@pytest.fixture
def copied(made, tmp_path, nowhere) -> Iterator[SmallProject]:
    """A copy of it that a test may change."""
    project = made.copy(tmp_path / "copied")
    yield project
    project.close()


def version(project: SmallProject, stage: str) -> str:
    return str(project.current[(stage, "goal")].data_version)


def test_the_choice_is_by_the_gradient_less_the_own_potential(made):
    decided = made.rows("decisions").filter(pl.col("selection") == "apart")
    scored = decided.filter(pl.col("rank").is_not_null()).sort("rank")
    difference = scored["transport_gradient"] - scored["pool_potential"]
    assert len(scored) > 20
    assert difference.is_sorted()
    plain = made.rows("decisions").filter(pl.col("selection") == "near")
    assert plain["pool_potential"].null_count() == len(plain)
    assert {row["fingerprint"] for row in made.rows("pool_potential_goal").to_dicts()} == {
        version(made, "pool_potential")[:32]
    }


def test_only_projects_that_use_the_sampler_have_its_stages(made, copied):
    assert {*used_by(made.project).assets} >= POOL_STAGES
    copied.configure(GRAPH)
    assert not POOL_STAGES & {*used_by(copied.project).assets}


def test_an_explanation_names_the_score_and_its_parts(made):
    chosen = made.store.read("selected_subset", ["doc_id"], "selection = 'apart'")["doc_id"][0]
    found = explain_document(made.home, chosen)
    scores = {one["scorer"]: one["score"] for one in found["scores"]}
    toward, own = scores["transport_gradient[goal]"], scores["pool_potential[goal]"]
    decided = {row["selection"]: row for row in found["decisions"]}
    assert decided["apart"]["debiased"] == {
        "score": toward - own, "transport_gradient": toward, "pool_potential": own,
    }  # fmt: skip
    assert "debiased" not in decided["near"]
    said = (
        f"debiased score {toward - own:.5g} (transport_gradient {toward:.5g} less pool_potential {own:.5g})"
    )
    assert sum(said in line for line in explanation_lines(found)) == 1


def facts(project: SmallProject) -> dict[str, object]:
    """Return facts of the event log about the last potential of the pool."""
    of_goal = dg.AssetRecordsFilter(dg.AssetKey("pool_potential"), asset_partitions=["goal"])
    (record,) = project.instance.fetch_materializations(of_goal, limit=1).records
    return {name: value.value for name, value in record.asset_materialization.metadata.items()}


def test_the_potential_is_kept_for_one_document_more_and_solved_again_for_many(copied):
    before = version(copied, "pool_potential")
    scores = copied.rows("pool_potential_goal").sort("doc_id")
    write_jsonl(copied.landing / "one.jsonl", sentences("sailing", 1, 8))
    copied.make(MADE, certified=True)
    assert version(copied, "pool_potential") == before
    later = copied.rows("pool_potential_goal").sort("doc_id")
    assert len(later) == len(scores) + 1
    assert later.join(scores, on="doc_id", how="semi").equals(scores)
    assert facts(copied)["done"] == "accept"
    assert "why" not in facts(copied)

    write_jsonl(copied.landing / "many.jsonl", sentences("cooking", 60, 9))
    copied.make(MADE, certified=True)
    assert version(copied, "pool_potential") != before
    said = facts(copied)
    assert said["done"] == "solved from nothing"
    assert "a new sample of the pool" in said["why"] or "the target's potential" in said["why"]
    folder = copied.home.fitted / "pool_potential" / "goal"
    (saved,) = folder.glob(f"{version(copied, 'pool_potential')[:16]}*")
    own = PoolPotential.load(saved)
    assert own.pool_rows == copied.store.count("documents")
    everything = copied.rows("pool_potential_goal")
    members = everything.filter(pl.col("doc_id").is_in(list(own.ids))).sort("doc_id")
    expected = pl.DataFrame({"doc_id": own.ids, "p": own.sample.potential}).sort("doc_id")
    np.testing.assert_allclose(members["pool_potential"], expected["p"], atol=1e-6)


def test_a_withdrawn_document_is_gone_from_sample_and_scores_as_if_it_had_never_been(
    copied, tmp_path, encoder_cache
):
    gone = document_id(GONE)
    assert gone in copied.rows("pool_potential_goal")["doc_id"].to_list()
    tainted = {one.name for one in copied.withdraw([gone]).tainted if one.current}
    assert "pool_potential[goal]" in tainted
    assert gone not in copied.rows("pool_potential_goal")["doc_id"].to_list()
    assert not [path for path in copied.home.fitted.rglob("*.json") if gone in path.read_text()]
    copied.make(MADE)
    assert facts(copied)["done"] == "solved from nothing"
    assert copied.audit().status == "green"

    never = project_with(tmp_path / "never", encoder_cache, sentences("sailing", 60, 7)[1:])
    ours, theirs = (project.rows("pool_potential_goal") for project in (copied, never))
    assert ours["doc_id"].equals(theirs["doc_id"])
    np.testing.assert_allclose(ours["pool_potential"], theirs["pool_potential"], atol=1e-5)
    chosen = (project.rows("selected_subset").filter(selection="apart") for project in (copied, never))
    assert len({tuple(rows.sort("rank")["doc_id"]) for rows in chosen}) == 1
    never.close()


def test_a_second_target_has_a_potential_of_its_own_and_leaves_the_first_as_it_is(copied):
    before = {stage: version(copied, stage) for stage in POOL_STAGES}
    write_jsonl(copied.root / "boats" / "boats.jsonl", sentences("sailing", 14, 3))
    copied.configure(f"{TEXT}\n{BOATS}")
    copied.make(MADE)
    assert {stage: version(copied, stage) for stage in POOL_STAGES} == before
    goal, boats = copied.rows("pool_potential_goal"), copied.rows("pool_potential_boats")
    assert goal["doc_id"].equals(boats["doc_id"])
    assert not np.allclose(goal["pool_potential"], boats["pool_potential"]), "each in its target's geometry"
    decided = copied.rows("decisions").filter(pl.col("rank").is_not_null(), selection="afloat")
    joined = decided.join(boats, on="doc_id").sort("rank")
    assert joined["pool_potential"].equals(joined["pool_potential_right"], check_names=False)
    assert (joined["transport_gradient"] - joined["pool_potential"]).is_sorted()


def test_an_altered_score_and_a_lost_potential_are_found_by_the_audit(copied):
    assert copied.audit().status == "green"
    copied.store.open("pool_potential_goal").update(
        where=f"doc_id = '{document_id(GONE)}'", values={"pool_potential": 1.0}
    )
    next((copied.home.fitted / "pool_potential" / "goal").rglob("pool_potential.json")).unlink()
    red = {node.name for node in copied.audit().nodes.values() if node.status == "red"}
    assert red >= {"pool_potential[goal]", "pool_potential_scores[goal]"}
