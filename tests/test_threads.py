"""Work on threads: results in order, few items in hand, errors where they happen."""

import threading

import pytest

from tamis.base.threads import Behind, ahead, in_threads, threads


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


def test_one_item_is_made_ahead_of_the_one_in_use(count):
    made: list[int] = []
    gate = threading.Event()

    def items():
        for item in range(10):
            made.append(item)
            if item == 1:
                gate.set()
            yield item

    found = ahead(items())
    assert next(found) == 0
    if count > 1:
        assert gate.wait(20)
    assert len(made) <= 2
    assert [*found] == [*range(1, 10)]


def test_an_error_of_what_is_made_ahead_comes_after_the_items_before_it(count):
    found = ahead(1 // item for item in (1, 1, 0, 1))
    assert [next(found), next(found)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_pieces_of_work_are_done_in_order_and_all_before_leaving(count):
    done: list[int] = []
    gate = threading.Event()

    def first() -> None:
        assert gate.wait(20)
        done.append(1)

    if count == 1:
        gate.set()
    with Behind() as behind:
        behind.do(first)
        assert bool(done) == (count == 1)
        gate.set()
        behind.do(done.append, 2)
    assert done == [1, 2]


def test_an_error_of_a_piece_is_raised_at_the_next_call_or_on_leaving(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    done: list[int] = []
    failed = threading.Event()

    def fail() -> None:
        failed.set()
        raise ZeroDivisionError

    def until_raised(check) -> None:
        while True:
            check()

    def work_that_fails_together(behind) -> None:
        behind.do(fail)
        raise KeyError

    with Behind() as behind:
        behind.do(divmod, 1, 0)
        with pytest.raises(ZeroDivisionError):
            behind.do(done.append, 1)
        behind.do(done.append, 2)
        behind.do(fail)
        assert failed.wait(20)
        with pytest.raises(ZeroDivisionError):
            until_raised(behind.check)
    assert done == [2]
    with pytest.raises(ZeroDivisionError), Behind() as behind:
        behind.do(divmod, 1, 0)
    with pytest.raises(KeyError) as raised, Behind() as behind:
        work_that_fails_together(behind)
    assert "ZeroDivisionError" in raised.value.__notes__[0]


def test_no_more_threads_work_than_the_most_that_is_given(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    taken: list[int] = []
    results = in_threads(lambda item: item, (taken.append(item) or item for item in range(100)), 2)
    assert next(results) == 0
    assert len(taken) <= 3
    results.close()
