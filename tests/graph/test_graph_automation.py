"""Automation: which values sensors keep current, in an order in which no value precedes its inputs."""

from dataclasses import replace

import pytest

from tamis.graph import automation
from tamis.graph.automation import Group, automatic_work, next_groups
from tamis.graph.plan import upstream
from tamis.graph.stages import stages
from tamis.settings.sections import SelectionSection


def work_of(imagined) -> set:
    return automatic_work(imagined.snapshot(), imagined.current)


def selecting(imagined) -> set:
    """One selection and all that it reads."""
    entry = ("selected_subset", "near")
    return {entry, *upstream(imagined.snapshot(), entry)}


def keep_current(imagined, until: str) -> None:
    settings = imagined.project.settings
    automation = settings.automation.model_copy(update={"until": until})
    imagined.project = replace(
        imagined.project, settings=settings.model_copy(update={"automation": automation})
    )


def test_scores_are_kept_ready_and_selections_wait_for_a_person(imagined):
    made = {asset for asset, _key in imagined.materialize(work_of(imagined))}
    assert {"embeddings", "transport_scores", "density_scores"} <= made
    assert not made & {"selected_subset", "tokenizer", "base_models", "trials", "sampler_trials"}


def test_what_dagster_shows_before_a_selection_is_kept_ready_whatever_samplers_read(imagined):
    settings = imagined.project.settings
    near = tuple(one for one in settings.selection if one.name == "near")
    imagined.project = replace(imagined.project, settings=settings.model_copy(update={"selection": near}))
    assert ("density_scores", "") in work_of(imagined)


def test_a_selection_that_was_made_once_is_kept_current(imagined):
    imagined.materialize(work_of(imagined))
    imagined.make("selected_subset", ("near",))
    imagined.contents["web__c"] = "1"
    made = imagined.materialize(work_of(imagined))
    assert ("selected_subset", "near") in made
    assert ("selected_subset", "thin") not in made


@pytest.mark.parametrize("until", ["selections", "reports"])
def test_what_arrives_is_in_all_that_is_read_about_it_where_the_project_says_so(imagined, until):
    imagined.materialize()
    keep_current(imagined, until)
    imagined.contents["web__c"] = "1"
    made = {asset for asset, _key in imagined.materialize(work_of(imagined))}
    reports = {"mart_documents", "mart_reasons", "mart_trials", "sampler_comparison", "lineage_audit"}
    reports |= {"served_examples", "selection_pages", "target_gaps"}
    assert made & reports == (reports if until == "reports" else set())
    assert not made & {"tokenizer", "base_models", "trials", "sampler_trials", "loss_curves"}


def test_no_report_is_a_reason_to_make_what_it_reports_on(imagined):
    keep_current(imagined, "reports")
    imagined.materialize(work_of(imagined))
    assert imagined.materialize(work_of(imagined)) == []
    imagined.make("selected_subset", ("near",))
    made = {asset for asset, _key in imagined.materialize(work_of(imagined))}
    assert {"mart_documents", "mart_intake"} <= made
    others = [name for name in imagined.snapshot().keys("selections") if name != "near"]
    assert others
    assert not made & {"selected_subset", "mart_reasons", "judge_sample", "trials", "lineage_audit"}


def test_a_change_during_a_run_is_seen_afterwards(imagined):
    imagined.materialize(work_of(imagined))
    imagined.make("selected_subset", ("near",))
    imagined.contents["web__a"] = "2"
    group = next(next_groups(imagined.snapshot(), imagined.current, work_of(imagined)))
    imagined.contents["web__b"] = "2"  # lands after the request, before the run has ended
    for asset in group.assets:
        imagined.make(asset, group.partitions_of(asset))
    made = imagined.materialize(work_of(imagined))
    assert ("raw_shards", "web__b") in made
    assert ("selected_subset", "near") in made
    assert not list(next_groups(imagined.snapshot(), imagined.current, work_of(imagined)))


def test_the_same_work_has_the_same_keys_and_changed_work_others(imagined):
    first = list(next_groups(imagined.snapshot(), imagined.current))
    assert list(next_groups(imagined.snapshot(), imagined.current)) == first
    imagined.contents["web__a"] = "2"
    then = list(next_groups(imagined.snapshot(), imagined.current))
    changed = {one.assets[0] for one, other in zip(first, then, strict=True) if one.keys != other.keys}
    assert changed == {"raw_shards"}


def test_a_shard_that_leaves_calls_for_a_new_selection(imagined):
    imagined.materialize(work_of(imagined))
    imagined.make("selected_subset", ("near",))
    del imagined.contents["web__b"]
    for entry in [entry for entry in imagined.current if entry[1] == "web__b"]:
        del imagined.current[entry]
    assert ("selected_subset", "near") in imagined.materialize(work_of(imagined))


def runs(imagined, wanted=None) -> list[Group]:
    """Make everything that is due; the runs of it."""
    found = []
    while group := next(next_groups(imagined.snapshot(), imagined.current, wanted, refit=False), None):
        found.append(group)
        for asset in group.assets:
            imagined.make(asset, group.partitions_of(asset))
    return found


