"""What a filter saw of a document, for every rule there is."""

import polars as pl
import pytest

from tamis.filters import FAMILIES
from tamis.filters.flags import MEASURES
from tamis.selection.filtering import evidence_of, in_words
from tamis.settings.sections import FiltersSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

DOC = "0" * 32
RULES = [(family, rule) for family, rules in FAMILIES.items() for rule in rules if not rule.of_pool]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    columns = schema_of("document_flags").names
    measures = {name: 0.25 for names in MEASURES.values() for name in names if name in columns}
    measures = {name: value for name, value in measures.items() if not name.startswith("unit_")}
    flags = {
        "doc_id": DOC,
        **measures,
        "detected_language": "de",
        "language_confidence": 0.75,
        "email_count": 2,
        "phone_count": 0,
        "card_count": 1,
    }
    put(store, "document_flags", [flags])
    places = [("MIT", "fr-FR"), (None, None), ("MIT", "de"), ("GPL-3.0", "")]
    rows = [
        {"doc_id": DOC, "shard": "s", "row": row, "source": "s", "licence": licence, "language": language}
        for row, (licence, language) in enumerate(places)
    ]
    put(store, "occurrences", rows)
    return store


def put(store, table, rows):
    schema = schema_of(table)
    frame = pl.DataFrame([dict.fromkeys(schema.names) | row for row in rows], infer_schema_length=None)
    store.merge(table, frame.to_arrow().cast(schema))


@pytest.mark.parametrize(("family", "rule"), RULES, ids=[rule.name for _family, rule in RULES])
def test_every_rule_of_form_names_its_measure_and_a_limit_that_breaks_where_it_says(store, family, rule):
    found = evidence_of(store, DOC, "heuristic", rule.name, FiltersSection())
    assert found["measured"] == {rule.column: 0.25}
    assert rule.column in MEASURES[family]
    words, numbers = rule.allowed.split(" ", 1)[0], [float(n) for n in rule.allowed.split() if n[0].isdigit()]
    inside, outside = {
        "at": (numbers[0], numbers[0] + (1e-3 if "most" in rule.allowed else -1e-3)),
        "under": (numbers[0] - 1e-3, numbers[0]),
        "over": (numbers[0] + 1e-3, numbers[0]),
        "from": (numbers[-1], numbers[-1] + 1e-3),
    }[words]
    broken = pl.DataFrame({rule.column: [inside, outside]}).select(rule.broken).to_series()
    assert broken.to_list() == [False, True]


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        ("licence_denied", "none of gpl*"),
        ("licence_not_allowed", "one of Apache*"),
        ("licence_unknown", "any stated licence"),
    ],
)
def test_licences_are_all_that_the_places_state(store, rule, allowed):
    filters = FiltersSection(licences_allowed=("Apache*",), licences_denied=("gpl*",))
    found = evidence_of(store, DOC, "licence", rule, filters)
    assert found == {"measured": {"licences": ["GPL-3.0", "MIT", None]}, "allowed": allowed}
    assert in_words(found) == f"licences = GPL-3.0, MIT, unknown; allowed: {allowed}"


def test_languages_and_personal_data(store):
    filters = FiltersSection(languages=("en",), language_confidence=0.6, personal_data_limit=2)
    found = evidence_of(store, DOC, "language", "language_detected_de", filters)
    assert found["measured"] == {
        "stated_language": "de",
        "detected_language": "de",
        "language_confidence": 0.75,
    }
    assert found["allowed"] == "one of en, or a confidence below 0.6"
    found = evidence_of(store, DOC, "personal_data", "personal_data_card", filters)
    assert found == {"measured": {"card_count": 1, "email_count": 2}, "allowed": "at most 2 in total"}


def test_other_reasons_have_no_evidence_and_a_document_without_flags_none_to_show(store):
    assert evidence_of(store, DOC, "over_budget", None, FiltersSection()) is None
    assert evidence_of(store, DOC, "heuristic", "a_rule_of_old", FiltersSection()) is None
    found = evidence_of(store, "f" * 32, "heuristic", "gopher_hash_ratio", FiltersSection())
    assert found["measured"] == {"hash_ratio": None}
