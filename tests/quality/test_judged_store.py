"""What the judge said in the store: each row keeps an outcome, and nothing is asked twice."""

import polars as pl
import pytest

from tamis.quality import Endpoint, check_judge, planted_noise
from tamis.quality.ask_llm import Asked
from tamis.quality.judging import mark_of_judge, median_answer_mass
from tamis.quality.prompts import PROMPTS
from tamis.quality.second_asking import ASKED_AGAIN, ask_again, asked_again, margins_again
from tamis.quality.storing import (
    UNANSWERED,
    RememberingJudge,
    judge_documents,
    set_unanswered_aside,
    unjudged,
)
from tamis.quality.usage import Usage
from tamis.store.retained import retain, take_back
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, one_of

TEXTS = [f"Water boils at {degrees} degrees on a mountain of that height." for degrees in range(40)]
IDS = [f"{number:032x}" for number in range(40)]


class Judge:
    """Answers by length, counts what it is asked, has no score for some texts and fails on request."""

    model = "one made for this test"
    fingerprint = "f" * 32

    def __init__(self, silent="never said", mass=0.9, breaks_after=None):
        self.silent, self.mass, self.breaks_after, self.asked = silent, mass, breaks_after, []
        self.usage = Usage()

    prompt = PROMPTS["examples"]

    def asking(self, prompt):
        other = Judge(self.silent, self.mass, self.breaks_after)
        other.prompt, other.fingerprint, other.asked = prompt, "a" * 32, self.asked
        return other

    def ask(self, texts, advance=None):
        return Asked(scores=self.score(texts, advance))

    def score(self, texts, advance=None):
        if self.breaks_after is not None and len(self.asked) >= self.breaks_after:
            raise KeyboardInterrupt
        self.asked += texts
        margins = [None if self.silent in text else float(len(text) % 17) for text in texts]
        columns = dict.fromkeys(("logp_yes_raw", "logp_yes", "logp_no", "margin"), margins)
        masses = [None if margin is None else self.mass for margin in margins]
        kinds = dict.fromkeys([*columns, "answer_mass"], pl.Float64)
        return pl.DataFrame(
            {**columns, "answer_mass": masses, "truncated": [False] * len(texts)}, schema_overrides=kinds
        )


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    sizes = {"n_chars": 60, "n_bytes": 60, "language": None, "first_seen": None}
    rows = [{"doc_id": one, "text": text, **sizes} for one, text in zip(IDS, TEXTS, strict=True)]
    store.merge("documents", pl.DataFrame(rows).to_arrow().cast(schema_of("documents")))
    return store


def test_every_document_keeps_a_row_and_those_without_a_score_stand_in_quarantine(store):
    judge_documents(store, Judge(silent=" 7 "), IDS)
    assert store.count("scores_judge") == len(IDS)
    assert unjudged(store, IDS, Judge.fingerprint) == []
    assert set_unanswered_aside(store, IDS, Judge.fingerprint) == [IDS[7]]
    found = store.read("quarantine").to_dicts()
    assert [(row["shard"], row["reason"], row["excerpt"]) for row in found] == [
        (UNANSWERED, "no_score", IDS[7])
    ]
    judge_documents(store, Judge(), IDS)
    assert set_unanswered_aside(store, IDS, Judge.fingerprint) == []
    assert store.count("quarantine") == 0


def test_a_judge_that_says_neither_yes_nor_no_is_seen_in_its_answer_mass(store):
    judge_documents(store, Judge(mass=0.002), IDS)
    assert median_answer_mass(store, IDS) == pytest.approx(0.002)
    assert not check_judge(Judge(mass=0.002), TEXTS).answers


def test_noise_is_asked_about_once_and_on_from_where_a_run_was_killed(store):
    noise = planted_noise(TEXTS)["text"].to_list()
    with pytest.raises(KeyboardInterrupt):
        RememberingJudge(store, Judge(breaks_after=32)).score(noise)
    second = Judge()
    asked = RememberingJudge(store, second).score(noise)
    assert len(second.asked) == len(set(noise)) - 32
    assert asked["margin"].to_list() == [float(len(text) % 17) for text in noise]
    third = Judge()
    assert (
        RememberingJudge(store, third).score(noise[::-1])["margin"].to_list()
        == asked["margin"].to_list()[::-1]
    )
    assert third.asked == []


