"""What the warm-up benchmark says of runs whose figures are known."""

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
from PIL import Image
from projects import write

from benchmarks._picked import _shares
from benchmarks._real_graph import Study
from benchmarks._real_plot import figures_in, plot_png
from benchmarks._real_pool import PoolShares
from benchmarks._real_tasks import Task
from benchmarks._warm_up_runs import NONE, Finished, Recipe, _digest
from benchmarks.warm_up import Scores, print_claims, print_scores
from tamis.training import FineTuningOptions
from tamis.training.results import Outcomes

TASKS = [Task(name=name, file="f", source="s", domains=("right",)) for name in ("one", "two")]


def run(task: Task, sampler: str, seed: int, right: int, n: int = 400) -> Finished:
    """Two fine-tunings, `right` and `right + 2` of the held-out examples answered rightly."""
    outcomes = [
        Outcomes(expected=[1] * n, predicted=[1] * count + [0] * (n - count)) for count in (right, right + 2)
    ]
    return Finished(
        task=task.name,
        sampler=sampler,
        seed=seed,
        documents=1,
        warm_up_tokens=1,
        outcomes=outcomes,
        text=Outcomes(bits=[8.0] * n, n_bytes=[4] * n),
        zero_shot=None,
        seconds=1.0,
    )


def scores(first_seed: int = 0, **right: int) -> Scores:
    runs = [
        run(task, NONE if name == "no_warm_up" else name.replace("_", "-"), seed, count + seed)
        for task in TASKS
        for name, count in right.items()
        for seed in range(first_seed, first_seed + 3)
    ]
    return Scores(TASKS, runs)


def test_scores_of_other_seeds_are_told_as_those_of_the_first() -> None:
    first, other = (scores(first_seed, random=200, got_d=220) for first_seed in (0, 5))
    assert other.seeds == [5, 6, 7]
    gaps = [one.gap(TASKS, "got-d", "random", "score").mean for one in (first, other)]
    assert gaps == pytest.approx([0.05, 0.05])
    assert other.mean(TASKS, "got-d", "score") == pytest.approx(first.mean(TASKS, "got-d", "score") + 5 / 400)


def claims(
    capsys, found: Scores, samplers: list[str], noise: dict[str, float]
) -> tuple[bool, dict[str, bool]]:
    holds = print_claims(found, samplers, noise)
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    return holds, {line["claim"]: line["holds"] for line in lines}


def test_a_score_is_the_mean_of_the_fine_tunings():
    found = scores(random=200)
    assert found.of(TASKS[0], "random", "score")[:, 0] == pytest.approx([201 / 400, 202 / 400, 203 / 400])
    assert found.mean(TASKS, "random", "text") == pytest.approx(2.0)


def test_claims_that_hold(capsys):
    found = scores(random=200, knn=260, got_d=280)
    noise = {"random": 0.05, "knn": 0.02, "got-d": 0.004}
    holds, said = claims(capsys, found, ["random", "knn", "got-d"], noise)
    assert holds
    assert said == {
        "beats random": True,
        "as good as the best rival": True,
        "picks under 1 % planted noise": True,
    }


def test_one_seed_shows_nothing_of_others(capsys):
    runs = [run(TASKS[0], name, 0, right) for name, right in (("random", 200), ("got-d", 350))]
    _, said = claims(capsys, Scores(TASKS[:1], runs), ["random", "got-d"], {"random": 0.0, "got-d": 0.0})
    assert not said["beats random"]


def test_claims_that_do_not_hold_are_said_not_to(capsys):
    found = scores(random=280, knn=320, got_d=200)
    noise = {"random": 0.05, "knn": 0.02, "got-d": 0.04}
    holds, said = claims(capsys, found, ["random", "knn", "got-d"], noise)
    assert not holds
    assert set(said.values()) == {False}


def test_shares_of_what_was_picked():
    rows = pl.DataFrame(
        {
            "id": ["a", "b", "c", "d", "e"],
            "domain": ["right", "right", "right", "other", "other"],
            "planted": ["", "near-duplicate", "noise: menu", "boilerplate", "near-duplicate"],
            "of": ["", "a", "", "", "gone"],
            "n_bytes": [1, 2, 3, 4, 5],
        }
    )
    found = _shares(rows, TASKS[0])
    assert found["right_domain"] == pytest.approx(2 / 5)  # noise made of a right text is noise
    assert found["right_domain_bytes"] == pytest.approx((1 + 2) / 15)
    assert found["noise_bytes"] == pytest.approx(3 / 15)
    assert (found["noise"], found["boilerplate"]) == (pytest.approx(1 / 5), pytest.approx(1 / 5))
    assert found["repeated"] == pytest.approx(1 / 5)  # e repeats a text that was not picked
    assert found["mean_bytes"] == 3
    assert set(_shares(rows.clear(), TASKS[0]).values()) == {0}
    nobody_knows = _shares(rows, replace(TASKS[0], domains=()))
    assert (nobody_knows["right_domain"], nobody_knows["right_domain_bytes"]) == (None, None)


def test_results_of_another_recipe_or_budget_are_not_taken_up(tmp_path):
    base, copied, other = (str(tmp_path / name) for name in ("model", "elsewhere", "other"))
    for folder, weights in ((base, "a"), (copied, "a"), (other, "b")):
        write(Path(folder) / "weights", [weights])
    study = Study(
        folder=Path("x"), tasks=TASKS, samplers=("random",), budget="10%", documents=9, shares=PoolShares()
    )
    options = FineTuningOptions()
    recipe = Recipe(base=base, warm_up=options, fine_tuning=options, fine_tunings=1)
    same = _digest(study, recipe)
    assert _digest(replace(study, samplers=("knn",), tasks=TASKS[:1], folder=Path("y")), recipe) == same
    assert _digest(study, replace(recipe, base=copied)) == same, "the content counts, not the place"
    others = [
        _digest(replace(study, budget="20%"), recipe),
        _digest(replace(study, shares=PoolShares(noise=0.2)), recipe),
        _digest(study, replace(recipe, base=other)),
        _digest(study, replace(recipe, fine_tunings=9)),
        _digest(study, replace(recipe, fine_tuning=FineTuningOptions(epochs=9))),
    ]
    assert len({same, *others}) == 6


def test_the_picture_has_a_panel_a_figure(capsys):
    print_scores(scores(random=200, knn=260, no_warm_up=150), ["random", "knn"], ["score", "text"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["task"] for line in lines} == {"one", "two", "all tasks"}
    both = Image.open(BytesIO(plot_png(lines)))
    one = Image.open(BytesIO(plot_png([line for line in lines if line["kind"] == "score"])))
    assert both.width > 1.8 * one.width
    sizes = [line | {"benchmark": "ladder", "rung": rung} for rung in ("8m", "22m") for line in lines]
    assert (
        Image.open(BytesIO(plot_png(figures_in("\n".join(map(json.dumps, sizes)))))).width > 3.6 * one.width
    )
    text = "\n".join([*map(json.dumps, lines), "", "no JSON", "[1]", json.dumps(lines[0])[:30]])
    assert figures_in(text) == lines
