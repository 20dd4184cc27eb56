"""Broken texts on the selection's page: kinds on each side, and documents at the border of form."""

import hashlib
from pathlib import Path

import polars as pl
import pytest

from tamis.base.numbers import percent
from tamis.filters import Plan, measured
from tamis.filters.form.damage import damaged
from tamis.filters.form.model import default_model
from tamis.filters.form.statistics import form
from tamis.filters.form.storing import score_form, update_form_model
from tamis.readers.markup import is_markup
from tamis.report import broken
from tamis.report.broken import AT_BORDER, border_of_form, broken_texts, drawn_of
from tamis.report.selection import selection_page
from tamis.report.selection_data import selection_report
from tamis.selection import select
from tamis.selection.filtering import filtered
from tamis.settings.sections import FiltersSection, SelectionSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

ON = FiltersSection(heuristics=("boilerplate", "form"))
RULE_OFF = FiltersSection(heuristics=("boilerplate", "form"), heuristics_off=("form_implausible",))
SECTION = SelectionSection(name="some", sampler="random", budget=20)
WORDS = ("bridge", "harbour", "council", "library", "garden", "station", "market", "hospital")
SHAPES = (
    "The {0} was closed in the winter, because nobody had paid for the work on the {1}.",
    "After the meeting they walked to the {0} and talked about the {1} for an hour.",
    "It was not clear who would look after the {0} when the old {1} was sold.",
)
PAGE = "<ul class='menu'><li><a href='/a?x=1&y=2'>Home</a></li><li><a href='/b'>Log in {0}</a></li></ul>"


def prose(number: int) -> str:
    places = [WORDS[(number + step) % 8] for step in range(4)]
    said = [SHAPES[(number + step) % 3].format(*places[step : step + 2]) for step in range(3)]
    return f"{' '.join(said)} That was in {1000 + number}."


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Sound texts, damaged ones and pages, 130 in all, with scores of form."""
    sound = [prose(number) for number in range(80)]
    texts = [*sound, *damaged(sound[:30], ("mash", "numbers", "html"), 1)["text"]]
    texts += [PAGE.format(number) * (1 + number % 3) for number in range(20)]
    store = Store(tmp_path_factory.mktemp("broken"))
    ids = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
    put(store, "documents", doc_id=ids, text=texts, n_chars=[*map(len, texts)])
    put(store, "occurrences", doc_id=ids, shard=["web__a"] * len(ids), row=[*range(len(ids))])
    known, _reason = update_form_model(store, 0)
    score_form(store, known, ids)
    return store


def put(store: Store, table: str, **columns: list) -> None:
    count = len(columns["doc_id"])
    nulls = {name: [None] * count for name in schema_of(table).names}
    store.put(table, pl.DataFrame(nulls | columns))


def decisions_of(store: Store, filters: FiltersSection) -> pl.DataFrame:
    pool = store.read("documents", ["doc_id"])
    return select(pool, "random", 20, exclusions=filtered(store, filters))


def test_the_nearest_documents_on_each_side_of_the_limit_are_shown_with_three_statistics(store):
    decisions = decisions_of(store, ON)
    found = border_of_form(store, decisions, ON)
    limit = default_model().limit
    scores = sorted(
        store.read("form_scores", ["doc_id", "form_logit"]).drop_nulls().iter_rows(),
        key=lambda row: (abs(row[1] - limit), row[0][16:], row[0]),
    )
    assert found.fell["doc_id"].to_list() == [one for one, logit in scores if logit > limit][:AT_BORDER]
    assert found.stayed["doc_id"].to_list() == [one for one, logit in scores if logit <= limit][:AT_BORDER]
    assert found.limit == f"{limit:.4g}, the model's own"
    for side in (found.stayed, found.fell):
        assert len(side) == AT_BORDER
        assert all(len(reasons.split(", ")) == 3 for reasons in side["form_reasons"])
    stored = store.read("form_scores", ["doc_id", "form_reasons"])
    assert found.fell.join(stored, on=["doc_id", "form_reasons"]).height == AT_BORDER
    assert border_of_form(store, decisions, RULE_OFF) is None
    assert border_of_form(store, decisions.drop("detail"), ON) is None


def test_the_page_names_and_escapes_the_documents_at_the_border(store, read_page, monkeypatch):
    monkeypatch.setattr(broken, "AT_BORDER", 60)  # pages among them
    decisions = decisions_of(store, ON)
    border = border_of_form(store, decisions, ON)
    page = selection_page(selection_report(store, SECTION, decisions, ON))
    text = read_page(page)
    for doc_id, logit, reasons in pl.concat([border.stayed, border.fell]).iter_rows():
        assert f"<code>{doc_id}</code>" in page
        assert f"{logit:.4g} {reasons.replace('_', ' ')} " in text
    shown = store.read("documents", ["doc_id", "text"]).join(border.fell, on="doc_id")["text"]
    assert any(one.startswith("<ul") for one in shown)
    for one in shown:
        assert " ".join(one[:280].split()) in text
        assert "<ul class" not in page
    count = decisions.filter(detail="form_implausible").height
    assert f"form_implausible {percent(count / 130)} 0.0 % 0.0 %" in text


@pytest.mark.parametrize(("on", "kind"), [((), "noise_random_letters"), (("noise",), "form_implausible")])
def test_what_no_rule_drops_is_looked_for_in_each_side(store, read_page, on, kind):
    filters = RULE_OFF.model_copy(update={"heuristics": (*on, *RULE_OFF.heuristics)})
    decisions = decisions_of(store, filters)
    drawn = drawn_of(decisions, 20)
    found = broken_texts(store, decisions, drawn, filters)
    texts = store.read("documents", ["doc_id", "text"])
    noisy = measured(texts, Plan(heuristics=("noise",)))["broken"].str.split(",").list.first()
    over = default_model().judge(form(texts["text"]))["form_logit"] > default_model().limit
    kinds = {}
    for (doc_id, text), rule, is_over in zip(texts.iter_rows(), noisy, over, strict=True):
        known = (not on and rule) or (is_markup(text) and "markup (HTML)")
        kinds[doc_id] = known or (is_over and "form_implausible")
    sides = (
        decisions["doc_id"].to_list(),
        drawn.to_list(),
        decisions.filter(verdict="selected")["doc_id"].to_list(),
    )
    expected = []
    for name in sorted({name for name in kinds.values() if name}):
        shares = [sum(kinds[doc_id] == name for doc_id in side) / len(side) for side in sides]
        if any(shares):
            expected.append((f"{name}*", *map(percent, shares)))
    assert found.rows == expected
    assert {"markup (HTML)*", f"{kind}*"} <= {row[0] for row in expected}
    text = read_page(selection_page(selection_report(store, SECTION, decisions, filters)))
    assert all(" ".join(row) in text for row in expected)
    assert "Counted by their marks, in 130 texts of each side or in all if there are fewer" in text


def test_a_sound_pool_has_neither_table(tmp_path: Path, read_page):
    store = Store(tmp_path)
    texts = [prose(number) for number in range(30)]
    ids = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
    put(store, "documents", doc_id=ids, text=texts, n_chars=[*map(len, texts)])
    put(store, "occurrences", doc_id=ids, shard=["web__a"] * 30, row=[*range(30)])
    text = read_page(selection_page(selection_report(store, SECTION, decisions_of(store, ON), ON)))
    assert "Broken texts" not in text
    assert "At the border" not in text
