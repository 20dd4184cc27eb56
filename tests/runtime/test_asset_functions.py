"""Parameters of the function of a stage: a mistake is named where it is made, not in the middle of a run."""

import inspect
from contextlib import nullcontext
from types import SimpleNamespace

import dagster as dg
import pytest

from tamis.platform.assets.specification import asset, part, per_partition


def no_key(work, key):
    yield


def no_work(encoder):
    yield


def unknown(work, enconder):
    yield


def other_order(encoder, work):
    yield


def starred(work, *more):
    yield


def named(work, **more):
    yield


def engine(work, engine):
    yield


@pytest.mark.parametrize("make", [no_key, no_work, unknown, other_order, starred, named, engine])
@pytest.mark.parametrize("decorate", [asset("target_gaps", []), part("token_counts", [])])
def test_a_function_that_no_step_can_call_is_refused_when_it_is_defined(decorate, make):
    with pytest.raises(TypeError, match=rf"{make.__name__} takes \(.*takes work first, then at most encoder"):
        decorate(make)


@pytest.mark.parametrize("make", [no_work, unknown, other_order, starred, named, engine])
def test_so_is_one_of_a_partition(make):
    with pytest.raises(TypeError, match=rf"{make.__name__} takes .*takes work and key first.*@per_partition"):
        per_partition(make)


def test_decorators_in_the_wrong_order_are_refused():
    with pytest.raises(TypeError, match="@per_partition belongs directly above a function"):

        @per_partition
        @asset("target_gaps", [])
        def target_gaps(work):
            yield


def test_a_part_is_given_no_resource_that_its_step_has_not():
    def token_counts(work, judge):
        yield

    assert isinstance(asset("target_gaps", [])(token_counts), dg.AssetsDefinition)
    with pytest.raises(TypeError, match=r"token_counts takes \(work, judge\)"):
        part("token_counts", [])(token_counts)


def test_a_stage_that_nothing_declares_is_named():
    with pytest.raises(LookupError, match="no stage named 'novelti'"):
        asset("novelti", [])(lambda work: iter(()))


def test_resources_are_those_that_the_function_names():
    @asset("target_gaps", [], engine=True)
    @per_partition
    def made(work, key, *, tracker, judge=None):
        """Words."""
        yield

    assert made.op.required_resource_keys == {"store", "engine", "tracker", "judge"}
    assert made.op.description == "Words."


@pytest.mark.parametrize("count", [0, 3])
def test_each_partition_is_made_apart_with_what_it_asks_for(count):
    failed = {}

    class Apart(nullcontext):
        def __init__(self, key):
            super().__init__()
            self.key = key

        def __exit__(self, _kind, error, _trace):
            failed.update({self.key: str(error)} if error else {})
            return error is not None

    @per_partition
    def made(work, key, encoder):
        if key == "1":
            raise ValueError("before the first yield")
        yield key, encoder
        if key == "2":
            raise ValueError("after it")

    work = SimpleNamespace(partitions=[str(number) for number in range(count)], apart=Apart)
    found = list(made(work, encoder="vectors"))
    assert found == [(key, "vectors") for key in work.partitions if key != "1"]
    assert failed == ({"1": "before the first yield", "2": "after it"} if count else {})
    assert list(inspect.signature(made).parameters) == ["work", "encoder"]
