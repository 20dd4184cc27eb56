"""Work on threads: results in order, few items in hand, errors where they happen."""

import threading

import pytest

from tamis.base.threads import in_threads, threads


@pytest.fixture(params=["1", "3"])
def count(request, monkeypatch) -> int:
    monkeypatch.setenv("OMP_NUM_THREADS", request.param)
    assert threads() == int(request.param)
    return int(request.param)


def test_results_come_in_the_order_of_the_items_whoever_ends_first(count):
    gate = threading.Event()

    def work(item: int) -> int:
        if item == 0 and count > 1:
            assert gate.wait(20)  # the second item ends first
        if item == 1:
            gate.set()
        return item * item

    assert list(in_threads(work, range(10))) == [item * item for item in range(10)]


def test_items_are_taken_as_results_are(count):
    taken: list[int] = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    results = in_threads(lambda item: item, items())
    assert next(results) == 0
    assert len(taken) <= count + 1
    results.close()
    assert len(taken) <= count + 1


def test_an_error_is_raised_where_its_result_would_come(count):
    results = in_threads(lambda item: 1 // item, [1, 1, 0, 1])
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
