"""What may come in: arrays of numpy and torch, blocks, and the errors that name what may not."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_problems import Blocks, clustered

from tamis.transport import BadShapeError, nearest_cost, solve_potential
from tamis.transport.cost import RowSource

pytestmark = pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints")


@given(
    count=st.integers(1, 60),
    chunk=st.integers(1, 20),
    sizes=st.lists(st.integers(0, 17), min_size=1, max_size=5).filter(any),
)
@settings(deadline=None, max_examples=25)
def test_chunks_are_equal_whatever_the_blocks(count, chunk, sizes):
    rows = np.arange(2.0 * count).reshape(count, 2)
    source = RowSource(Blocks(rows, sizes), "reference")
    for _ in range(2):
        found = [(start, piece.numpy()) for start, piece in source.chunks(chunk)]
        assert [len(piece) for _, piece in found[:-1]] == [chunk] * (len(found) - 1)
        assert [start for start, _ in found] == list(range(0, count, chunk))
        assert (np.concatenate([piece for _, piece in found]) == rows).all()


@pytest.mark.parametrize(
    "convert",
    [
        torch.from_numpy,
        lambda x: torch.from_numpy(x).half(),
        lambda x: x.astype(np.float16),
        lambda x: x.astype(">f8"),
        lambda x: np.asfortranarray(x),
        lambda x: x[:, ::-1][:, ::-1],
        lambda x: [x[:50], torch.from_numpy(x[50:])],
    ],
)
def test_every_kind_of_array_gives_the_same_scores(convert):
    problem = clustered(1)
    base = solve_potential(problem.y, problem.x)
    read_only = problem.x.copy()
    read_only.setflags(write=False)
    assert (base.gradient(read_only) == base.gradient(problem.x)).all()
    other = solve_potential(problem.y, convert(problem.x))
    scores = other.gradient(convert(problem.x))
    assert scores.dtype == np.float32
    assert np.abs(scores - base.gradient(problem.x)).max() < 2e-2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 77, 119])
def test_a_row_that_is_not_finite_is_named(bad, row):
    problem = clustered(2)
    x = problem.x.copy()
    x[row, 3] = bad
    for reference in (x, Blocks(x, [13])):
        with pytest.raises(ValueError, match=f"reference row {row}: not finite"):
            solve_potential(problem.y, reference)
    potential = solve_potential(problem.y, problem.x)
    with pytest.raises(ValueError, match=f"candidates row {row}: not finite"):
        potential.gradient(x)
    with pytest.raises(ValueError, match="target row 4"):
        solve_potential(np.where(np.arange(25)[:, None] == 4, bad, problem.y), problem.x)


def test_a_zero_row_is_refused_only_when_normalising():
    problem = clustered(3)
    x, y = problem.x.copy(), problem.y.copy()
    x[64] = 0
    y[7] = 0
    for center in (True, False):
        with pytest.raises(ValueError, match="reference row 64: a zero vector"):
            solve_potential(problem.y, x, center=center)
        with pytest.raises(ValueError, match="target row 7: a zero vector"):
            solve_potential(y, problem.x, center=center)
    assert np.isfinite(solve_potential(y, x, normalize=False, epsilon=0.3).gradient(x)).all()
    with pytest.raises(ValueError, match="row 5: equals the centre"):
        solve_potential(problem.y, problem.x, center=problem.x[5])


def test_shapes_and_masses_that_do_not_fit_are_refused():
    problem = clustered(4)
    y, x = problem.y, problem.x
    potential = solve_potential(y, x)
    cases = [
        (lambda: solve_potential(y[:, :5], x), "width 5"),
        (lambda: solve_potential(y[0], x), "target"),
        (lambda: solve_potential(y, x[:0]), "no rows"),
        (lambda: solve_potential(y, []), "no rows"),
        (lambda: solve_potential(y[:0], x), "no rows"),
        (lambda: solve_potential(y, 3), "an array"),
        (lambda: solve_potential(y, x.astype(str)), "numbers"),
        (lambda: solve_potential(y, [x, x[:, :4]]), "width 4"),
        (lambda: solve_potential(y, x, center=np.zeros(5)), "width 6"),
        (lambda: solve_potential(y, x, center=np.full(6, np.nan)), "center"),
        (lambda: solve_potential(y, x, reference_weights=problem.a[:-1]), "one mass per row"),
        (
            lambda: solve_potential(y, [x], reference_weights=problem.a[:-1] / problem.a[:-1].sum()),
            "one per row",
        ),
        (lambda: solve_potential(y, x, reference_weights=2 * problem.a), "sum to 1"),
        (lambda: solve_potential(y, x, target_weights=problem.b - 0.5), "non-negative"),
        (
            lambda: solve_potential(y[:1], np.tile(y[:1], (9, 1)), center=False, normalize=False),
            "the same single point",
        ),
        (lambda: potential.gradient(x[:, :5]), "width 5"),
        (lambda: potential.gradient(x, row_cost=np.zeros(3)), "row_cost"),
        (lambda: potential.gradient(x, row_cost=np.full(120, np.nan)), "row_cost"),
        (lambda: potential.column_sums(x, weights=problem.a[:-1] / problem.a[:-1].sum()), "one mass per row"),
        (lambda: potential.column_sums(x[:0]), "no rows"),
        (lambda: nearest_cost(y, x[:, :5], center=False), "width 5"),
        (
            lambda: solve_potential(y, [x], reference_weights=1.0),
            r"reference_weights: shape \[\]; expected \[",
        ),
        (
            lambda: solve_potential(y, [x], reference_weights="even"),
            "reference_weights: a str that is not an array",
        ),
        (
            lambda: potential.column_sums([x], weights=1.0),
            r"weights: shape \[\]; expected \[rows\], one mass",
        ),
        (
            lambda: solve_potential(y, x, center="mean"),
            "center: a str that is not an array of numbers; expected",
        ),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


def test_sparse_and_complex_tensors_are_refused_with_a_way_out():
    problem = clustered(7)
    potential = solve_potential(problem.y, problem.x)
    y, x = torch.from_numpy(problem.y), torch.from_numpy(problem.x)
    dense = "a tensor of layout torch.sparse_coo; expected a dense one: call .to_dense()"
    for call in (
        lambda: solve_potential(y, x.to_sparse()),
        lambda: solve_potential(y, [x[:9], x[9:].to_sparse()]),
        lambda: solve_potential(y.to_sparse(), x),
        lambda: potential.gradient(x.to_sparse()),
        lambda: nearest_cost(y, x.to_sparse()),
    ):
        with pytest.raises(BadShapeError, match=re.escape(dense)):
            call()
    with pytest.raises(BadShapeError, match=r"reference: dtype torch.complex128; expected numbers"):
        solve_potential(y, x.to(torch.complex128))
    with pytest.raises(BadShapeError, match=r"row_cost: a Tensor that is not an array of numbers"):
        potential.gradient(x, row_cost=x[:, 0].to_sparse())


def test_numbers_a_row_may_be_any_kind_of_tensor():
    problem = clustered(8)
    potential = solve_potential(problem.y, problem.x)
    cost = torch.linspace(0, 1, 120).bfloat16()
    expected = potential.gradient(problem.x, row_cost=cost.double().numpy())
    for given_cost in (cost, cost.clone().requires_grad_(), cost.tolist()):
        assert (potential.gradient(problem.x, row_cost=given_cost) == expected).all()
    masses = torch.full((120,), 1 / 120, requires_grad=True)
    weighted = solve_potential(problem.y, [problem.x], reference_weights=masses)
    assert np.allclose(weighted.potential, potential.potential, atol=1e-6)


@pytest.mark.parametrize("device", ["gpu", "mps", "meta", "cuda:x", None, 3.5])
def test_an_unknown_device_is_refused_with_those_that_are_valid(device):
    problem = clustered(9)
    potential = solve_potential(problem.y, problem.x)
    valid = "device: .*; expected 'auto', 'cpu', 'cuda' or 'cuda:<number>'"
    for call in (
        lambda: solve_potential(problem.y, problem.x, device=device),
        lambda: potential.gradient(problem.x, device=device),
        lambda: nearest_cost(problem.y, problem.x, device=device),
    ):
        with pytest.raises(BadShapeError, match=valid):
            call()


def test_a_gpu_that_is_not_there_is_refused():
    problem = clustered(9)
    with pytest.raises(
        BadShapeError, match="device: 'cuda:99', but torch finds no such GPU; expected 'auto'"
    ):
        solve_potential(problem.y, problem.x, device="cuda:99")


def test_a_generator_is_refused_where_rows_are_read_again_and_taken_where_they_are_not():
    problem = clustered(5)
    with pytest.raises(ValueError, match="only once"):
        solve_potential(problem.y, (block for block in [problem.x]))
    with pytest.raises(ValueError, match="only once"):
        nearest_cost(problem.y, iter([problem.x]))
    potential = solve_potential(problem.y, problem.x)
    streamed = potential.gradient(block for block in [problem.x[:70], problem.x[70:]])
    assert (streamed == potential.gradient(problem.x)).all()
    assert potential.gradient(problem.x[:0]).shape == (0,)


def test_a_source_that_shrinks_between_readings_is_an_error():
    problem = clustered(6)

    class Shrinking:
        readings = 0

        def __iter__(self):
            self.readings += 1
            yield problem.x[: len(problem.x) - self.readings]

    with pytest.raises(ValueError, match="read again"):
        solve_potential(problem.y, Shrinking())
