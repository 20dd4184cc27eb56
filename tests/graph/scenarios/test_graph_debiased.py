"""got-d-debiased in the graph: stages only where it is used, a potential kept while the pool hardly moves."""

from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest
from projects import CHOSEN, GRAPH, SmallProject, make_project, selection, sentences, write_jsonl

from tamis.graph.used_stages import used_by
from tamis.samplers.pool_potential import PoolPotential

POOL_STAGES = {"pool_potential", "pool_potential_scores"}
MADE = CHOSEN | POOL_STAGES
TEXT = GRAPH + selection("apart", "got-d-debiased", 5, target="goal")


@pytest.fixture(scope="module")
def made(tmp_path_factory, encoder_cache) -> Iterator[SmallProject]:
    project = make_project(tmp_path_factory.mktemp("debiased") / "project", encoder_cache, TEXT)
    write_jsonl(project.landing / "more.jsonl", sentences("sailing", 60, 7))
    project.make(MADE)
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


def test_only_projects_that_use_the_sampler_have_its_stages(made, tmp_path, nowhere):
    assert {*used_by(made.project).assets} >= POOL_STAGES
    copied = made.copy(tmp_path / "copied")
    copied.configure(GRAPH)
    assert not POOL_STAGES & {*used_by(copied.project).assets}
    copied.close()


def test_the_potential_is_kept_for_one_document_more_and_solved_again_for_many(made, tmp_path, nowhere):
    copied = made.copy(tmp_path / "copied")
    before = version(copied, "pool_potential")
    scores = copied.rows("pool_potential_goal").sort("doc_id")
    write_jsonl(copied.landing / "one.jsonl", sentences("sailing", 1, 8))
    copied.make(MADE, certified=True)
    assert version(copied, "pool_potential") == before
    later = copied.rows("pool_potential_goal").sort("doc_id")
    assert len(later) == len(scores) + 1
    assert later.join(scores, on="doc_id", how="semi").equals(scores)

    write_jsonl(copied.landing / "many.jsonl", sentences("cooking", 60, 9))
    copied.make(MADE, certified=True)
    assert version(copied, "pool_potential") != before
    folder = copied.home.fitted / "pool_potential" / "goal"
    (saved,) = folder.glob(f"{version(copied, 'pool_potential')[:16]}*")
    own = PoolPotential.load(saved)
    assert own.pool_rows == copied.store.count("documents")
    everything = copied.rows("pool_potential_goal")
    members = everything.filter(pl.col("doc_id").is_in(list(own.ids))).sort("doc_id")
    expected = pl.DataFrame({"doc_id": own.ids, "p": own.sample.potential}).sort("doc_id")
    np.testing.assert_allclose(members["pool_potential"], expected["p"], atol=1e-6)
    copied.close()
