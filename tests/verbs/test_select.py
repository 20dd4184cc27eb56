"""`tamis.select`: texts in memory, as people have them, are chosen as a project chooses documents."""

import random
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import tamis
from tamis.base.unfit import Refusal, Unfit
from tamis.embedding.static import StaticEncoder
from tamis.readers.text import document_id
from tamis.selection import SAMPLERS, BadBudgetError, BudgetExceedsPool
from tamis.transport import FewTargetPoints, solve_and_score
from tamis.verbs.select import (
    COLUMNS,
    BadSeedError,
    NothingSelected,
    SameVectors,
    UnknownToEncoder,
    UnscoredSamplerError,
    UnusableTextsError,
)

WORDS = {
    "statistics": "sample variance median estimator bias quantile likelihood prior residual",
    "garden": "seed soil compost prune hedge bulb mulch spade petal root frost",
    "railway": "signal track sleeper carriage engine platform gauge shunt brake",
}
TEXTLESS = ("ask-llm", "got-d-quality", "perplexity", "ask-llm:some-model", "rank-ensemble")
WORKING = [name for name in SAMPLERS if name not in {*TEXTLESS, "quality-diversity", "got-d-quality-rounds"}]
AWAY = "got-d-contrast"


def texts(topic: str, count: int, seed: int = 0) -> list[str]:
    chance = random.Random(f"{topic} {seed}")
    return [" ".join(chance.choices([*WORDS[topic].split(), "the", "of"], k=15)) for _ in range(count)]


POOL = texts("garden", 25) + texts("statistics", 10) + texts("railway", 25)
GOAL = texts("statistics", 40, seed=1)


@pytest.fixture(autouse=True)
def own_cache(encoder_cache, monkeypatch):
    """The encoder is there; that a goal is small is for one test alone."""
    monkeypatch.setenv("TAMIS_CACHE", str(encoder_cache))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewTargetPoints)
        yield


def rows(found: pl.DataFrame, verdict: str = "selected") -> list[int]:
    return found.filter(pl.col("verdict") == verdict)["row"].to_list()


def test_the_chosen_come_first_and_are_those_that_a_project_would_choose(static):
    found = tamis.select(POOL, GOAL, "10%")
    assert found.columns == list(COLUMNS)
    assert found["text"].to_list() == [POOL[row] for row in found["row"]]
    assert found["doc_id"].to_list() == [document_id(text) for text in found["text"]]
    assert found["rank"].to_list() == [*range(1, len(POOL) + 1)]
    assert len(set(rows(found)) & {*range(25, 35)}) == len(rows(found)) == 6
    order, goal = sorted(POOL, key=document_id), sorted(GOAL, key=document_id)
    gradient = solve_and_score(static.encode(goal), static.encode(order))[1]
    expected = dict(zip(map(document_id, order), gradient, strict=True))
    assert found["score"].to_list() == pytest.approx([expected[one] for one in found["doc_id"]], rel=1e-6)


def test_the_order_of_texts_and_repeats_of_the_goal_change_nothing_but_rows():
    order = random.Random(1).sample(range(len(POOL)), len(POOL))
    found = tamis.select([POOL[row] for row in order], [*GOAL[::-1], GOAL[0]], 7)
    there = found.with_columns(row=pl.Series([order[row] for row in found["row"]], dtype=pl.Int64))
    assert there.equals(tamis.select(POOL, GOAL, 7))


def test_repeated_texts_share_a_verdict_and_count_once():
    found = tamis.select([*POOL, *(f"  {text}\r\n" for text in POOL), POOL[30]], GOAL, 5)
    for _doc_id, same in found.group_by("doc_id"):
        assert same.select("verdict", "reason", "rank", "margin", "score").n_unique() == 1
    assert found.filter(pl.col("verdict") == "selected")["doc_id"].n_unique() == 5
    assert len(found) == 2 * len(POOL) + 1


@pytest.mark.parametrize(
    "given",
    [tuple, iter, np.array, pl.Series, pa.array, lambda texts: np.array(texts, dtype=object),
     lambda texts: pd.Series(texts, index=range(7, 7 + len(texts))), lambda texts: pa.chunked_array([texts])],
    ids=["tuple", "iterator", "numpy", "polars", "arrow", "objects", "pandas", "chunks"],
)  # fmt: skip
def test_any_series_of_texts_will_do(given):
    assert tamis.select(given(POOL), given(GOAL), 5, sampler="dsir").equals(
        tamis.select(POOL, GOAL, 5, sampler="dsir")
    )


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("a text", "a single str was passed"),
        ([], "it contains no texts"),
        (None, "NoneType is not an ordered series of texts"),
        ({"a text"}, "set is not an ordered series"),
        ({"text": ["a text"]}, "dict is not an ordered series"),
        (np.array([["a", "b"]]), "ndarray is not an ordered series"),
        (["a", None, "b", float("nan")], r"row 1 is not a str but NoneType \(2 of 4 rows are not str\)"),
        ([b"a"], "row 0 is not a str but bytes; leave out such rows"),
    ],
)
def test_what_is_no_series_of_texts_is_named_with_what_would_be_right(given, problem):
    with pytest.raises(UnusableTextsError, match=problem) as caught:
        tamis.select(given, GOAL, 1)
    assert (caught.value.argument, isinstance(caught.value, ValueError)) == ("texts", True)


