"""The edges of the graph: from every result the way down to raw shards, through all that it depends on."""

import pytest

from tamis.lineage.plan import upstream
from tamis.lineage.stages import stages

SHARDS = ("web__a", "web__b")
FROM_THE_POOL = ("selected_subset", "decisions", "base_models", "density_scores", "transport_scores")


@pytest.mark.parametrize("asset", FROM_THE_POOL)
def test_what_is_made_of_the_pool_leads_to_every_raw_shard(imagined, asset):
    world = imagined.world()
    for partition in world.keys(stages()[asset].partitions):
        found = upstream(world, (asset, partition))
        for key in SHARDS:
            assert {("raw_shards", key), ("documents", key)} <= found, f"{asset}[{partition}]"


def test_a_checkpoint_leads_to_its_selection_its_examples_and_its_base_model(imagined):
    world = imagined.world()
    found = upstream(world, ("trials", "warm-up__small__near"))
    raw = {("raw_shards", key) for key in SHARDS}
    of_the_target = {("target_examples", "goal"), ("transport_scores", "goal")}
    assert raw | of_the_target | {("selected_subset", "near"), ("base_models", "small")} <= found
    assert ("selected_subset", "thin") not in found
    assert ("near_duplicates", "") in found
    law = upstream(world, ("trials", "law__small__5"))
    assert {("base_models", "small"), ("target_examples", "goal")} <= law
    assert raw <= law, "its base model was trained on the pool"


def test_what_a_base_model_must_not_see_is_among_its_inputs(imagined):
    found = upstream(imagined.world(), ("base_models", "small"))
    assert {("target_examples", "goal"), ("contamination", "goal"), ("target_examples", "other")} <= found


def test_no_edge_leads_to_a_stage_that_comes_later(imagined):
    order = list(stages())
    for place, stage in enumerate(stages().values()):
        assert {edge.asset for edge in stage.edges} <= set(order[:place]), stage.name
