"""Growth: whether inputs were only added, so that rows computed from the others are still right."""

from dataclasses import replace

import pytest
from projects import manifest_of

from tamis.graph.plan import config_of, input_references, only_grew
from tamis.graph.stages import stages
from tamis.records.manifest import InputReference

MODEL = "mart_intake"


@pytest.fixture
def before(imagined):
    """The manifest of the model as it would be made now."""
    imagined.materialize()
    snapshot, stage = imagined.snapshot(), stages()[MODEL]
    found = input_references(stage, "", snapshot, imagined.current)
    return replace(
        manifest_of(MODEL, code_version=stage.code_version, config=config_of(stage, "", snapshot)),
        seed=imagined.project.seed,
        inputs=tuple(entry for entry in found if isinstance(entry, InputReference)),
    )


def grew(imagined, before) -> bool:
    imagined.materialize()
    return only_grew(before, stages()[MODEL], imagined.snapshot(), imagined.current, {"stg_occurrences"})


def test_a_new_shard_is_growth(imagined, before):
    assert grew(imagined, before)
    imagined.contents["web__c"] = "1"
    assert grew(imagined, before)
    # The view between has another version, which says nothing about what came of each shard.
    assert not only_grew(before, stages()[MODEL], imagined.snapshot(), imagined.current)


@pytest.mark.parametrize("change", [{"web__a": "2"}, {"web__a": None}, {"web__a": None, "web__c": "1"}])
def test_a_changed_or_removed_shard_is_not_growth(imagined, before, change):
    imagined.contents |= change
    imagined.contents = {key: value for key, value in imagined.contents.items() if value}
    assert not grew(imagined, before)


def test_other_code_settings_or_seed_are_not_growth(imagined, before):
    for values in ({"code_version": "x"}, {"config": {"withdrawals": "x"}}, {"seed": 7}):
        assert not grew(imagined, replace(before, **values))