@pytest.mark.parametrize("goal", [None, [], [" "]], ids=["None", "empty", "blank"])
def test_a_goal_is_asked_for_where_the_sampler_needs_one(goal):
    with pytest.raises(UnusableTextsError, match="500 or more"):
        tamis.select(POOL, goal, 1)
    assert len(rows(tamis.select(POOL, goal, 7, sampler="random"))) == 7


@pytest.mark.parametrize("sampler", WORKING)
def test_samplers_that_need_no_more_than_texts_choose(sampler):
    away = texts("railway", 40, seed=5) if sampler == AWAY else None
    found = tamis.select(POOL, GOAL, 8, sampler=sampler, keep_away=away)
    assert len(rows(found)) == 8
    assert (found["score"].null_count() == 0) == (sampler != "random")
    if SAMPLERS[sampler].needs_target:
        assert set(rows(found)) <= {*range(25, 35)}


@pytest.mark.parametrize("sampler", TEXTLESS)
def test_a_sampler_that_needs_a_project_names_those_that_do_not(sampler):
    with pytest.raises(UnscoredSamplerError) as caught:
        tamis.select(POOL, GOAL, 8, sampler=sampler)
    assert caught.value.valid == sorted(WORKING)


def test_budgets_are_texts_shares_or_tokens():
    assert len(rows(tamis.select(POOL, GOAL, np.int64(4), sampler="dsir"))) == 4
    tokens = tamis.select(["x" * 4_000, "y" * 4_000, "z" * 4_000], None, "2ktok", sampler="random")
    assert len(rows(tokens)) == 2
    for budget in (0, 0.1, True, "120%", "ten"):
        with pytest.raises(BadBudgetError):
            tamis.select(POOL, GOAL, budget)


@pytest.mark.parametrize(
    ("texts", "budget", "why"),
    [
        (POOL, "1tok", "the budget '1tok' is too small for the first-ranked text"),
        (["", " "], 3, "no text is eligible"),
    ],
)
def test_a_choice_of_nothing_warns(texts, budget, why):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = tamis.select(texts, None, budget, sampler="random")
    assert rows(found) == []
    assert [one.category for one in caught] == [NothingSelected]
    assert why in str(caught[0].message)


@pytest.mark.parametrize("seed", ["a", 1.5, None, True, -1, 2**63])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(BadSeedError, match="pass a non-negative integer"):
        tamis.select(POOL, GOAL, 4, sampler="dsir", seed=seed)


def test_a_seed_may_be_of_numpy_and_large():
    as_one, as_other = (tamis.select(POOL, None, 3, sampler="random", seed=seed) for seed in (7, np.int64(7)))
    assert as_one.equals(as_other)
    assert len(rows(tamis.select(POOL, None, 2, sampler="semdedup", seed=2**62))) == 2


def test_a_cache_may_be_in_the_home_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("tamis.verbs.select.load_encoder", partial(_encoder_of, tmp_path / "mine"))
    with pytest.raises(ZeroDivisionError):
        tamis.select(POOL, GOAL, 2, cache="~/mine")


def _encoder_of(expected: Path, _name: str, cache: Path) -> None:
    assert cache == expected
    raise ZeroDivisionError


def test_warnings_point_at_the_call():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tamis.select(POOL, GOAL[:3], len(POOL) + 1, sampler="dsir")
        tamis.select(POOL, [f"{number} is a number" for number in range(500)], 1, sampler="dsir")
    assert [one.category for one in caught] == [FewTargetPoints, BudgetExceedsPool]
    assert {one.filename for one in caught} == {__file__}


def test_blank_texts_and_those_of_the_goal_are_not_chosen_and_say_why():
    found = tamis.select(["", " \n", GOAL[0], *POOL], GOAL, "100%").sort("row")
    assert found["reason"].to_list()[:4] == ["heuristic", "heuristic", "target_example", "within_budget"]
    assert found["rank"].null_count() == 3


def test_a_text_without_a_vector_is_set_aside(monkeypatch):
    def refusing(encoder, some, advance):
        vectors = encoder.encode(some)
        vectors[0] = np.nan
        return vectors, {0: Refusal(reason=Unfit.NO_VECTOR, detail="")}

    monkeypatch.setattr("tamis.verbs.select.encode_each", refusing)
    found = tamis.select([*POOL, *GOAL], ["a goal " * 9], "100%")
    assert rows(found, "rejected") == [[*POOL, *GOAL].index(min([*POOL, *GOAL], key=document_id))]
    assert found["reason"].to_list()[-1] == "no_vector"


