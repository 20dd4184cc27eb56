"""Plans of a tuning by the rows of its runs: kills, failures, budgets, looks, and what no search reads."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from imagined_tuning import PARAMETERS, SECONDS, helpful, made_tuning, play
from projects import SmallProject, rows_of

from tamis.settings.budget import parse_compute
from tamis.store.digests import canonical_digest
from tamis.store.schemas import schema_of
from tamis.store.tables import one_of
from tamis.trainer.batches import BatchRun
from tamis.training.examples import Labelled, Pair, text_of
from tamis.training.storing import split_examples
from tamis.tuning.errors import (
    BudgetTooSmallError,
    LabelledTargetError,
    NoLooksLeftError,
    NothingLearntError,
    TooFewExamplesError,
    TooFewPairsError,
    UnknownSpeedError,
)
from tamis.tuning.guard import MOST_LOOKS
from tamis.tuning.runs import GUARD, RATE, VALIDATION, Goal, Progress, goal_of

DEAREST = 6 * PARAMETERS * 20_000
"""Operations of a run at full size."""
LARGER = "A larger budget lets other pairs take the place of failed ones"


class Clock:
    """A clock that goes on by so many seconds whenever it is read."""

    def __init__(self) -> None:
        self.now, self.step = 0.0, 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch) -> Clock:
    """Scores take no time, unless a test says otherwise."""
    clock = Clock()
    monkeypatch.setattr("tamis.tuning.runs.perf_counter", clock)
    return clock


def table(project: SmallProject, name: str = "tune_runs") -> pl.DataFrame:
    return project.store.read(name)


def fails(share: float, salt: int = 0, reason: str = "failed: exit code 3"):
    """Return losses that a share of the runs do not have, by their keys; the speed is always measured."""
    loss = helpful()

    def half(run: BatchRun) -> float | str:
        place = np.random.default_rng([int(run.key[:8], 16), salt]).random()
        return reason if place < share and run.about["part"] != RATE else loss(run)

    return half


def test_documents_that_help_win_and_a_surface_without_effect_has_no_gain(project):
    progress, played = play(project, made_tuning(project), helpful())
    assert progress.winner == "got-d, rate 0.001"
    assert progress.finish()["kind"] == "use"
    assert played.parts[0] == RATE
    assert played.parts.count(GUARD) == 6
    progress, _ = play(project, made_tuning(project, basis="flat"), helpful(gain=0.0))
    values = progress.finish()
    assert (values["kind"], values["shipped"]) == ("no gain", False)
    assert values["sentence"].startswith("Choosing does not pay here")
    assert table(project, "tune_looks")["shipped"].to_list() == [True, False]
    answers = table(project, "tune_answers")
    assert answers.height == 1, "the answer replaces the former one"
    assert set(table(project)["run"]) == set(progress.used)


@pytest.mark.parametrize(
    ("share", "salt"),
    [(0.5, 2), (0.8, 4), *(pytest.param(s, k, marks=pytest.mark.slow) for s, k in ((0.25, 1), (0.5, 3)))],
)
def test_failed_runs_have_a_row_with_a_reason_and_none_is_paid_twice(project, share, salt):
    tuning = made_tuning(project)
    progress, played = play(project, tuning, fails(share, salt))
    rows = table(project)
    assert len(played.keys) == len(set(played.keys)) == rows.height
    lost = rows.filter(rows["bits_per_byte"].is_null())
    assert set(lost["failure"]) == {"failed: exit code 3"}
    assert rows["failure"].drop_nulls().len() == lost.height
    assert rows["flop"].sum() <= progress.budget
    assert rows.filter(part=GUARD).height <= 4 * tuning.section.pairs
    if len(progress.pairs) < tuning.section.pairs:
        with pytest.raises(TooFewPairsError, match="at least 3"):
            progress.finish()
    else:
        assert progress.finish()["pairs"] == len(progress.pairs) == 3


def test_a_tuning_whose_runs_all_fail_says_why_and_tries_each_rate_once(project):
    for reason, kept in (("failed: no", []), ("diverged: no", [RATE, RATE])):
        said = rf"none of 2 runs ended with a loss; the last: {reason}$"
        with pytest.raises(NothingLearntError, match=said):
            play(project, made_tuning(project, recipes=24), lambda run, reason=reason: reason)
        assert table(project)["part"].to_list() == kept
    assert set(table(project)["learning_rate"]) == {1e-3, 1e-2}


def test_a_search_without_a_loss_says_why(project):
    def loss(run: BatchRun) -> float | str:
        return 3.0 if run.about["part"] == RATE or run.about["sampler"] == "random" else "failed: no"

    with pytest.raises(NothingLearntError, match=r"the last: failed: no"):
        play(project, made_tuning(project), loss)
    assert GUARD not in set(table(project)["part"])


@pytest.mark.parametrize("winner_fails", [True, False])
def test_a_guard_without_three_pairs_is_refused_and_goes_no_further(project, winner_fails):
    def loss(run: BatchRun) -> float | str:
        fails = run.about["part"] == GUARD and (run.about["sampler"] != "random") == winner_fails
        return "failed: no" if fails else helpful()(run)

    progress, played = play(project, made_tuning(project), loss)
    assert progress.pairs == []
    assert played.parts.count(GUARD) <= 12
    with pytest.raises(TooFewPairsError, match=r"only 0 pairs .* at least 3") as raised:
        progress.finish()
    assert str(raised.value).endswith(
        f"failure: failed: no. The next call makes 3 failed runs again. {LARGER}"
    )
    assert table(project, "recipes").is_empty()
    assert table(project, "tune_looks")["shipped"].to_list() == [None]


def test_a_guard_that_diverges_says_so_and_promises_no_other_runs(project):
    def loss(run: BatchRun) -> float | str:
        fails = run.about["part"] == GUARD and run.about["sampler"] != "random"
        return "diverged: at step 7" if fails else helpful()(run)

    for more in (False, True):
        progress, _ = play(project, made_tuning(project, budget=None if more else "3e13flop"), loss)
        with pytest.raises(TooFewPairsError, match=r"failure: diverged: at step 7\. ") as raised:
            progress.finish()
        assert "diverged and would again: lower the learning rate" in str(raised.value)
        assert "next call" not in str(raised.value)
        assert (
            str(raised.value).endswith("A larger budget lets other pairs take the place of failed ones")
            == more
        )


def test_a_pair_with_a_failed_run_is_replaced_within_the_budget(project):
    def loss(run: BatchRun) -> float | str:
        is_first = run.about["part"] == GUARD and run.about["seed"] == 0
        return "failed: no" if is_first and run.about["sampler"] == "random" else helpful()(run)

    progress, played = play(project, made_tuning(project, budget="3e13flop"), loss)
    assert played.parts.count(GUARD) == 8
    assert [own["seed"] for own, _ in progress.pairs] == [1, 2, 3]
    assert progress.finish()["pairs"] == 3


@pytest.mark.slow
def test_a_search_goes_on_from_its_rows_and_pays_no_run_twice(project, tmp_path):
    whole, once = play(project, made_tuning(project), helpful())
    expected, values = set(once.keys), whole.finish()
    for name, batch_most in (("one", 1), ("three", 3)):
        other = project.copy(tmp_path / name)
        for table_name in ("tune_runs", "tune_looks", "tune_answers", "recipes"):
            other.store.overwrite(table_name, pa.Table.from_pylist([], schema=schema_of(table_name)))
        progress, played = play(other, made_tuning(other), helpful(), batch_most=batch_most)
        assert len(played.keys) == len(set(played.keys))
        assert set(played.keys) == expected
        assert progress.finish() == values
        other.close()


@pytest.mark.parametrize(
    "killed_after", [1, 30, *(pytest.param(most, marks=pytest.mark.slow) for most in (0, 2, 9, 33))]
)
def test_whoever_goes_on_after_a_kill_pays_only_for_what_is_missing(project, killed_after):
    _, played = play(project, made_tuning(project), helpful(), most=killed_after)
    assert len(played.keys) == killed_after
    looks = table(project, "tune_looks")
    progress, played = play(project, made_tuning(project), helpful(), played=played)
    assert len(played.keys) == len(set(played.keys)) == table(project).height
    assert progress.finish()["kind"] == "use"
    assert progress.look == 1, looks


BUDGETS = [
    {},
    {"budget": "1.2e12flop"},
    {"budget": "30%", "train_tokens": 1_000_000},
    {"budget": "0.24h"},
]
MORE_BUDGETS = [
    {"budget": "1.8e12flop"},
    {"budget": "9e12flop"},
    {"recipes": 24, "shares": ["10%", "20%"], "budget": "2.1e12flop"},
]
CASES = [
    *((changed, 0.0) for changed in BUDGETS),
    *(pytest.param(changed, 0.4, marks=pytest.mark.slow) for changed in (*BUDGETS, *MORE_BUDGETS)),
    *(pytest.param(changed, 0.0, marks=pytest.mark.slow) for changed in MORE_BUDGETS),
]


@pytest.mark.parametrize(("changed", "share"), CASES)
def test_no_budget_is_passed_by_search_guard_and_choosing(project, changed, share, clock):
    clock.step = 0.05
    tuning = made_tuning(project, choosing=3.0, **{"samplers": ["got-d", "dsir"]} | changed)
    rate = DEAREST / 16 / SECONDS
    progress, _ = play(project, tuning, fails(share, 1))
    rows = table(project)
    chosen = tuning.choosing_seconds({own.sampler for own in tuning.recipes.by_name.values()} - {None})
    scores = rows["scoring_seconds"].sum()
    assert scores > 0
    spent = rows["flop"].sum() + (chosen + scores) * progress.rate
    assert spent <= progress.budget * (1 + 1e-9)
    assert progress.rate == pytest.approx(rate, rel=0.1)
    stated = {"0.24h": 0.24 * 3600 * progress.rate, "30%": 0.3 * DEAREST * 50}
    if (budget := changed.get("budget")) is not None:
        expected = stated[budget] if budget in stated else float(budget.removesuffix("flop"))
        assert progress.budget == pytest.approx(expected)


@pytest.mark.parametrize(("budget", "runs"), [("2e11flop", 0), ("1%", 0), ("2s", 2)])
@pytest.mark.parametrize("choosing", [0.0, 60.0])
def test_the_budget_that_a_refusal_names_is_enough(project, choosing, budget, runs):
    """In operations and shares it is refused before a run; choosing is counted once there is a speed."""
    enough, progress, refusals, rows = budget, None, [], []
    while progress is None and len(refusals) < 3:
        try:
            progress, _ = play(project, made_tuning(project, budget=enough, choosing=choosing), helpful())
        except BudgetTooSmallError as error:
            enough = error.enough
            refusals.append(error)
            rows.append(table(project).height)
    assert progress is not None
    assert progress.winner
    assert rows[0] == runs
    named = [budget, *(error.enough for error in refusals)]
    assert {parse_compute(given).unit for given in named} == {parse_compute(budget).unit}
    amounts = [parse_compute(given).amount for given in named]
    assert amounts == sorted(amounts)
    ends = [str(error).split('budget = "')[1].split('" ')[1] for error in refusals]
    assert set(ends[:-1]) <= {"is the least, without all costs of choosing"}
    assert ends[-1] in {"is enough", "is the least, without all costs of choosing"}


@pytest.mark.parametrize(
    ("overhead", "a_second", "runs"),
    [(0.0, 1 / 1024, 2), (9.0, 1 / 16, 2), (0.2, 1 / 12, 3), (0.1, 3, 4), (0.3, 1e3, 4)],
)
def test_the_speed_is_the_largest_of_runs_the_last_of_which_takes_three_seconds_or_is_a_full_one(
    project, overhead, a_second, runs
):
    """Of a run of so many shares of the tokens a second, the first run of a process takes 3 s more."""

    def seconds(run: BatchRun) -> float:
        is_first = run.about["seed"] == 0 and run.about["portion"] == 1 / 16
        return overhead + 3.0 * is_first + run.about["portion"] / a_second

    progress, _ = play(project, made_tuning(project, samplers=["density"]), helpful(), seconds=seconds)
    rows = table(project).filter(part=RATE)
    assert rows.height == runs
    rates = rows.select(pl.col("flop") / pl.col("seconds")).to_series()
    assert progress.rate == pytest.approx(rates.max())


def test_a_trainer_without_seconds_has_an_answer_but_no_budget_in_time(project):
    progress, _ = play(project, made_tuning(project), helpful(), seconds=lambda run: 0.0)
    values = progress.finish()
    assert (values["kind"], values["net_seconds"], values["choosing_flop"]) == ("use", None, 0.0)
    with pytest.raises(UnknownSpeedError, match='state 0 seconds, so budget = "2h" is no number'):
        play(project, made_tuning(project, budget="2h"), helpful(), seconds=lambda run: 0.0)


def test_scores_by_the_examples_to_fit_are_paid_once_also_where_somebody_goes_on(project, clock):
    clock.step = 0.05
    play(project, made_tuning(project), helpful(), batch_most=1)
    paid = table(project).filter(pl.col("sampler").is_in(["got-d", "knn"]))["scoring_seconds"]
    assert (paid > 0).sum() == 2, "each process and each run after the first has computed them again"


def test_an_unchanged_tuning_keeps_its_look_and_its_runs(project):
    play(project, made_tuning(project), helpful())[0].finish()
    progress, played = play(project, made_tuning(project), helpful())
    assert (played.keys, progress.look) == ([], 1)
    rows = table(project, "tune_looks")
    progress, played = play(project, made_tuning(project, budget="9e12flop"), helpful())
    assert progress.look == 1
    assert GUARD not in played.parts, "winner and pairs are the same"
    assert progress.finish()["level"] == 0.025
    assert table(project, "tune_looks").equals(rows)


def test_more_pairs_and_another_winner_are_looks_at_a_stricter_level(project):
    play(project, made_tuning(project), helpful())[0].finish()
    progress, played = play(project, made_tuning(project, pairs=4, budget="3e12flop"), helpful())
    values = progress.finish()
    assert (values["look"], values["pairs"]) == (2, 4)
    assert values["level"] == pytest.approx(0.05 / 6)
    assert played.parts.count(GUARD) == 8, "no run of the first look is read again"
    progress, played = play(project, made_tuning(project, samplers=["knn"]), helpful("knn"))
    assert progress.look == 3
    assert played.parts.count(GUARD) == 6
    progress, played = play(project, made_tuning(project), helpful())
    assert (progress.look, played.parts.count(GUARD)) == (1, 0), "the first winner is back"


def test_the_eleventh_look_is_refused_before_a_run_of_the_guard(project):
    goal = made_tuning(project).goal
    read = {"held_out": goal.held_out, "examples": [canonical_digest(doc_id)[:16] for doc_id in goal.guard]}
    read |= {"target": "goal", "begun_at": datetime.now(UTC).replace(tzinfo=None)}
    looks = [read | {"look": look, "winner": str(look)} for look in range(1, MOST_LOOKS + 1)]
    project.store.merge("tune_looks", rows_of("tune_looks", looks))
    with pytest.raises(NoLooksLeftError, match="add new examples"):
        play(project, made_tuning(project), helpful())
    assert GUARD not in set(table(project)["part"])
    assert table(project, "tune_looks").height == MOST_LOOKS
    tuning = made_tuning(project)
    unread = split_examples(project.store, "goal", "held_out").keys() - tuning.goal.guard.keys()
    fresh = {doc_id: f"new {doc_id}" for doc_id in unread}
    goal = replace(tuning.goal, guard=fresh)
    progress, _ = play(project, made_tuning(project, goal=goal), helpful())
    assert progress.look == 1, "new examples"
    assert progress.finish()["examples"] == len(fresh)


@pytest.mark.parametrize(("kept", "look"), [(0.5, 2), (0.4, 1)])
def test_a_few_new_held_out_examples_do_not_begin_the_looks_again(project, kept, look):
    tuning = made_tuning(project)
    progress, _ = play(project, tuning, helpful())
    assert progress.look == 1
    ids = sorted(tuning.goal.guard)
    stays = ids[: round(kept * len(ids))]
    unread = sorted(split_examples(project.store, "goal", "held_out").keys() - set(ids))
    guard = {doc_id: f"text of {doc_id}" for doc_id in [*stays, *unread][: len(ids)]}
    progress, _ = play(project, made_tuning(project, goal=replace(tuning.goal, guard=guard)), helpful())
    assert progress.look == look


def test_a_sampler_that_leaves_and_returns_brings_its_runs_back(project):
    first, _ = play(project, made_tuning(project), helpful())
    before = first.finish()
    rows = {row["run"]: row for row in table(project).iter_rows(named=True)}
    left = made_tuning(project, samplers=["knn", "score:edu"])
    progress, _ = play(project, left, helpful("knn"))
    assert progress.finish()["sampler"] == "knn"
    assert "got-d" not in set(table(project)["sampler"])
    assert "got-d" in set(table(project, "tune_runs_left")["sampler"])
    progress, played = play(project, made_tuning(project), helpful())
    assert played.keys == [], "all were set aside, none was lost"
    assert progress.finish() == before
    assert {row["run"]: row for row in table(project).iter_rows(named=True)} == rows


def documents_of(project: SmallProject, tuning=None) -> dict[str, tuple[str, ...]]:
    """Return what each run is given, by its key."""
    _, played = play(project, tuning or made_tuning(project), helpful())
    return {
        (run.about["part"], run.key): tuple(run.doc_ids) for batch in played.batches for run in batch.runs
    }


def test_no_run_of_the_search_reads_held_out_examples(project):
    tuning = made_tuning(project)
    _, played = play(project, tuning, helpful())
    train, held_out = (split_examples(project.store, "goal", split) for split in ("train", "held_out"))
    assert len(tuning.goal.guard) == 20
    assert tuning.goal.guard.keys() < held_out.keys()
    for batch in played.batches:
        (part,) = {run.about["part"] for run in batch.runs}
        if part == GUARD:
            assert set(batch.measured["held_out"]) == set(tuning.goal.guard.values())
            assert VALIDATION not in batch.measured
            assert len(batch.further["control"]) == 20
            continue
        assert list(batch.measured) == [VALIDATION]
        assert batch.further == {}
        assert set(batch.measured[VALIDATION]) == set(tuning.goal.validation.values())
        for run in batch.runs:
            texts = set(run.texts(project.store))
            assert texts.isdisjoint(held_out.values())
            assert texts.isdisjoint(tuning.goal.validation.values())
            if run.target is not None:
                assert set(run.doc_ids) <= tuning.goal.fit.keys()
    assert set(train) == {*tuning.goal.fit, *tuning.goal.validation}
    control = {text for batch in played.batches for text in batch.further.get("control", ())}
    assert control
    for batch in played.batches:
        for run in batch.runs:
            assert control.isdisjoint(run.texts(project.store)), "no run trains on the control"


def turn_round(project: SmallProject, doc_ids: list[str]) -> None:
    """Have vectors of examples point the other way."""
    rows = project.store.read("target_embeddings_static", where=one_of("doc_id", doc_ids))
    assert rows.height == len(doc_ids)
    turned = pl.Series("vector", -rows["vector"].to_numpy(), dtype=rows.schema["vector"])
    project.store.put("target_embeddings_static", rows.with_columns(turned))


def test_the_search_chooses_by_the_examples_to_fit_alone(project, tmp_path):
    """Vectors of validation examples, and scores by all training examples, change no run of the search."""
    before = documents_of(project)
    other = project.copy(tmp_path / "other")
    for name in ("tune_runs", "tune_looks"):
        other.store.overwrite(name, pa.Table.from_pylist([], schema=schema_of(name)))
    turn_round(other, list(made_tuning(other).goal.validation))
    scores = other.store.read("transport_goal")
    swapped = scores.with_columns(pl.col("transport_gradient", "nearest_cost").reverse())
    other.store.put("transport_goal", swapped)
    after = documents_of(other)
    search = {key for key in before if key[0] != GUARD}
    assert {key: before[key] for key in search} == {key: after[key] for key in search}
    assert any(before[key] != after.get(key) for key in before.keys() - search), "the guard reads both"
    turn_round(other, list(made_tuning(other).goal.fit)[:40])
    other.store.overwrite("tune_runs", pa.Table.from_pylist([], schema=schema_of("tune_runs")))
    after = documents_of(other)
    assert any(after[key] != before[key] for key in search), "those to fit do matter"
    other.close()


def test_labels_and_too_few_examples_are_refused(project, monkeypatch):
    store, texts = project.store, split_examples(project.store, "goal", "train")

    def given(train: int, held_out: int, labelled: bool = False):
        def split(store, target, split):
            count = train if split == "train" else held_out
            ids = [f"{split}{place}" for place in range(count)]
            if labelled:
                return {doc_id: Labelled(text=doc_id, label="a") for doc_id in ids}
            return {doc_id: f"{doc_id} {text}" for doc_id, text in zip(ids, texts.values(), strict=False)}

        monkeypatch.setattr("tamis.tuning.runs.split_examples", split)

    given(109, 40)
    with pytest.raises(TooFewExamplesError, match=r"the target needs train = 110 or more$"):
        goal_of(store, "goal", 0.5, 0)
    given(110, 39)
    with pytest.raises(TooFewExamplesError, match=r"the target needs held_out = 40 or more$"):
        goal_of(store, "goal", 0.5, 0)
    given(110, 40, labelled=True)
    with pytest.raises(LabelledTargetError, match=r"target goal has labels"):
        goal_of(store, "goal", 0.5, 0)


def test_near_duplicates_are_on_the_same_side(project, monkeypatch):
    texts = [text_of(text) for text in split_examples(project.store, "goal", "train").values()]

    def split(store, target, split):
        own = texts[:60] if split == "train" else texts[60:90]
        return {
            f"{split}-{copy}-{place}": f"{text} {word}"
            for place, text in enumerate(own)
            for copy, word in enumerate(("indeed", "perhaps"))
        }

    monkeypatch.setattr("tamis.tuning.runs.split_examples", split)
    goal = goal_of(project.store, "goal", 0.5, 0)

    def topics(ids) -> set[tuple[str, str]]:
        return {(doc_id.split("-")[0], doc_id.split("-")[2]) for doc_id in ids}

    assert topics(goal.fit).isdisjoint(topics(goal.validation))
    assert len(topics(goal.fit)) + len(topics(goal.validation)) == 60
    assert len(goal.validation) >= 30
    assert len(goal.guard) >= 20
    assert len(topics(goal.guard)) == len(goal.guard) / 2


def test_answers_of_a_target_are_measured_by_their_bytes(project):
    tuning = made_tuning(project)

    def pairs(examples):
        return {doc_id: Pair(prompt="a prompt", response=text) for doc_id, text in examples.items()}

    goal = Goal(
        fit=pairs(tuning.goal.fit), validation=pairs(tuning.goal.validation), guard=pairs(tuning.goal.guard)
    )
    batch = Progress(project.store, made_tuning(project, goal=goal)).advance()
    assert batch is not None
    assert list(batch.measured[VALIDATION]) == list(goal.validation.values())
    assert goal.held_out == tuning.goal.held_out


def test_the_seed_of_a_round_is_that_of_all_its_recipes(project):
    _, played = play(project, made_tuning(project), helpful())
    seeds: dict[tuple, set[int]] = {}
    for batch in played.batches:
        for run in batch.runs:
            place = (run.about["part"] == GUARD, run.about["seed"])
            seeds.setdefault(place, set()).add(run.options.seed)
    assert all(len(own) == 1 for own in seeds.values())
    assert len(set.union(*seeds.values())) == len(seeds), "no seed of the search is one of the guard"
    progress = Progress(project.store, made_tuning(project))
    assert progress.advance() is None
    assert not math.isnan(progress.rate)


def test_runs_of_an_earlier_tuning_have_the_present_names_of_their_recipes(project):
    play(project, made_tuning(project), helpful())[0].finish()
    assert "got-d, rate 0.001" in set(table(project)["recipe"])
    progress, played = play(project, made_tuning(project, learning_rates=[1e-3]), helpful())
    answer = progress.finish()
    assert (answer["recipe"], answer["look"]) == ("got-d", 1)
    assert GUARD not in played.parts
    rows = table(project)
    assert set(rows["recipe"]) == set(progress.recipes.by_name)
    assert rows.filter(part=GUARD, recipe="got-d").height == 3
    assert table(project, "tune_looks")["recipe"].to_list() == ["got-d"]


def test_runs_are_not_read_again_once_the_control_is_another_part_of_the_pool(project):
    tuning = made_tuning(project)
    progress, first = play(project, tuning, helpful())
    assert progress.control is not None
    seen = [{"checkpoint": tuning.section.models[0], "doc_id": doc_id} for doc_id in progress._control_ids]
    project.store.merge("trained_on", rows_of("trained_on", seen))
    progress, second = play(project, tuning, helpful())
    assert progress.control is not None
    assert not {row["doc_id"] for row in seen} & {*progress._control_ids}
    assert second.keys
    assert not {*first.keys} & {*progress.used}
    assert progress.look == 2
