"""What the capacity benchmark makes of manifests and times, where the answer is known."""

import json

import pytest
from projects import manifest_of

from benchmarks._scale_capacity import grid
from benchmarks._scale_stages import (
    Measured,
    Point,
    Step,
    bytes_on_disk,
    figures,
    fitted_cost,
    growth,
    peaks_of_steps,
    seconds_of_stages,
    stage_lines,
    with_the_rest,
)
from tamis.records.manifest import ManifestFolder


def keep(folder, asset, partition, run, seconds, share=0.001):
    """A manifest as a step writes it: its clock when the value was made, and the value's share of it."""
    beside = {"run_id": run, "seconds": seconds, "partition_seconds": share}
    ManifestFolder(folder).keep(manifest_of(asset, partition, beside=beside))


def test_seconds_are_those_of_the_clock_of_each_step(tmp_path):
    for shard, clock in enumerate([1.0, 1.2, 7.5]):  # two groups
        keep(tmp_path, "embeddings", f"shard-{shard}", "first", clock)
    keep(tmp_path, "embeddings", "shard-9", "second", 2.5)
    keep(tmp_path, "documents", "shard-0", "first", 4.0)
    keep(tmp_path, "selected_subset", "near", "third", 3.0)
    keep(tmp_path, "decisions", "near", "third", 3.5)  # in the same step: its clock holds the other's too
    (tmp_path / "rows").mkdir()
    found = seconds_of_stages(tmp_path)
    assert found == pytest.approx(
        {"documents": 4.0, "embeddings": 10.0, "selected_subset": 3.0, "decisions": 0.5}
    )
    assert list(found) == ["documents", "embeddings", "selected_subset", "decisions"], "in order of execution"


def test_what_no_stage_took_is_said_and_all_adds_up():
    whole = with_the_rest({"documents": 4.0, "embeddings": 10.0}, runs=16.0, wall=20.0)
    assert whole == {
        "documents": 4.0,
        "embeddings": 10.0,
        "(recording, Dagster)": 2.0,
        "(starting, looking, planning)": 4.0,
        "(all)": 20.0,
    }


@pytest.mark.parametrize(
    ("seconds", "exponent"),
    [([3.0, 6.0, 12.0], 1.0), ([3.0, 12.0, 48.0], 2.0), ([3.0, 3.0, 3.0], 0.0)],
)
def test_growth_is_the_slope_of_logarithms(seconds, exponent):
    assert growth([100, 200, 400], seconds) == pytest.approx(exponent)


@pytest.mark.parametrize("seconds", [[0.1, 0.2, 0.9], [0.0, 2.0, 4.0]])
def test_times_that_say_nothing_get_no_exponent(seconds):
    assert growth([1, 2, 4], seconds) is None
    assert growth([5, 5], [2.0, 3.0]) is None


def test_a_line_says_where_an_exponent_means_little():
    assert figures("documents", [1, 4], [0.2, 0.9])["note"].startswith("under 1 s: no exponent")
    assert "hides part of the growth" in figures("documents", [1, 4], [0.5, 2.0])["note"]
    assert figures("documents", [1, 4], [2.0, 8.0]) == {
        "documents": [1, 4],
        "seconds": [2.0, 8.0],
        "exponent": 1.0,
    }


def test_a_line_a_stage_with_its_seconds_at_each_size():
    runs = [
        Measured(
            seconds=all_of_it,
            peak_gigabytes=1.0,
            stages={"documents": own, "(all)": all_of_it},
            peaks={"documents": own},
            disk={},
        )
        for own, all_of_it in [(2.0, 5.0), (20.0, 50.0)]
    ]
    lines = []
    stage_lines(lambda part, **values: lines.append((part, values)), "million_stage", [10, 100], runs)
    assert [
        (part, values["stage"], values["exponent"], values["peak_gigabytes"]) for part, values in lines
    ] == [
        ("million_stage", "documents", 1.0, [2.0, 20.0]),
        ("million_stage", "(all)", 1.0, [None, None]),
    ]


def test_the_grid_lets_one_thing_grow_at_a_time():
    found = grid(1_000)
    assert [(one.documents, one.documents // one.shards) for one in found["documents"]] == [
        (1_000, 125),
        (2_000, 125),
        (4_000, 125),
    ]
    assert [(one.documents, one.target, one.shards) for one in found["target"]] == [
        (1_000, 500, 8),
        (1_000, 2_000, 8),
        (1_000, 8_000, 8),
    ]
    assert [(one.documents, one.target, one.shards) for one in found["shards"]] == [
        (1_000, 500, 8),
        (1_000, 500, 32),
        (1_000, 500, 128),
    ]


def test_a_cost_that_is_a_sum_of_terms_is_found_again():
    points = list(dict.fromkeys(point for some in grid(40_000).values() for point in some))
    seconds = [
        2 + 1e-4 * point.documents + 0.05 * point.shards + 2e-7 * point.documents * point.target
        for point in points
    ]
    cost = fitted_cost(points, seconds)
    assert cost.pop("worst_error") == 0.0
    assert cost == pytest.approx(
        {"seconds": 2, "a_document": 1e-4, "a_pair": 2e-7, "a_shard": 0.05}, rel=0.02
    )
    assert fitted_cost([Point(documents=1, target=1, shards=1)] * 3, [1.0, 2.0, 3.0])["worst_error"] > 0.2


def test_the_bytes_of_a_home_are_told_by_table_and_by_folder(tmp_path):
    for name, size in {
        "lance/documents.lance/data/a.lance": 10,
        "lance/documents.lance/_versions/1": 5,
        "lance/heads.lance/a": 1,
        "manifests/rows/ab/x": 7,
        "writer.lock": 2,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    found = bytes_on_disk(tmp_path)
    assert found == {"lance/documents": 15, "lance/heads": 1, "manifests": 7, "writer": 2}


def test_the_most_memory_of_a_step_is_that_of_the_samples_while_it_ran():
    steps = [
        Step(name="documents", began=10.0, ended=20.0),
        Step(name="embeddings", began=20.5, ended=30.0),
        Step(name="documents", began=40.0, ended=41.0),
        Step(name="judge_scores", began=50.0, ended=50.1),
    ]
    samples = [(9.0, 9_000_000_000), (10.5, 1_000_000_000), (15.0, 3_000_000_000), (25.0, 2_000_000_000)]
    samples += [(40.5, 4_000_000_000)]
    assert peaks_of_steps(steps, samples) == {"documents": 4.0, "embeddings": 2.0}


def test_a_manifest_of_a_stage_that_is_not_known_is_no_silence(tmp_path):
    folder = tmp_path / "ab"
    folder.mkdir()
    beside = {"run_id": "r", "seconds": 1.0}
    (folder / "ab.json").write_text(json.dumps({"asset": "no-such-stage", "beside": beside}))
    with pytest.raises(KeyError, match="no-such-stage"):
        seconds_of_stages(tmp_path)
