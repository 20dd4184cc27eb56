"""Files and corpora that lose many documents to one reason or rule are named, with what to do."""

import polars as pl
import pytest
from projects import corpus, plain_project, rows_of, settings

from tamis.filters.form.storing import update_form_model
from tamis.selection.decide import Reason
from tamis.selection.filtering import LOST_AS, corpora_lost, files_lost, form_lines
from tamis.settings.sections import FiltersSection


@pytest.fixture
def store(tmp_path):
    project = plain_project(tmp_path, settings(corpus()))
    notes = [{"shard": "web__chats-1a.jsonl", "corpus": "web", "name": "a/chats 1.jsonl"}]
    project.store.append("shard_files", rows_of("shard_files", notes))
    return project.store


def put(store, shard, count, group=""):
    """Store places of so many documents, each in a file of its own in a group."""
    ids = [f"{shard}-{number}" for number in range(count)]
    places = [
        {"doc_id": one, "shard": one if group else shard, "row": 0 if group else row}
        for row, one in enumerate(ids)
    ]
    store.append("occurrences", rows_of("occurrences", places))
    if group:
        notes = [{"shard": one, "part_of": group, "corpus": "web", "name": f"notes/{one}"} for one in ids]
        store.append("grouped_files", rows_of("grouped_files", notes))
    return ids


def decided(*parts):
    rows = [(doc_id, str(reason)) for ids, reason in parts for doc_id in ids]
    return pl.DataFrame(rows, schema=["doc_id", "reason"], orient="row")


def test_a_file_is_named_by_its_name_with_the_counts_and_the_cure(store):
    ids = put(store, "web__chats-1a.jsonl", 120)
    reasons = decided((ids[:119], Reason.NEAR_DUPLICATE), (ids[119:], Reason.WITHIN_BUDGET))
    (line,) = files_lost(store, reasons)
    what = "119 of its 120 documents are near-duplicates of other documents"
    assert line.startswith(f"file a/chats 1.jsonl of corpus web: {what}; ")
    assert "threshold in [near_duplicates]" in line


@pytest.mark.parametrize("reason", LOST_AS)
def test_every_reason_that_nobody_asked_for_by_name_says_what_to_do(store, reason):
    ids = put(store, "web__chats-1a.jsonl", 40)
    assert len(files_lost(store, decided((ids[:21], reason), (ids[21:], Reason.OVER_BUDGET)))) == 1
    assert files_lost(store, decided((ids[:20], reason), (ids[20:], Reason.OVER_BUDGET))) == []


@pytest.mark.parametrize(
    "reason", [Reason.OVER_BUDGET, Reason.WITHIN_BUDGET, Reason.SOURCE, Reason.LICENCE, Reason.WITHDRAWN]
)
def test_what_is_meant_is_not_named(store, reason):
    ids = put(store, "web__chats-1a.jsonl", 40)
    assert files_lost(store, decided((ids, reason))) == []


def test_few_documents_and_several_reasons_name_no_file(store):
    few, ids = put(store, "web__few.jsonl", 19), put(store, "web__chats-1a.jsonl", 40)
    reasons = decided(
        (few, Reason.NEAR_DUPLICATE), (ids[:20], Reason.NEAR_DUPLICATE), (ids[20:], Reason.HEURISTIC)
    )
    assert files_lost(store, reasons) == []


def test_a_file_that_rules_of_form_drop_is_named_with_them_also_if_it_is_small(store):
    sizes = {"a": 30, "b": 5, "c": 4}
    ids, few, fewer = (put(store, f"web__{name}.jsonl", size) for name, size in sizes.items())
    rules = ["form_implausible"] * 19 + ["noise_items"] * 11 + ["form_implausible"] * 9
    found = decided(([*ids, *few, *fewer], Reason.HEURISTIC)).with_columns(detail=pl.Series(rules))
    first, second = files_lost(store, found)
    what = "documents are dropped by a rule of form"
    assert f": 30 of its 30 {what} (form_implausible 19, noise_items 11); `tamis explain" in first
    assert f"web__b.jsonl: 5 of its 5 {what} (form_implausible 5); " in second
    stays = pl.when(pl.col("doc_id") == few[0]).then(pl.lit("over_budget")).otherwise(pl.col("reason"))
    assert files_lost(store, found.with_columns(reason=stays)) == [first]


def test_small_files_count_as_their_shard_and_a_document_of_two_files_in_both(store):
    notes, chats = put(store, "n", 30, group="web:notes"), put(store, "web__chats-1a.jsonl", 30)
    again = [{"doc_id": one, "shard": "web__chats-1a.jsonl", "row": 100 + n} for n, one in enumerate(notes)]
    store.append("occurrences", rows_of("occurrences", again))
    reasons = decided((notes, Reason.CONTAMINATED), (chats, Reason.OVER_BUDGET))
    (line,) = files_lost(store, reasons)
    assert line.startswith("shard web:notes: 30 of its 30 documents are contaminated")
    more = decided((notes + chats[:1], Reason.CONTAMINATED), (chats[1:], Reason.OVER_BUDGET))
    assert len(files_lost(store, more)) == 2


def test_a_corpus_is_named_of_which_one_rule_drops_over_a_fifth(store):
    ids, few = put(store, "web__a.jsonl", 100), put(store, "small__a.jsonl", 10)
    rules = ["form_implausible"] * 21 + ["noise_items"] * 20 + [None] * 59 + ["form_implausible"] * 10
    found = pl.DataFrame({"doc_id": [*ids, *few], "detail": rules})
    reason = pl.when(pl.col("detail").is_null()).then(pl.lit("over_budget")).otherwise(pl.lit("heuristic"))
    found = found.with_columns(reason=reason)
    (line,) = corpora_lost(store, found)
    assert line.startswith("corpus web: 21 of its 100 documents are dropped by the rule form_implausible; ")
    assert 'heuristics_off = ["form_implausible"]' in line
    assert corpora_lost(store, found.with_columns(reason=pl.lit("source"))) == []


def test_a_corpus_is_named_of_which_the_model_of_form_says_nothing(store):
    ids = put(store, "web__a.jsonl", 40)
    update_form_model(store, 0)
    unseen = [{"doc_id": one, "form_language": "deu" if n % 3 else "jpn"} for n, one in enumerate(ids[:9])]
    seen = [{"doc_id": one, "form_logit": -2.0, "form_language": "eng"} for one in ids[9:]]
    store.append("form_scores", rows_of("form_scores", [*unseen, *seen]))
    (line,) = form_lines(store, FiltersSection(heuristics=("form",)))
    what = "form_implausible says nothing about 9 of its 40 documents, since its model has not seen their"
    assert line == f'corpus web: {what} language: "deu" (6), "jpn" (3)'
    off = FiltersSection(heuristics=("form",), heuristics_off=("form_implausible",))
    assert form_lines(store, off) == form_lines(store, FiltersSection(heuristics=("noise",))) == []