@pytest.mark.parametrize(
    "alike", [["one text"], ["hello world", "world hello"], ["🦄🦄", "ᚠᚢ"]], ids=["one", "words", "unknown"]
)
def test_texts_that_nothing_sets_apart_are_chosen_all_the_same(alike):
    for sampler in ("got-d", "knn", "got-d-rounds", "density", "tsds"):
        assert len(rows(tamis.select(alike, GOAL, 1, sampler=sampler))) == 1


def test_any_unicode_is_a_text():
    odd = ["日本語のテキスト", "e\u0301", "é", "\ud800 x", "\x00", "🦄"]
    found = tamis.select([*POOL, *odd], GOAL, "100%")
    assert found.filter(pl.col("text").is_in(["e\u0301", "é"]))["rank"].n_unique() == 1
    assert "\ufffd x" in found["text"].to_list()


def test_a_cache_keeps_vectors_and_no_text(tmp_path, monkeypatch):
    found = tamis.select(POOL, GOAL, 5, cache=tmp_path)
    assert found.equals(tamis.select(POOL, GOAL, 5))
    for file in (tmp_path / "vectors").rglob("*.parquet"):
        assert POOL[0].encode() not in file.read_bytes()
    encoded = []
    encode = StaticEncoder.encode
    monkeypatch.setattr(
        StaticEncoder, "encode", lambda self, some, *more: encoded.extend(some) or encode(self, some, *more)
    )
    again = tamis.select(["a new text", *POOL], GOAL, 5, cache=tmp_path)
    assert encoded == ["a new text"]
    assert again.filter(pl.col("row") == rows(found)[0] + 1)["rank"].item() == 1


AMHARIC = ["ነጻነት", "ሰላም", "ሕግ", "መብት", "ክብር", "ሕይወት", "ሥራ", "ትምህርት"]


def amharic(count: int, seed: int = 0) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(AMHARIC, k=12)) for _ in range(count)]


def said_of(kind: type[Warning], *arguments, **keys) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tamis.select(*arguments, **keys)
    assert all(one.filename == __file__ for one in caught if issubclass(one.category, kind))
    return [str(one.message) for one in caught if issubclass(one.category, kind)]


def test_texts_that_the_encoder_does_not_know_are_said_to_be_so():
    unknown = said_of(UnknownToEncoder, [*POOL, *amharic(60)], amharic(40, 1), 5)
    assert [line.partition(":")[0] for line in unknown] == ["texts", "goal"]
    assert all("the encoder static does not know" in line for line in unknown)
    assert "multilingual-e5-small" in unknown[1]
    (only,) = said_of(UnknownToEncoder, amharic(60), None, 5, sampler="semdedup")
    assert only.startswith("texts: ")
    for sampler in ("dsir", "classifier"):
        assert said_of(UnknownToEncoder, amharic(60), amharic(40, 1), 5, sampler=sampler) == []
    assert said_of(UnknownToEncoder, POOL, GOAL, 5) == []


@pytest.mark.parametrize("sampler", ["got-d", "knn", "semdedup"])
def test_texts_with_one_vector_are_chosen_arbitrarily_and_that_is_said(sampler):
    goal = GOAL if SAMPLERS[sampler].needs_target else None
    (line,) = said_of(SameVectors, amharic(60), goal, 5, sampler=sampler)
    assert "gives all 60 different texts the same vector" in line
    assert said_of(SameVectors, amharic(1), goal, 1, sampler=sampler) == []
    assert said_of(SameVectors, POOL, goal, 5, sampler=sampler) == []


SAID = [
    "ok",
    "lol",
    "N/A",
    "yes",
    "thanks!",
    "hi",
    "?",
    "...",
    "nice one",
    "variance",
    "x",
    "no no",
    "10",
    "wow",
]


@pytest.mark.parametrize("sampler", ["dsir", "classifier", "semdedup", "prototypes"])
def test_texts_of_a_word_come_after_longer_ones(sampler):
    long = [*texts("garden", 25), *texts("railway", 25)]
    goal = GOAL if SAMPLERS[sampler].needs_target else None
    found = tamis.select([*SAID, *long], goal, len(long), sampler=sampler)
    assert set(rows(found)) == {*range(len(SAID), len(SAID) + len(long))}
    assert set(found["reason"]) == {"within_budget", "over_budget"}
    few = tamis.select(SAID, goal, 3, sampler=sampler)  # nothing else is there
    assert len(rows(few)) == 3


def test_what_a_goal_of_short_texts_is_like_is_chosen_however_short():
    goal = [*texts("statistics", 5), *(f"the {word}" for word in WORDS["statistics"].split())]
    pool = [*(f"of {word}" for word in WORDS["statistics"].split()), *texts("garden", 30)]
    for sampler in ("dsir", "classifier"):
        chosen = rows(tamis.select(pool, goal, 6, sampler=sampler))
        assert sum(row < 9 for row in chosen) >= 4, sampler
