"""Filters through the store: flags are measured once, exclusions name their rule, and texts are not lost."""

import tomllib

import polars as pl
import pyarrow as pa
import pytest
from projects import Imagined, corpus, plain_project, rows_of, selection, settings

from tamis.corpus.shards import shard_key
from tamis.filters import Plan
from tamis.filters import storing as flag_storing
from tamis.filters.stage import plan_of
from tamis.filters.storing import flag_documents
from tamis.selection import select
from tamis.selection.filtering import (
    evidence_of,
    filtered,
    rules_of_flags,
    rules_of_licences,
    rules_of_sources,
    unknown_language_lines,
    with_heirs,
)
from tamis.selection.pool import exclusions
from tamis.selection.stage import filter_settings
from tamis.settings.config import Settings, parse_settings
from tamis.settings.sections import FiltersSection, SelectionSection
from tamis.settings.values import RULE_NAMES
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

PROSE = (
    "The water came in the night and took the old bridge, which nobody in our village had expected. My "
    "father ran down to the mill with a lantern, while two neighbours tried to save cattle from the lower "
    "meadow. By morning everything was quiet again; only some broken planks, a cart wheel and much brown mud "
    "told of what had happened before we could sleep."
)
TEXTS = {
    "a": PROSE,
    "b": "Too short.",
    "c": f"{PROSE} Mail jane@doe.io or john@doe.io.",
    "d": "\n".join([PROSE] * 9),
}
EVERYTHING = FiltersSection(heuristics=("gopher", "fineweb"), languages=("en",), personal_data="exclude")


@pytest.fixture
def store(tmp_path) -> Store:
    made = Store(tmp_path / "lance")
    table(made, "documents", {"doc_id": list(TEXTS), "text": list(TEXTS.values())})
    licences = ["mit", None, "mit", "proprietary"]
    places = {"doc_id": list(TEXTS), "shard": ["s"] * 4, "row": list(range(4)), "licence": licences}
    table(made, "occurrences", places)
    return made


def table(store: Store, name: str, columns: dict) -> None:
    schema = schema_of(name)
    count = len(columns["doc_id"])
    arrays = [pa.array(columns.get(field.name, [None] * count), field.type) for field in schema]
    store.overwrite(name, pa.table(arrays, schema=schema))


def reasons(store: Store, filters: FiltersSection) -> dict[str, tuple[str, str | None]]:
    found = exclusions(store, filters).select("doc_id", "reason", "detail")
    return {doc_id: (reason, detail) for doc_id, reason, detail in found.iter_rows()}


def test_each_document_is_measured_once_for_a_plan(store, monkeypatch):
    monkeypatch.setattr(flag_storing, "BATCH", 3)
    seen: list[int] = []
    plan = plan_of(EVERYTHING)
    assert flag_documents(store, plan, ["a", "b"]) == 2
    assert flag_documents(store, plan, list(TEXTS), seen.append) == 2
    assert flag_documents(store, plan, list(TEXTS)) == 0
    assert sum(seen) == 2
    assert store.count("document_flags") == 4
    assert flag_documents(store, Plan(personal_data=True), list(TEXTS)) == 4
    rows = store.read("document_flags")
    assert rows["fingerprint"].n_unique() == 1
    assert rows["broken"].null_count() == rows["n_words"].null_count() == 4
    assert rows.sort("doc_id")["email_count"].to_list() == [0, 0, 2, 0]
    assert not rows.select(pl.col(pl.String)).unpivot()["value"].fill_null("").str.contains("jane").any()


def test_reasons_name_the_first_rule_and_rules_can_be_switched_off(store):
    flag_documents(store, plan_of(EVERYTHING), list(TEXTS))
    found = reasons(store, EVERYTHING)
    assert found == {
        "b": ("heuristic", "gopher_word_count"),
        "c": ("personal_data", "personal_data_email"),
        "d": ("heuristic", "gopher_duplicate_lines"),
    }
    off = EVERYTHING.model_copy(update={"heuristics_off": tuple(RULE_NAMES), "personal_data_limit": 2})
    assert reasons(store, off) == {}
    fineweb = EVERYTHING.model_copy(update={"heuristics": ("fineweb",), "personal_data": "flag"})
    assert reasons(store, fineweb) == {
        "b": ("heuristic", "fineweb_short_lines"),
        "d": ("heuristic", "fineweb_duplicate_characters"),
    }


