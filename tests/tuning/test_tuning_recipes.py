"""Recipes of [tune]: how many, which always reach the last round, and names that tell them apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.settings.samplers import weighs_quality
from tamis.settings.training_sections import TuneSection
from tamis.tuning.recipes import ALWAYS, EXAMPLES, recipes_of

SAMPLERS = ("got-d", "knn", "density", "got-d-quality", "score:edu", "random")


def section(**changed) -> TuneSection:
    given = {"target": "goal", "models": ["small"], "samplers": ["got-d", "knn"], "recipes": 12}
    return TuneSection.model_validate(given | changed)


def recipes(section: TuneSection, rates=(1e-3,), seed: int = 0):
    return recipes_of(section, dict.fromkeys(section.models, rates), seed)


def lists(values, most: int = 3):
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)


@st.composite
def sections(draw) -> TuneSection:
    return section(
        models=draw(lists(["small", "large", "given"])),
        samplers=draw(lists(SAMPLERS, 5)),
        shares=draw(lists(["10%", "20%", 50])),
        quality="edu",
        quality_weights=draw(lists([0.5, 1.0, 1.0000001, 2.0])),
        recipes=draw(st.integers(2, 24)),
    )


@given(sections(), lists([1e-3, 1e-2, 1.0000001e-3, 3e-4]), st.integers(0, 5))
def test_recipes_are_as_many_as_allowed_named_apart_and_with_their_references(section, rates, seed):
    named = recipes(section, rates, seed)
    assert 2 <= len(named.by_name) <= section.recipes
    assert len(set(named.by_name.values())) == len(named.by_name)
    every = section.model_copy(update={"recipes": 10_000})
    whole = recipes(every, rates, seed)
    assert whole.left_out == 0
    assert named.left_out == len(whole.by_name) - len(named.by_name), "no name is that of two recipes"
    assert set(named.by_name.values()) <= set(whole.by_name.values())
    assert set(named.by_name) <= set(whole.by_name), "a limit changes no name"
    assert named.reference in named.fixed
    first = named.by_name[named.reference]
    assert (first.model, first.learning_rate) == (section.models[0], rates[0])
    for name in named.fixed:
        recipe = named.by_name[name]
        assert recipe.sampler in (None, *ALWAYS)
        assert (recipe.model, recipe.learning_rate) == (first.model, first.learning_rate)
    always = {None, *set(section.samplers).intersection(ALWAYS), "random"}
    if section.recipes >= len(always):
        assert {named.by_name[name].sampler for name in named.fixed} == always
    assert recipes(section, rates, seed) == named
    for name, recipe in named.by_name.items():
        known, against = named.reference_of(name)
        assert against.sampler == "random"
        assert (against.model, against.learning_rate) == (recipe.model, recipe.learning_rate) or (
            recipe.sampler == "random"
        )
        assert whole.by_name[known] == against, "its name tells it from others, searched or not"


@given(sections(), st.integers(0, 5))
def test_what_is_added_displaces_recipes_and_changes_no_order_of_others(section, seed):
    """By the hash of a recipe: one that stays is chosen before the same others, whatever else is listed."""
    rates = (1e-3,)
    added = section.model_copy(update={"shares": (*section.shares, "30%")})
    before, after = (set(recipes(own, rates, seed).by_name.values()) for own in (section, added))
    listed = set(recipes(section.model_copy(update={"recipes": 10_000}), rates, seed).by_name.values())
    assert (after & listed) <= before, "a longer list lets in none of those that were left out"


def test_a_limit_below_the_fixed_recipes_keeps_the_reference_first():
    named = recipes(section(recipes=2))
    assert list(named.by_name) == ["random", "got-d"]
    assert named.fixed == {"random", "got-d"}
    named = recipes(section(recipes=4))
    assert list(named.by_name) == ["random", "got-d", "knn", EXAMPLES]
    assert named.left_out == 0


def test_names_say_what_differs_and_nothing_else():
    named = recipes(section(shares=["10%", "20%"]), (1e-3, 1e-2))
    assert "got-d, 10%, rate 0.001" in named.by_name or "got-d, 20%, rate 0.001" in named.by_name
    assert f"{EXAMPLES}, rate 0.001" in named.by_name
    close = recipes(section(samplers=["got-d"]), (1e-3, 1.0000001e-3))
    assert "got-d, rate 0.001" in close.by_name
    assert "got-d, rate 0.0010000001" in close.by_name


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_only_samplers_that_read_quality_have_weights_of_it(sampler):
    named = recipes(section(samplers=[sampler], quality="edu", quality_weights=[0.5, 2.0]))
    weights = {recipe.quality_weight for recipe in named.by_name.values() if recipe.sampler == sampler}
    assert weights == ({0.5, 2.0} if weighs_quality(sampler) else {None})


def test_a_share_that_is_written_twice_makes_one_recipe():
    once, twice = recipes(section(shares=["10%"])), recipes(section(shares=["10%", "10.0%"]))
    assert twice == once
