"""Parts of the benchmark of junk in a choice, where the answer is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from benchmarks import _junk_pool as pool
from benchmarks._junk_graph import OFF, SHIPPED, UNSEEN, Study, Verdicts, kept_by
from benchmarks._junk_pages import BODY, MARKUP, NAVIGATION, pieces, split_page
from benchmarks._junk_pool import GOALS, SOUND, Sizes, control, examples, held_out, pool_rows
from benchmarks._junk_runs import Recipe, Trained, read_result, result_path, train_on
from benchmarks._junk_verdict import Arm, Interval, over_seeds, verdict
from benchmarks.junk import Choice, Seed, Summary, units
from tamis.filters.form.damage import KINDS, MAKERS
from tamis.filters.form.model import default_model
from tamis.training.results import Outcomes

PAGE = """<html><head><title>Out</title><style>p {{}}</style></head><body>
<nav><a href="/">Home of all the pages</a> <a href="/about">About the people of this place</a></nav>
<div role="main"><div class="toc">Contents of the page</div><h1>On {0}</h1><p>{1}</p></div>
<footer>All rights of {0} are reserved by those who wrote this page</footer><script>var a = 1;</script>
</body></html>"""
SENTENCE = "The river of the {} valley rises in spring, and its people move to higher ground for some weeks. "
SIZES = Sizes(documents=1_000, train=20, held_out=30, control=22)
EVEN = Interval(mean=0.0, low=-0.1, high=0.1)
WORSE = Interval(mean=0.2, low=0.1, high=0.3)


@pytest.fixture
def pages(tmp_path):
    for package, count in (("large", 80), ("small", 6)):
        folder = tmp_path / package / "usr" / "share" / "doc" / package / "html"
        folder.mkdir(parents=True)
        for number in range(count):
            name = f"{package} {number}"
            (folder / f"{number}.html").write_text(PAGE.format(name, SENTENCE.format(name) * 8))
    return tmp_path


@pytest.fixture
def texts(monkeypatch):
    """Every source as 600 sentences of its own."""
    sources = {source: kind for kind, source in [*SOUND.items(), *GOALS.items()]}
    series = {
        source: pl.Series(
            [f"{number:x} {kind}. " + SENTENCE.format(f"{kind} {number}") for number in range(600)]
        )
        for source, kind in sources.items()
    }
    monkeypatch.setattr(pool, "_texts", series.__getitem__)


def test_main_text_and_what_stands_around_it_are_told_apart():
    main, around = split_page(PAGE.format("rivers", "They rise."))
    assert main == "On riversThey rise."
    assert around.splitlines() == [
        "Home of all the pages",
        "About the people of this place",
        "Contents of the page",
        "All rights of rivers are reserved by those who wrote this page",
    ]
    assert split_page("<body><p>Of an unknown template.</p></body>") == ("", "")


def test_packages_give_pieces_by_turns(pages):
    found = pieces(pages, BODY, 12, seed=0)
    assert len(set(found)) == 12
    assert sum("small" in piece for piece in found) == 6
    assert found == pieces(pages, BODY, 12, seed=0) != pieces(pages, BODY, 12, seed=1)
    assert all("<" in piece for piece in pieces(pages, MARKUP, 5, seed=0))
    assert all("rises in spring" not in piece for piece in pieces(pages, NAVIGATION, 5, seed=0))
    assert pieces(None, BODY, 5, seed=0) == []


def test_a_pool_has_its_shares_and_nothing_of_what_is_held_out(pages, texts):
    rows, absent = pool_rows(SIZES, pages, seed=3)
    assert absent == {}
    assert rows["doc_id"].n_unique() == len(rows)
    assert len(rows) == pytest.approx(SIZES.documents, abs=10)  # two damaged texts may be equal
    assert rows["junk"].mean() == pytest.approx(0.15, abs=0.01)
    shares = dict(rows.group_by(pl.col("kind").str.split(": ").list.first()).len().iter_rows())
    for kind, share in pool.JUNK.items():
        assert shares[kind] == pytest.approx(share * SIZES.documents, abs=6)
    assert shares[BODY] == 50
    kept_back = {*control(SIZES), *(text for goal in GOALS for text in held_out(goal, SIZES))}
    assert not kept_back & {*rows["text"]}
    assert rows.equals(pool_rows(SIZES, pages, seed=3)[0])
    for goal in GOALS:
        drawn = examples(goal, SIZES, seed=3)
        assert len({*drawn}) == 30
        assert not {*drawn} & ({*held_out(goal, SIZES)} | {*rows["text"]})


def test_damage_takes_the_place_of_absent_pages(texts):
    rows, absent = pool_rows(SIZES, None, seed=3)
    assert absent == {MARKUP: 30, NAVIGATION: 35, BODY: 50}
    assert rows["junk"].mean() == pytest.approx(0.15, abs=0.01)
    assert len(rows) == pytest.approx(SIZES.documents, abs=10)


def test_documents_stay_within_a_raised_limit_and_where_the_model_abstains():
    judged = pl.DataFrame(
        {"doc_id": ["a", "b", "c", "d"], SHIPPED: [-1.0, 0.5, 2.0, None], UNSEEN: [3.0, -1.0, 2.0, None]}
    )
    own = default_model().limit
    assert kept_by(judged, OFF, own)["doc_id"].to_list() == ["a", "b", "c", "d"]
    assert kept_by(judged, SHIPPED, own)["doc_id"].to_list() == ["a", "d"]
    assert kept_by(judged, SHIPPED, own + 1)["doc_id"].to_list() == ["a", "b", "d"]
    assert kept_by(judged, UNSEEN, own)["doc_id"].to_list() == ["b", "d"]


def test_every_text_is_judged_and_damage_by_the_model_without_it(monkeypatch, tmp_path):
    shipped = default_model()
    strict = replace(shipped, limit=shipped.limit - 50)
    monkeypatch.setattr(Verdicts, "blind", lambda self: dict.fromkeys(MAKERS, strict))
    kinds = [*(f"damage: {kind}" for kind in KINDS), "prose"]
    text = "The river rises in spring, when the snow of the hills has melted, and floods the meadows below."
    truth = pl.DataFrame(
        {"doc_id": [f"{place:02}" for place in range(len(kinds))], "kind": kinds, "text": [text] * len(kinds)}
    )
    judged = Verdicts(tmp_path).of_pool(truth).join(truth, on="doc_id", validate="1:1")
    assert len(judged) == len(kinds)
    without = pl.col("kind").is_in([f"damage: {kind}" for kind in MAKERS])
    gap = judged.select("kind", without=without, gap=pl.col(UNSEEN) - pl.col(SHIPPED))
    assert gap.filter("without")["gap"].to_numpy() == pytest.approx(50)
    assert gap.filter(~pl.col("without"))["gap"].to_list() == [0] * (len(KINDS) - len(MAKERS) + 1)


def test_distance_at_equal_depth_counts_the_first_sound_documents():
    choice = Choice(
        ids=("a", "b", "c", "d"),
        is_junk=np.array([False, True, False, False]),
        kinds=np.array(["papers", MARKUP, "papers", "prose"]),
        distance={"static": np.array([0.1, 0.9, 0.3, 0.8])},
        covered={},
    )
    assert choice.junk == 0.25
    assert choice.sound("static") == pytest.approx(0.4)
    assert choice.sound("static", 2) == pytest.approx(0.2)


def test_the_interval_over_seeds_is_students():
    values = [0.1, 0.4, 0.2, 0.35]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = over_seeds(values)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert not over_seeds([3.0]).is_worse


def arm(sampler: str, form: str = OFF, junk: float = 0.02, bits: float = 0.0) -> Arm:
    return Arm(
        sampler=sampler,
        form=form,
        by_judge=sampler == "got-d-quality",
        junk={"titles": junk, "news": junk},
        random={"titles": 0.1, "news": 0.1},
        distance=EVEN,
        goal_bits=replace(EVEN, mean=bits),
        control_bits=EVEN,
    )


def test_of_the_arms_that_meet_the_aims_the_one_that_teaches_most_wins():
    arms = [
        arm("random", bits=-9),
        arm("got-d", junk=0.2, bits=-2),
        arm("got-d", SHIPPED, bits=-0.1),
        arm("knn", SHIPPED),
    ]
    found = verdict([*arms, arm("got-d-quality", bits=-1)])
    assert found.winner is not None
    assert (found.winner.name, found.meets) == ("got-d with form", True)
    assert found.judge is not None
    assert found.judge.sampler == "got-d-quality"


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({"junk": {"titles": 0.07, "news": 0.06}}, ["6.5% junk on average"]),
        ({"junk": {"titles": 0.0, "news": 0.055}}, ["5.5% junk for news"]),
        ({"random": {"titles": 0.01, "news": 0.1}}, ["more junk than a random choice for titles"]),
        ({"distance": WORSE}, ["worse in distance"]),
        ({"goal_bits": WORSE}, ["worse in goal"]),
        ({"control_bits": WORSE}, ["worse in control"]),
    ],
)
def test_each_aim_is_looked_at(changed, missed):
    assert arm("knn").failures() == []
    assert replace(arm("knn"), **changed).failures()[: len(missed)] == missed


def test_without_an_arm_that_meets_the_aims_the_judge_is_asked_and_then_the_least_junk_named():
    dirty, cleaner = arm("got-d", junk=0.3), arm("knn", SHIPPED, junk=0.04)
    clean_but_far = replace(arm("got-d-debiased"), distance=WORSE)
    asked = verdict([dirty, cleaner, clean_but_far, arm("got-d-quality")])
    assert asked.winner is not None
    assert (asked.winner.sampler, asked.meets) == ("got-d-quality", True)
    none = verdict([dirty, cleaner, clean_but_far])
    assert none.winner is not None
    assert (none.winner.name, none.meets) == ("knn with form", False)


def test_a_run_is_made_once_for_a_choice_whatever_its_order(tmp_path, texts):
    rows, _ = pool_rows(SIZES, None, seed=3)
    rows.write_parquet(tmp_path / "truth.parquet")
    study = Study(folder=tmp_path, sizes=SIZES, pages=None, seed=3, samplers=("random",))
    ids, recipe = rows["doc_id"].to_list()[:40], Recipe(tokens=1_500)
    path = result_path(study, recipe, "news", ids, 0)
    assert path == result_path(study, recipe, "news", ids[::-1], 0)
    others = [result_path(study, recipe, goal, ids, seed) for goal, seed in (("titles", 0), ("news", 1))]
    assert len({path, *others, result_path(study, replace(recipe, tokens=9), "news", ids, 0)}) == 4
    train_on(study, recipe, "news", ids, 0, path)
    found = read_result(path)
    assert (len(found.goal.bits), len(found.control.bits)) == (SIZES.held_out, len(control(SIZES)))
    assert found.goal.n_bytes == [len(text.encode()) for text in held_out("news", SIZES)]
    train_on(study, recipe, "news", ids[::-1], 0, path)
    assert read_result(path).goal == found.goal


def chosen(junk: int, distance: float, count: int = 20) -> Choice:
    return Choice(
        ids=tuple(map(str, range(count))),
        is_junk=np.arange(count) >= count - junk,
        kinds=np.where(np.arange(count) >= count - junk, MARKUP, "papers"),
        distance={"static": np.linspace(distance, 2 * distance, count)},
        covered={"static": distance},
    )


def learned(bits: float) -> list[Trained]:
    outcomes = Outcomes(bits=(bits + np.linspace(0, 0.1, 50)).tolist(), n_bytes=[1] * 50)
    return [Trained(goal=outcomes, control=outcomes, epochs=1.0, seconds=1.0)]


def test_arms_are_compared_with_todays_default_seed_by_seed_at_equal_depth(monkeypatch):
    seeds = []
    for number in range(3):
        choices, trained = {}, {}
        for goal in ("titles", "news"):
            choices[goal, "random", OFF] = chosen(4, 0.9)
            choices[goal, "got-d", OFF] = chosen(10, 0.5 + 0.1 * number)
            choices[goal, "knn", OFF] = chosen(1, 0.5 + 0.1 * number)
            trained[goal, "random", OFF] = learned(3.2 + number)
            trained[goal, "got-d", OFF] = learned(3.0 + number)
            trained[goal, "knn", OFF] = learned(2.9 + number + 0.01 * number)
        seeds.append(Seed(study=None, choices=choices, trained=trained))  # type: ignore[arg-type]
    summary = Summary(seeds, ["titles", "news"], "static")
    assert summary.junk(("knn", OFF)) == pytest.approx({"titles": 0.05, "news": 0.05})
    assert summary.distance(("knn", OFF), "static").mean == pytest.approx(0)
    assert summary.distance(("knn", OFF), "static", matched=False).mean > 0  # more of it is sound
    gap = summary.bits(("knn", OFF), "goal")
    assert gap is not None
    assert gap.mean == pytest.approx(-0.09)
    assert gap.low < -0.09 < gap.high < 0
    assert summary.arm(("knn", OFF)).losses() == []
    assert summary.arm(("got-d", OFF)).failures()[0] == "50.0% junk on average"
    for seed in seeds:
        del seed.trained["news", "random", OFF]
    assert summary.bits(("knn", OFF), "goal") == gap
    assert summary.bits(("random", OFF), "goal") is None  # no seed has all of its runs
    assert summary.distance(("random", OFF), "static").is_worse
    monkeypatch.setattr("benchmarks.junk.result_path", lambda *_: Path())
    order = [(seed.choices is seeds[0].choices, key[1]) for seed, key, *_ in units(summary, Recipe())]
    assert {sampler for _, sampler in order[:12]} == {"got-d", "knn"}
    assert order[12:] == [(number == 0, "random") for number in range(3) for _ in range(2)]