@pytest.mark.parametrize("arrived", [1, 3])
def test_what_arrives_costs_a_run_for_each_set_of_partitions(imagined, arrived):
    imagined.materialize()
    imagined.contents |= {f"web__new{number}": "1" for number in range(arrived)}
    made = runs(imagined)
    assert [group.partition_set for group in made] == ["shards", "targets", "selections", "trials", None]
    assert len(made[0].partitions) == arrived
    assert made[0].assets[:3] == ("raw_shards", "documents", "embeddings")
    assert "near_duplicates" in made[0].assets
    assert made[1].assets[-1] == "transport_scores"
    assert made[2].assets[0] == "selected_subset"
    assert "mart_documents" in made[2].assets, "no selection reads it"


def test_no_report_is_made_before_the_selections_that_wait(imagined):
    keep_current(imagined, "reports")
    imagined.materialize(work_of(imagined))
    imagined.make("selected_subset", ("near",))
    imagined.materialize(work_of(imagined))
    imagined.contents["web__new"] = "1"
    made = runs(imagined, work_of(imagined))
    assert [group.partition_set for group in made] == ["shards", "targets", "selections"]
    assert "mart_documents" in made[-1].assets
    before = {name for group in made[:-1] for name in group.assets}
    assert before.isdisjoint({"density_sketch", "mart_documents", "mart_intake", "lineage_audit"})


def test_of_a_large_pool_what_no_selection_reads_is_a_run_of_its_own(imagined, monkeypatch):
    monkeypatch.setattr(automation, "LARGE_POOL", -1)
    keep_current(imagined, "reports")
    imagined.materialize(work_of(imagined))
    imagined.make("selected_subset", ("near",))
    imagined.materialize(work_of(imagined))
    imagined.contents["web__new"] = "1"
    made = runs(imagined, work_of(imagined))
    assert [group.partition_set for group in made[:3]] == ["shards", "targets", "selections"]
    assert len(made) == 4
    assert made[2].assets[0] == "selected_subset", made
    assert {"density_sketch", "density_scores", "mart_documents"} <= {*made[3].assets}


def test_of_a_new_project_the_first_selection_comes_before_what_it_does_not_need(imagined):
    made = runs(imagined)
    first, second = [place for place, group in enumerate(made) if "selected_subset" in group.assets][:2]
    assert made[0].assets[0] == "target_examples", "first, since too few of them end everything"
    before = {name for group in made[: first + 1] for name in group.assets}
    assert before.isdisjoint({"judge_sample", "judge_scores", "mart_documents", "lineage_audit"})
    assert "near" in made[first].partitions
    assert before.isdisjoint({"density_sketch", "density_scores"}), "which the selection thin alone needs"
    assert "thin" in made[second].partitions
    between = {name for group in made[first + 1 : second + 1] for name in group.assets}
    assert between.isdisjoint({"judge_scores", "mart_documents", "lineage_audit"})


def test_a_first_selection_that_cannot_be_made_holds_up_no_other(imagined):
    given_up = {("target_potential", "goal")}
    made = set()
    while group := next(next_groups(imagined.snapshot(), imagined.current, None, True, given_up), None):
        made.update((asset, key) for asset in group.assets for key in group.partitions_of(asset))
        for asset in group.assets:
            imagined.make(asset, group.partitions_of(asset))
        if ("selected_subset", "thin") in made:
            break
    assert ("selected_subset", "thin") in made
    assert not {name for name, _key in made} & {"judge_scores", "mart_documents", "lineage_audit"}


@pytest.mark.parametrize(("failed", "judged"), [("target_potential", True), ("contamination", False)])
def test_the_judge_is_not_asked_for_a_selection_that_cannot_be_made(imagined, failed, judged):
    settings = imagined.project.settings
    asking = SelectionSection(name="asking", sampler="ask-llm", budget=10, target="other")
    every = settings.model_copy(update={"selection": (*settings.selection, asking)})
    imagined.project = replace(imagined.project, settings=every)
    given_up = {(failed, key) for key in imagined.snapshot().keys(stages()[failed].partitions)}
    made = set()
    while group := next(next_groups(imagined.snapshot(), imagined.current, None, True, given_up), None):
        made.update((asset, key) for asset in group.assets for key in group.partitions_of(asset))
        for asset in group.assets:
            imagined.make(asset, group.partitions_of(asset))
    assert (("selected_subset", "asking") in made) == judged
    assert (("judge_scores", "") in made) == judged, sorted(made)
    assert ("density_scores", "") in made


def test_a_certified_value_is_left_by_sensors_and_settled_by_hand(imagined):
    imagined.materialize()
    entry = ("target_potential", "goal")
    imagined.current[entry] = replace(imagined.current[entry], settled=False)
    assert imagined.materialize(work_of(imagined), refit=False) == []
    assert entry in imagined.materialize(work_of(imagined))


def test_a_preset_that_counts_tokens_is_waited_for_without_its_pre_training(imagined):
    imagined.materialize(selecting(imagined))
    before = imagined.versions()
    settings = imagined.project.settings
    named = settings.project.model_copy(update={"tokenizer": "small"})
    imagined.project = replace(imagined.project, settings=settings.model_copy(update={"project": named}))
    made = [asset for asset, _key in imagined.materialize(selecting(imagined))]
    assert made == ["tokenizer", "token_counts", "token_counts", "selected_subset"]
    imagined.contents["web__c"] = "1"
    made = {asset for asset, _key in imagined.materialize(work_of(imagined))}
    assert {"token_counts", "selected_subset"} <= made
    assert "tokenizer" not in made
    imagined.project = replace(imagined.project, settings=settings)
    del imagined.contents["web__c"]
    imagined.materialize(selecting(imagined))
    assert {entry: imagined.versions()[entry] for entry in before} == before