NOTICES = (
    "We use cookies on this site.",
    "Please switch on JavaScript here.",
    "All rights are reserved by us.",
)
AGAINST_PAGES = FiltersSection(heuristics=("noise", "boilerplate"))


def pages(store: Store, numbers: range) -> list[str]:
    """Documents of notices, flagged as they come; return the ids of all there are now."""
    ids = [f"p{number:02}" for number in range(numbers.stop)]
    texts = [" ".join([f"Story {number}.", *NOTICES]) for number in range(numbers.stop)]
    everything = {"doc_id": [*ids, *TEXTS], "text": [*texts, *TEXTS.values()]}
    table(store, "documents", everything | {"n_chars": [len(text) for text in everything["text"]]})
    flag_documents(store, plan_of(AGAINST_PAGES), [*ids[numbers.start :], *TEXTS])
    return ids


def test_pages_of_notices_leave_once_there_are_many_and_measuring_them_again_is_not_needed(store):
    few = pages(store, range(9))
    assert not set(few) & set(reasons(store, AGAINST_PAGES))
    many = pages(store, range(9, 12))
    found = reasons(store, AGAINST_PAGES)
    assert {doc_id: found[doc_id] for doc_id in many} == dict.fromkeys(
        many, ("heuristic", "boilerplate_repeated")
    )
    assert found.keys() - set(many) == {"d"}  # the same lines over and over
    evidence = evidence_of(store, many[0], "heuristic", "boilerplate_repeated", AGAINST_PAGES)
    assert evidence is not None
    assert evidence["measured"]["repeated_unit_share"] > 0.6
    assert evidence["allowed"] == "at most 0.6"
    off = AGAINST_PAGES.model_copy(update={"heuristics_off": ("boilerplate_repeated",)})
    assert reasons(store, off).keys() == {"d"}


def test_a_licence_comes_first_and_needs_no_flags(store):
    section = FiltersSection(licences_denied=("propr*",), unknown_licence="exclude")
    assert reasons(store, section) == {
        "b": ("licence", "licence_unknown"),
        "d": ("licence", "licence_denied"),
    }
    assert filtered(store, FiltersSection()).is_empty()


def test_a_place_that_is_denied_does_not_lend_its_licence(store):
    places = {"doc_id": ["a", "a", "b"], "row": [0, 1, 0], "shard": ["x__1", "y__1", "x__1"]}
    places |= {"licence": ["mit", "proprietary", "mit"], "source": ["1", "1", "1"]}
    table(store, "occurrences", places)
    both = FiltersSection(sources_denied=("x",), licences_allowed=("mit",))
    assert reasons(store, both) == {
        "a": ("licence", "licence_not_allowed"),
        "b": ("source", "source_denied"),
    }
    assert reasons(store, FiltersSection(sources_denied=("x",))) == {"b": ("source", "source_denied")}
    assert reasons(store, FiltersSection(licences_allowed=("mit",))) == {}


def test_a_corpus_is_denied_by_its_name_though_no_key_says_it(store):
    keys = {name: shard_key(name, "a.jsonl") for name in ("news__en", "news_", "news")}
    notes = [{"shard": key, "corpus": name, "name": "a.jsonl"} for name, key in keys.items()]
    store.append("shard_files", rows_of("shard_files", notes))
    table(store, "occurrences", {"doc_id": ["a", "b", "c"], "row": [0] * 3, "shard": list(keys.values())})
    for doc_id, name in zip("abc", keys, strict=True):
        assert set(reasons(store, FiltersSection(sources_denied=(name,)))) == {doc_id}


@pytest.mark.parametrize(("name", "looked_up"), [("web", {}), ("web_", {"corpora_looked_up": ["web_"]})])
def test_only_selections_that_a_corpus_may_have_been_mistaken_in_are_made_again(tmp_path, name, looked_up):
    made = plain_project(tmp_path, settings(corpus(name)))
    assert filter_settings(Imagined(made.project).snapshot()) == looked_up


def test_decisions_hold_the_rule_of_an_exclusion(store):
    section = FiltersSection(licences_denied=("propr*",))
    pool = pl.DataFrame({"doc_id": list(TEXTS)})
    decided = select(pool, "random", 3, exclusions=exclusions(store, section))
    assert dict(decided.select("doc_id", "detail").iter_rows())["d"] == "licence_denied"
    assert decided["detail"].null_count() == 3
    assert "detail" not in select(pool, "random", 3).columns


