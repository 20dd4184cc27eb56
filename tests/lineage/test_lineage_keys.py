"""Input keys: everything that a value depends on changes its key, and nothing else does."""

from dataclasses import replace

import pytest

from tamis.lineage.heads import Head
from tamis.lineage.plan import due_partitions, input_key
from tamis.lineage.stages import stages

ENTRY = ("density_scores", "")


@pytest.fixture
def made(imagined):
    """The project with everything made."""
    imagined.materialize()
    return imagined


def with_seed(world, seed: int):
    """The world of the same project with another seed."""
    settings = world.project.settings
    other = settings.project.model_copy(update={"seed": seed})
    return replace(
        world, project=replace(world.project, settings=settings.model_copy(update={"project": other}))
    )


def test_code_settings_seed_and_versions_of_inputs_each_change_the_key(made):
    world, stage = made.world(), stages()[ENTRY[0]]
    before = input_key(stage, "", world, made.heads)
    sketch = made.heads["density_sketch", ""]
    others = [
        input_key(replace(stage, name="another"), "", world, made.heads),
        input_key(stage, "partition", world, made.heads),
        input_key(replace(stage, code_version="another"), "", world, made.heads),
        input_key(replace(stage, settings=lambda world, key: {"width": 2.0}), "", world, made.heads),
        input_key(stage, "", with_seed(world, 7), made.heads),
        input_key(stage, "", world, made.heads | {("density_sketch", ""): replace(sketch, data_version="2")}),
    ]
    assert before is not None
    assert len({before, *others}) == 1 + len(others)


def test_what_does_not_change_a_result_does_not_change_the_key(made):
    world, stage = made.world(), stages()[ENTRY[0]]
    before = input_key(stage, "", world, made.heads)
    sketch = made.heads["density_sketch", ""]
    again = replace(sketch, manifest="another", attempt="another", input_key="another", settled=False)
    assert input_key(stage, "", world, made.heads | {("density_sketch", ""): again}) == before
    turned = replace(stage, edges=tuple(reversed(stage.edges)))
    assert input_key(turned, "", world, made.heads) == before


def test_another_seed_calls_for_everything_that_is_made_once_more(made):
    due = {
        name
        for name, stage in stages().items()
        if [*due_partitions(stage, with_seed(made.world(), 7), made.heads)]
    }
    assert {"raw_shards", "target_examples", "tokenizer"} <= due


@pytest.mark.parametrize("state", [{"passed": False}, {"finished": False}])
def test_what_was_refused_or_interrupted_is_no_input(made, state):
    head = made.heads["density_sketch", ""]
    heads = made.heads | {("density_sketch", ""): Head(**head.__dict__ | state)}
    assert input_key(stages()[ENTRY[0]], "", made.world(), heads) is None
