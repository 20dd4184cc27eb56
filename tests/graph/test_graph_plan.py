"""Plans: everything is made once and in order, and a change makes only its dependants out of date."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tamis.graph.plan import STEADY, full_plan, gone_partitions
from tamis.graph.stages import stages
from tamis.project import open_project

WARM_UP, ASKED = ("trials", "warm-up__small__near"), ("trials", "warm-up__small__thin")


def test_inputs_come_before_the_stages_that_read_them():
    order = list(stages())
    for stage in stages().values():
        for found in stage.edges:
            assert order.index(found.asset) < order.index(stage.name), f"{stage.name} reads {found.asset}"


def test_everything_is_made_once_and_then_nothing(imagined):
    made = imagined.materialize()
    assert len(made) == len(set(made))
    assert {"documents", "target_potential", "selected_subset", "trials", "lineage_audit"} <= {
        a for a, _ in made
    }
    assert imagined.materialize() == []
    assert full_plan(imagined.snapshot(), imagined.current) == []


def test_a_plan_names_the_input_that_an_entry_waits_for(imagined):
    plan = full_plan(imagined.snapshot(), imagined.current)
    first = next(due for due in plan if due.asset == "documents")
    assert (first.partition, first.reason, first.waits_for) == ("web__a", "new", "raw_shards[web__a]")


def test_a_changed_shard_leaves_the_other_shards_alone(imagined):
    imagined.materialize()
    imagined.contents["web__b"] = "2"
    made = imagined.materialize()
    assert {key for asset, key in made if asset in ("raw_shards", "documents", "embeddings")} == {"web__b"}
    assert ("target_examples", "goal") not in made
    assert ("target_potential", "goal") in made


def test_base_models_are_not_trained_again_by_arrivals(imagined):
    imagined.materialize()
    imagined.contents["web__c"] = "1"
    made = {asset for asset, _key in imagined.materialize()}
    assert not made & {"tokenizer", "base_models"}
    assert "trials" in made  # a warm-up follows its selection


def test_scores_by_a_steady_model_are_due_once_its_content_has_changed(imagined):
    file = imagined.project.file
    file.write_text(file.read_text() + '\n[filters]\nheuristics = ["form"]\n')
    imagined.project = open_project(file.parent)
    imagined.materialize()
    imagined.contents["web__c"] = "1"
    plan = full_plan(imagined.snapshot(), imagined.current)
    assert [due.partition for due in plan if due.asset == "form_scores"] == ["web__c"]
    assert [due.reason for due in plan if due.asset == "form_model"] == [STEADY]
    possible = full_plan(imagined.snapshot(), imagined.current, possible=True)
    assert [due.partition for due in possible if due.asset == "form_scores"] == [*imagined.contents]
    made = imagined.materialize()  # here the model is another with every arrival
    assert {key for asset, key in made if asset == "form_scores"} == {*imagined.contents}
    assert len(made) == len(set(made))
    assert full_plan(imagined.snapshot(), imagined.current) == []


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["1", "2", None])), max_size=6))
def test_taking_changes_back_gives_the_same_versions(imagined, changes):
    imagined.contents, imagined.current = {"web__a": "1", "web__b": "1"}, {}
    imagined.materialize()
    before = imagined.versions()
    for name, content in changes:
        imagined.contents |= {f"web__{name}": content} if content else {}
        if content is None:
            imagined.contents.pop(f"web__{name}", None)
        imagined.materialize()
    imagined.contents = {"web__a": "1", "web__b": "1"}
    for entry in gone_partitions(imagined.snapshot(), imagined.current):
        del imagined.current[entry]
    imagined.materialize()
    assert imagined.versions() == before


def test_a_value_whose_check_failed_holds_back_its_dependants(imagined):
    imagined.materialize()
    entry = ("target_potential", "goal")
    imagined.current[entry] = type(imagined.current[entry])(
        **imagined.current[entry].__dict__ | {"passed": False}
    )
    imagined.contents["web__a"] = "2"
    made = imagined.materialize(
        {(asset, key) for asset, key in imagined.current if asset != "target_potential"}
    )
    assert ("transport_scores", "goal") not in made
    assert ("transport_scores", "other") in made


def test_trials_on_request_wait_until_somebody_asks(imagined):
    made = imagined.materialize()
    assert WARM_UP in made
    assert ASKED not in made
    imagined.asked = frozenset({ASKED[1]})
    assert ASKED in imagined.materialize()
    imagined.contents["web__b"] = "2"
    assert ASKED in imagined.materialize()  # made once, it is kept current as the others are


def test_a_trial_that_is_kept_after_its_name_left_waits_for_nothing(imagined):
    imagined.materialize()
    left = replace(imagined.snapshot(), kept={"trials": frozenset({"warm-up__small__gone"})})
    assert full_plan(left, imagined.current) == []


@pytest.mark.parametrize(
    ("more", "due"),
    [
        ("quality_weight = 3.0", set()),
        ("temperature = 2.0", set()),
        ('away_from = "other"', set()),
        ('sampler = "got-d-contrast"\naway_from = "other"\naway_weight = 2.0', {"near"}),
        ("budget = 11", {"near"}),
    ],
)
def test_a_selection_is_made_again_for_settings_that_its_sampler_uses(imagined, more, due):
    imagined.materialize()
    file = imagined.project.file
    key = more.split(" ")[0]
    near = file.read_text().split('name = "near"\n')[1].split("\n\n")[0].splitlines()
    kept = [line for line in near if not line.startswith(key)]
    file.write_text(file.read_text().replace("\n".join(near), "\n".join([*kept, more]), 1))
    imagined.project = open_project(file.parent)
    found = {part for asset, part in imagined.materialize() if asset == "selected_subset"}
    assert found == due