def test_a_near_duplicate_takes_the_place_of_what_filters_exclude():
    rows = [("b", "a"), ("c", "a"), ("d", "a"), ("y", "x")]
    near = pl.DataFrame(rows, schema=["doc_id", "duplicate_of"], orient="row")
    out = pl.DataFrame({"doc_id": ["a"]})
    excluded = pl.DataFrame({"doc_id": ["a", "b"]})
    assert sorted(with_heirs(near, excluded, out).rows()) == [("b", "c"), ("d", "c"), ("y", "x")]
    assert sorted(with_heirs(near, excluded, out.clear()).rows()) == sorted(rows)
    everyone = pl.DataFrame({"doc_id": list("abcd")})
    assert sorted(with_heirs(near, everyone, everyone).rows()) == sorted(rows)


def test_what_only_flags_decides_nothing():
    assert plan_of(FiltersSection(personal_data="flag"))
    assert rules_of_flags(FiltersSection(personal_data="flag")) == {}
    assert not plan_of(FiltersSection(licences_allowed=("mit",), personal_data_limit=3))
    assert (
        rules_of_licences(FiltersSection()) == rules_of_flags(FiltersSection(language_confidence=0.9)) == {}
    )


def test_the_rules_that_a_decision_notes_are_settings_of_filters():
    filters = FiltersSection(
        heuristics=("noise",), languages=("de",), personal_data="exclude", licences_denied=("cc-by-nc*",)
    )
    noted = rules_of_flags(filters) | rules_of_licences(filters) | rules_of_sources(filters)
    assert FiltersSection.model_validate(noted) == filters


def test_a_table_made_before_a_column_gets_it(tmp_path):
    old, schema = Store(tmp_path / "lance"), schema_of("decisions")
    before = pa.schema([field for field in schema if field.name != "detail"])
    row = {"selection": "s", "doc_id": "a", "verdict": "rejected", "reason": "heuristic"}
    old.replace("decisions", pa.Table.from_pylist([row], schema=before), "selection = 's'")
    new = {**row, "selection": "t", "detail": "gopher_word_count"}
    old.replace("decisions", pa.Table.from_pylist([new], schema=schema), "selection = 't'")
    found = old.read("decisions", ["selection", "detail"]).sort("selection")
    assert found.rows() == [("s", None), ("t", "gopher_word_count")]


def parsed(text: str) -> Settings:
    return parse_settings(tomllib.loads(text))


def stating(store: Store, languages: list[str | None]) -> None:
    count = len(languages)
    places = {"doc_id": [f"{n}" for n in range(count)], "row": list(range(count)), "language": languages}
    table(store, "occurrences", places | {"shard": ["web__a"] * (count - 1) + ["books__b"]})


def test_languages_that_are_no_codes_are_named_and_counted_where_a_rule_reads_them(store):
    stating(store, ["English", "English", "zz", "en", "und", None, "cmn_Hani", "Deutsch\tx", "Klingon"])
    english = parsed(settings("[filters]\nlanguages = ['en']\n"))
    books, web = unknown_language_lines(store, english)
    assert books == (
        'corpus books: 1 row with a language that is no ISO 639 code: "Klingon" (1); the language of these '
        'rows is detected from the text instead. Write codes such as "en" or "deu" into the rows'
    )
    assert web.startswith("corpus web: 4 rows with a language that is no ISO 639 code: ")
    assert '"English" (2), "Deutsch\\tx" (1), "zz" (1); ' in web
    spoken = parsed(settings(selection("spoken", per="language", maximum_shares=0.5)))
    assert "count as of unknown language" in unknown_language_lines(store, spoken)[0]
    detected = "[filters]\nlanguages = ['en']\nlanguage_from = 'detected'\n"
    for untouched in (settings(), settings(detected)):
        assert unknown_language_lines(store, parsed(untouched)) == []


def test_shares_of_languages_are_those_of_the_codes_that_rows_are_counted_under():
    shares = {"cmn": 0.2, "deu": 0.1, "unknown": 0}
    section = SelectionSection(
        name="spoken", sampler="random", budget=4, per="language", minimum_shares=shares
    )
    assert section.bounds == ({"zh": 0.2, "de": 0.1, "unknown": 0.0}, 1.0)
