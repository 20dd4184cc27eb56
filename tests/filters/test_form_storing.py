"""The stored model of form: which one a pool gets, when it is chosen again, limits, scores, strange pools."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tamis.filters.form import model as form_model
from tamis.filters.form import storing as form_storing
from tamis.filters.form.damage import damaged
from tamis.filters.form.model import default_model
from tamis.filters.form.statistics import LONGEST, form
from tamis.filters.form.storing import broken_goal_lines, read_form, score_form, update_form_model
from tamis.selection.filtering import corpora_lost, evidence_of, filtered, form_lines, in_words
from tamis.settings.sections import FiltersSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

OPENINGS = (
    "The committee met on Tuesday to hear what the engineers had found.",
    "After an hour of questions it was clear that the bridge could be repaired before the winter.",
    "Nobody knew who would pay for it, and the mayor asked for another report.",
    "In the village people said that the river had never been so high in the spring.",
    "She had written to her brother about the house, but he did not answer.",
    "A second group of visitors arrived late, because the road was closed near the station.",
    "They talked about the price of bread and about the weather.",
    "It is not known whether the letter was ever sent to the ministry.",
)
HTML = "<div class='menu'><ul><li><a href='/a?x=1'>Home</a></li><li><a href='/b'>Log in</a></li></ul></div>"
CODE = "for (int i = 0; i < n; i++) {\n    total += values[i];\n    if (total > limit) { return -1; }\n}\n"
CHINESE = "所有的人都生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。"
ON = FiltersSection(heuristics=("form",))


def prose(count: int, seed: int = 0) -> list[str]:
    generator = np.random.default_rng(seed)
    return [
        " ".join(np.array(OPENINGS)[generator.permutation(len(OPENINGS))[:4]])
        + f" That was in {year + 1000}."
        for year in range(count)
    ]


def doc_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def put(store: Store, table: str, rows: dict[str, Sequence[object]]) -> None:
    count = len(next(iter(rows.values())))
    nulls = {name: [None] * count for name in schema_of(table).names}
    store.put(table, pl.DataFrame(nulls | rows))


def stored(root: Path, pool: Sequence[str], **targets: Sequence[str]) -> Store:
    store = Store(root)
    put(store, "documents", {"doc_id": [*map(doc_id, pool)], "text": pool})
    for name, texts in targets.items():
        rows = {"target": [name] * len(texts), "doc_id": [*map(doc_id, texts)], "text": texts}
        put(store, "target_examples", rows | {"split": ["train"] * len(texts)})
    return store


def judged(store: Store) -> pl.DataFrame:
    known, _reason = update_form_model(store, 0)
    score_form(store, known, store.read("documents", ["doc_id"])["doc_id"].to_list())
    return store.read("form_scores")


def fallen(store: Store) -> set[str]:
    return set(filtered(store, ON)["doc_id"])


def test_damaged_documents_fall_with_the_rule_and_sound_ones_stay(tmp_path):
    sound = prose(40)
    broken = damaged(sound, ("mash", "html", "numbers"), 1)["text"].to_list()
    store = stored(tmp_path, [*sound, *broken], goal=prose(20, 5))
    assert len(judged(store)) == 80
    found = filtered(store, ON)
    assert not fallen(store) & set(map(doc_id, sound))
    assert len(found) >= 36
    assert set(found["reason"]) == {"heuristic"}
    assert set(found["detail"]) == {"form_implausible"}
    assert filtered(store, ON.model_copy(update={"heuristics_off": ("form_implausible",)})).is_empty()
    one = found["doc_id"][0]
    row = store.read("form_scores", where=f"doc_id = '{one}'").to_dicts()[0]
    evidence = evidence_of(store, one, "heuristic", "form_implausible", ON)
    assert evidence["measured"] == {
        "form_logit": row["form_logit"],
        "unusual": row["form_reasons"].split(", "),
    }
    assert len(evidence["measured"]["unusual"]) == 3
    assert in_words(evidence).endswith(f"allowed: at most {default_model().limit:.4g}, the model's own")


def test_a_rule_that_says_what_it_found_comes_before_the_model(tmp_path):
    text = HTML * 9
    store = stored(tmp_path, [text])
    judged(store)
    put(store, "document_flags", {"doc_id": [doc_id(text)], "broken": ["noise_items"]})
    put(store, "occurrences", {"doc_id": [doc_id(text)], "shard": ["s"], "row": [0]})
    both = FiltersSection(heuristics=("noise", "form"))
    assert filtered(store, both)["detail"].to_list() == ["noise_items"]
    assert fallen(store) == {doc_id(text)}


def test_the_highest_limit_of_the_targets_counts_and_says_which(tmp_path):
    tables = [HTML * 3 + str(number) for number in range(300)]
    store = stored(tmp_path, [HTML * 3, *prose(3)], news=prose(200, 3), pages=tables)
    judged(store)
    known = read_form(store)
    limits = {one.target: one for one in known.limits}
    assert limits["news"].limit == default_model().limit < limits["pages"].limit == known.limit
    assert limits["pages"].over == 300
    assert known.limit_in_words == f"{known.limit:.4g}, the highest of the targets', of pages"
    assert fallen(store) == set()
    (line,) = broken_goal_lines(known)
    assert line.startswith("target pages: 100.0 % of its 300 training examples are written like damaged")
    update_form_model(store, 0, kept_away=["pages"])
    assert fallen(store) == {doc_id(HTML * 3)}
    store.delete("target_examples", "target = 'pages'")
    update_form_model(store, 0)
    assert fallen(store) == {doc_id(HTML * 3)}


def test_a_small_pool_gets_the_model_that_ships_and_nothing_is_scored_twice(tmp_path):
    pool = prose(50)
    store = stored(tmp_path, pool)
    known, reason = update_form_model(store, 0)
    assert (known.model, reason) == (default_model(), "there was no model yet")
    assert known.note == "the model that ships with Tamis: the pool has 50 documents, a fit needs 5,000"
    ids = [*map(doc_id, pool)]
    assert score_form(store, known, ids[:30]) == 30
    assert score_form(store, known, ids) == 20
    assert score_form(store, known, ids) == 0
    rows = store.read("form_scores").sort("doc_id")
    expected = default_model().judge(form(pl.Series(sorted(pool, key=doc_id))))
    np.testing.assert_allclose(rows["form_logit"], expected["form_logit"], atol=1e-6)


@pytest.fixture
def small_sizes(monkeypatch):
    """Fits of a few hundred documents, in a second each."""
    for name, size in {"LEAST_POOL": 300, "SAMPLE": 200, "LEAST_SOUND": 150}.items():
        monkeypatch.setattr(form_storing, name, size)
    monkeypatch.setattr(form_model, "STEPS", 100)
    monkeypatch.setattr(form_model, "BATCH", 256)


def test_a_model_stays_after_more_data_until_there_is_a_reason(tmp_path, small_sizes):
    pool = prose(330)
    store = stored(tmp_path, pool)
    before = judged(store).sort("doc_id")
    own, _ = update_form_model(store, 0)
    assert own.model != default_model()
    assert own.note.startswith("200 documents drawn from a pool of 330, which the model that ships")
    arrived = prose(400)[330:]
    put(store, "documents", {"doc_id": [*map(doc_id, arrived)], "text": arrived})
    again, reason = update_form_model(store, 0)
    assert (again, reason) == (own, "")
    score_form(store, again, [*map(doc_id, [*pool, *arrived])])
    ids = before["doc_id"].implode()
    assert store.read("form_scores").filter(pl.col("doc_id").is_in(ids)).sort("doc_id").equals(before)
    arrived = prose(500)[400:]
    put(store, "documents", {"doc_id": [*map(doc_id, arrived)], "text": arrived})
    grown, reason = update_form_model(store, 0)
    assert reason == "the pool grew from 330 to 500 documents"
    assert grown.fingerprint != own.fingerprint
    assert update_form_model(store, 0) == (grown, "")
    _seeded, reason = update_form_model(store, 7)
    assert reason == "the targets, the seed, the method or the model that ships with Tamis changed"


def test_a_stored_model_of_another_version_is_none_until_one_is_chosen_again(tmp_path):
    store = stored(tmp_path, prose(3))
    now, _ = update_form_model(store, 0)
    row = store.read("form_model").to_dicts()[0]
    store.overwrite_values("form_model", [row | {"model": '{"slope": 1.0, "version": 1}', "method": "1|0"}])
    assert read_form(store) is None
    assert filtered(store, ON).is_empty()
    assert form_lines(store, ON) == []
    again, reason = update_form_model(store, 0)
    assert (again, bool(reason)) == (now, True)


def test_a_fit_does_not_depend_on_the_order_of_the_documents(tmp_path, small_sizes):
    pool = prose(320)
    one, _ = update_form_model(stored(tmp_path / "a", pool), 0)
    other, _ = update_form_model(stored(tmp_path / "b", pool[::-1]), 0)
    assert one == other


def test_broken_texts_of_the_pool_teach_nothing(tmp_path, small_sizes):
    sound = prose(400)
    broken = damaged(prose(100, 9), ("mash", "html", "numbers"), 1)["text"].to_list()
    store = stored(tmp_path, [*sound, *broken])
    judged(store)
    gone = fallen(store)
    assert len(gone & set(map(doc_id, broken))) >= 85
    assert len(gone & set(map(doc_id, sound))) <= 12


STRANGE = {
    "html": [HTML * 5 + str(number) for number in range(320)],
    "code": [CODE * 4 + f"// {number}" for number in range(320)],
    "chinese": [f"{CHINESE * 2}{number}" for number in range(320)],
    "one line": [" ".join(prose(320)) + str(number) for number in range(320)],
    "letters": [chr(0x61 + number % 26) * (1 + number // 26) for number in range(320)],
    "blank": [" " * number for number in range(320)],
    "numbers": [str(number) for number in range(320)],
    "unknown": [
        f"Zorvex qualtan brimo steldu vark{number} ponti grelm uvaxi tornu beldrak silmu."
        for number in range(320)
    ],
    "fifty": [HTML * 3 + str(number) for number in range(50)],
}


@pytest.mark.parametrize("kind", STRANGE)
def test_strange_pools_get_a_model_a_sentence_and_a_score_each(tmp_path, small_sizes, kind):
    pool = STRANGE[kind]
    store = stored(tmp_path, pool, goal=pool[::8])
    rows = judged(store)
    known = read_form(store)
    assert len(rows) == len(pool)
    assert known.note
    assert np.isfinite(rows["form_logit"].drop_nulls().to_numpy()).all()
    if kind == "chinese":
        assert rows["form_logit"].null_count() == 320
        assert "200 short or in languages that it has not seen" in known.note
        assert known.own_was_refused
    assert len(fallen(store)) <= 16  # the goal is of the same kind


@pytest.mark.parametrize("kind", STRANGE)
def test_no_strange_pool_is_dropped_in_silence_for_a_goal_of_prose(tmp_path, kind):
    pool = STRANGE[kind]
    store = stored(tmp_path, pool, goal=prose(40))
    rows, gone = judged(store), fallen(store)
    places = {"doc_id": [*map(doc_id, pool)], "shard": ["web__a"] * len(pool), "row": [*range(len(pool))]}
    put(store, "occurrences", places)
    rule = pl.when(pl.col("doc_id").is_in(gone)).then(pl.lit("form_implausible"))
    reason = pl.when(rule.is_null()).then(pl.lit("within_budget")).otherwise(pl.lit("heuristic"))
    lines = corpora_lost(store, rows.select("doc_id", detail=rule, reason=reason))
    count = f"{len(gone):,} of its {len(pool):,} documents are dropped by the rule form_implausible"
    assert [count in line for line in lines] == [True] * (len(gone) > 0.2 * len(pool))
    unseen = len(rows.filter(pl.col("form_logit").is_null(), pl.col("form_language") != "short"))
    said = [line for line in form_lines(store, ON) if f"says nothing about {unseen} of its" in line]
    assert len(said) == (unseen > 0.2 * len(pool))
    if kind in ("html", "fifty"):
        assert len(gone) > 0.9 * len(pool)
    if kind == "chinese":
        assert (unseen, gone) == (320, set())


def test_a_text_of_megabytes_is_scored_by_its_beginning(tmp_path):
    texts = ["the " * 500_000, "x" * 2_000_000, "\n" * 3_000_000, ""]
    store = stored(tmp_path, texts)
    rows = judged(store)
    assert len(rows) == 4
    heads = stored(tmp_path / "heads", [text[:LONGEST] for text in texts])
    assert judged(heads)["form_logit"].sort().to_list() == rows["form_logit"].sort().to_list()


GOALS = {
    "code": [
        CODE.replace("values", name).replace("limit", limit)
        for name in ("rows", "items", "cells", "nodes")
        for limit in ("most", "least", "size", "bound", "end")
    ],
    "tables": [
        "\n".join(f"| {year + row} | {row * share:.1f} | {word} |" for row in range(9))
        for year in (1900, 1950, 2000)
        for share in (1.1, 3.7, 12.9)
        for word in ("north", "south")
    ],
    "chats": [
        f"A: {one}\nB: {two}" for one in ("hi", "where r u", "lol ok") for two in ("k", "brb", "no idea")
    ],
    "html": [HTML * size for size in (1, 2, 3, 5, 9)],
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", GOALS)
def test_a_goal_keeps_its_kind(tmp_path, kind, seed):
    """At most .5 % of drawn examples are over the limit, whatever is among them."""
    generator = np.random.default_rng(seed)
    count = int(generator.choice([1, 3, 199, 200, 201, 450, 1_001]))
    sound = prose(count, seed)
    drawn = generator.random(count) < generator.choice([0.02, 0.5, 1.0])
    goal = [
        f"{GOALS[kind][int(generator.integers(len(GOALS[kind])))]}\n{number}" if is_drawn else sound[number]
        for number, is_drawn in enumerate(drawn)
    ]
    store = stored(tmp_path, goal, goal=goal)
    rows = judged(store)
    limit = read_form(store).limit
    assert sum(logit > limit for logit in rows["form_logit"].drop_nulls()) <= 0.005 * count
    assert len(fallen(store)) <= 0.005 * count


def test_examples_without_a_language_that_is_known_leave_the_limit(tmp_path):
    store = stored(tmp_path, prose(5), goal=[f"{CHINESE}{number}" for number in range(30)])
    known, _ = update_form_model(store, 0)
    (goal,) = known.limits
    assert (goal.unseen, goal.over, goal.limit) == (30, 0, default_model().limit)


def test_a_goal_of_broken_text_keeps_its_kind_with_a_model_of_the_pool_too(tmp_path, small_sizes):
    pages = [f"{HTML * (1 + number % 4)}{number}" for number in range(250)]
    store = stored(tmp_path, [*prose(340), *pages], goal=pages)
    assert judged(store)["form_logit"].null_count() == 0
    assert read_form(store).model != default_model()
    assert len(fallen(store) & set(map(doc_id, pages))) <= 1


def test_a_broken_goal_is_said_with_a_model_of_its_own_too(tmp_path, small_sizes):
    goal = damaged(prose(60, 4), ("html",), 2)["text"].to_list()
    store = stored(tmp_path, prose(340), goal=goal)
    known, _ = update_form_model(store, 0)
    assert known.model != default_model()
    (line,) = broken_goal_lines(known)
    assert line.startswith("target goal: ")
