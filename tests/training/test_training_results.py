"""Results: exact through JSON, histories bounded, operations counted."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.training import TrainingResult
from tamis.training.cost import Size, Sizes
from tamis.training.loop import Schedule
from tamis.training.results import HISTORY_POINTS, Outcomes, history


@given(
    losses=st.lists(st.tuples(st.integers(0, 9), st.floats(0, 20)), max_size=5),
    bits=st.none() | st.floats(0, 9),
    seconds=st.floats(0, 1e6),
)
@settings(deadline=None, max_examples=25)
def test_json_round_trip(losses, bits, seconds):
    result = TrainingResult(
        steps=4,
        tokens=100,
        flops=6_000.0,
        seconds=seconds,
        peak_memory_bytes=5,
        parameters=10,
        losses=losses,
        held_out_bits_per_byte=bits,
        outcomes=Outcomes(bits=[1.5], n_bytes=[3]),
    )
    assert TrainingResult.from_json(result.to_json()) == result


@given(losses=st.lists(st.floats(0, 20), min_size=1, max_size=1_000))
@settings(deadline=None, max_examples=25)
def test_history_keeps_the_mean_and_the_last_step(losses):
    points = history(losses)
    assert len(points) <= HISTORY_POINTS
    assert points[-1][0] == len(losses)
    starts = [0, *(step for step, _ in points[:-1])]
    total = sum((step - start) * loss for (step, loss), start in zip(points, starts, strict=True))
    assert abs(total - sum(losses)) < 1e-6 * max(1, sum(losses))


def test_operations():
    full, adapter = Size(parameters=1_000, trained=1_000), Size(parameters=1_000, trained=50)
    assert full.training(10) == 6 * 1_000 * 10
    assert adapter.training(10) == 4 * 1_000 * 10 + 6 * 50 * 10
    assert full.reading(10) == adapter.reading(10) == 2 * 1_000 * 10
    encoder, decoder = Size(parameters=300, trained=300), Size(parameters=700, trained=700)
    both = Sizes(whole=full, encoder=encoder, decoder=decoder)
    assert both.training(tokens=50, source_tokens=40) == 6 * (300 * 40 + 700 * 10)
    assert both.reading(tokens=50, source_tokens=40) == 2 * (300 * 40 + 700 * 10)


@given(steps=st.integers(1, 300), share=st.floats(0, 0.5))
@settings(deadline=None, max_examples=25)
def test_schedule_rises_to_the_peak_then_falls_to_a_tenth(steps, share):
    rates = [Schedule(peak=1.0, steps=steps, warm_up_share=share).rate(step) for step in range(steps)]
    top = rates.index(max(rates))
    assert max(rates) == 1.0
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert min(rates[top:]) >= 0.1
