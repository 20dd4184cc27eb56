"""Automation: which values sensors keep current, in an order in which no value precedes its inputs."""

from dataclasses import replace

from tamis.graph.automation import automatic_work, next_groups


def work_of(imagined) -> set:
    return automatic_work(imagined.snapshot(), imagined.current)


def test_scores_are_kept_ready_and_selections_wait_for_a_person(imagined):
    made = {asset for asset, _key in imagined.materialize(work_of(imagined))}
    assert {"embeddings", "transport_scores", "density_scores"} <= made
    assert not made & {"selected_subset", "tokenizer", "base_models", "trials", "sampler_trials"}


def test_a_selection_that_was_made_once_is_kept_current(imagined):
    imagined.materialize(work_of(imagined))
    imagined.make("selected_subset", ("near",))
    imagined.contents["web__c"] = "1"
    made = imagined.materialize(work_of(imagined))
    assert ("selected_subset", "near") in made
    assert ("selected_subset", "thin") not in made


def test_a_change_during_a_run_is_seen_afterwards(imagined):
    imagined.materialize(work_of(imagined))
    imagined.make("selected_subset", ("near",))
    imagined.contents["web__a"] = "2"
    group = next_groups(imagined.snapshot(), imagined.current, work_of(imagined))[0]
    imagined.contents["web__b"] = "2"  # lands after the request, before the run has ended
    for asset in group.assets:
        imagined.make(asset, group.partitions)
    made = imagined.materialize(work_of(imagined))
    assert ("raw_shards", "web__b") in made
    assert ("selected_subset", "near") in made
    assert next_groups(imagined.snapshot(), imagined.current, work_of(imagined)) == []


def test_the_same_work_has_the_same_keys_and_changed_work_others(imagined):
    first = next_groups(imagined.snapshot(), imagined.current)
    assert next_groups(imagined.snapshot(), imagined.current) == first
    imagined.contents["web__a"] = "2"
    then = next_groups(imagined.snapshot(), imagined.current)
    changed = {one.assets[0] for one, other in zip(first, then, strict=True) if one.keys != other.keys}
    assert changed == {"raw_shards"}


def test_a_shard_that_leaves_calls_for_a_new_selection(imagined):
    imagined.materialize(work_of(imagined))
    imagined.make("selected_subset", ("near",))
    del imagined.contents["web__b"]
    for entry in [entry for entry in imagined.current if entry[1] == "web__b"]:
        del imagined.current[entry]
    assert ("selected_subset", "near") in imagined.materialize(work_of(imagined))


def test_one_partition_is_made_by_one_run_through_its_chain(imagined):
    imagined.contents = {"web__a": "1"}
    examples, shards, *_rest = next_groups(imagined.snapshot(), imagined.current)
    assert examples.assets == ("target_examples",)  # first, since too few of them end everything
    assert shards.assets == ("raw_shards", "documents", "embeddings")


def test_a_certified_value_is_left_by_sensors_and_settled_by_hand(imagined):
    imagined.materialize()
    entry = ("target_potential", "goal")
    imagined.current[entry] = replace(imagined.current[entry], settled=False)
    assert imagined.materialize(work_of(imagined), refit=False) == []
    assert entry in imagined.materialize(work_of(imagined))