def test_the_mark_of_a_judge_is_the_same_from_memory_and_after_a_change_of_the_sample(store):
    first = Judge()
    judge_documents(store, first, IDS)
    first.asked = []
    sample = pl.DataFrame({"doc_id": IDS, "part": ["hold_out" if row % 3 else "train" for row in range(40)]})
    mark = mark_of_judge(store, first, sample, 0)
    again = Judge()
    assert mark_of_judge(store, again, sample[::-1], 0) == mark
    assert again.asked == []
    mark_of_judge(store, again, sample[:39], 0)
    assert again.asked == []


def test_a_judge_without_any_score_has_no_mark(store):
    judge = Judge(silent="")
    judge_documents(store, judge, IDS)
    sample = pl.DataFrame({"doc_id": IDS, "part": ["train"] * 40})
    assert mark_of_judge(store, judge, sample, 0) is None
    assert len(set_unanswered_aside(store, IDS, Judge.fingerprint)) == 40


def test_a_part_of_the_hold_out_is_asked_about_twice_and_never_a_third_time(store):
    sample = pl.DataFrame({"doc_id": IDS, "part": ["hold_out" if row % 4 else "train" for row in range(40)]})
    twice = asked_again(sample, 0)
    assert set(twice) == {one for row, one in enumerate(IDS) if row % 4}
    assert asked_again(sample[::-1], 0) == twice
    first = Judge(silent=" 7 ")
    assert ask_again(store, first, twice) == 30
    assert len(first.asked) == 30
    again = Judge()
    assert ask_again(store, again, twice) == 0
    assert again.asked == []
    margins = dict(zip(IDS, margins_again(store, IDS, twice), strict=True))
    assert {one for one, margin in margins.items() if margin != margin} == {*IDS[::4], IDS[7]}
    assert margins[IDS[9]] == float(len(TEXTS[9]) % 17)


def test_a_large_hold_out_is_asked_about_in_part():
    sample = pl.DataFrame({"doc_id": [f"{n:032x}" for n in range(200)], "part": ["hold_out"] * 200})
    chosen = asked_again(sample, 0)
    assert len(chosen) == ASKED_AGAIN == 60
    assert (
        len(set(chosen) & set(asked_again(sample[:150], 0))) > 35
    )  # what stays of the pool is not asked again
    assert chosen != asked_again(sample, 1)


def leave(store, table, doc_ids):
    retain(store, table, doc_ids)
    store.delete(table, one_of("doc_id", doc_ids))


def test_a_second_answer_about_a_document_that_left_is_not_asked_for_again_when_it_is_back(store):
    sample = pl.DataFrame({"doc_id": IDS, "part": ["hold_out"] * 40})
    twice = asked_again(sample, 0)
    ask_again(store, Judge(), twice)
    before = store.read("scores_judge_again").sort("doc_id")
    leave(store, "scores_judge_again", twice[:9])
    again = Judge()
    assert ask_again(store, again, twice) == 0
    assert again.asked == []
    assert store.read("scores_judge_again").sort("doc_id").equals(before)


def test_what_a_server_answered_is_marked_and_outlives_another_judge(store):
    server, other = Judge(), Judge(mass=0.5)
    server.model, other.fingerprint = Endpoint("http://127.0.0.1:1/v1", "judge"), "b" * 32
    judge_documents(store, server, IDS)
    before = store.read("scores_judge").sort("doc_id")
    assert before["by_server"].all()
    judge_documents(store, other, IDS)
    assert not store.read("scores_judge")["by_server"].any()
    assert take_back(store, "scores_judge", IDS, server.fingerprint) == len(IDS)
    assert store.read("scores_judge").sort("doc_id").equals(before)
    assert store.count("retained_scores_judge") == 0, "answers of a model that runs here are not kept"
