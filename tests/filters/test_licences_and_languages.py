"""Licences by pattern, languages stated and detected."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from tamis.filters import Plan, forbidden_by_licence, measured
from tamis.filters.flags import wrong_language
from tamis.filters.language import LONGEST, identified, stated_code
from tamis.selection.filtering import stated_languages
from tamis.settings.language_codes import counted_as, is_known, short_code

ENGLISH = (
    "The river rose in the night, and nobody in the village had expected that it would reach the bridge."
)
GERMAN = (
    "Der Fluss stieg in der Nacht, und niemand im Dorf hatte erwartet, dass er die Brücke erreichen würde."
)
PLACES = [
    ("free", "CC-BY-4.0"),
    ("both", "proprietary"),
    ("both", "cc0"),
    ("share", "CC BY-SA 3.0"),
    ("none", None),
    ("blank", "  "),
    ("closed", " Proprietary "),
]


def forbidden(*arguments, **keys) -> dict[str, str]:
    places = pl.DataFrame(PLACES, schema=["doc_id", "licence"], orient="row")
    return dict(forbidden_by_licence(places, *arguments, **keys).iter_rows())


def test_licences_by_pattern():
    assert forbidden([], []) == {}
    assert forbidden([], ["propriet*"]) == {"closed": "licence_denied"}
    assert forbidden(["CC0*", "cc-by*"], []) == {
        "share": "licence_not_allowed",
        "closed": "licence_not_allowed",
    }
    assert forbidden(["cc?by*"], ["*-sa*"]) == {
        "both": "licence_not_allowed",
        "share": "licence_denied",
        "closed": "licence_not_allowed",
    }
    assert forbidden([], [], "exclude") == {"none": "licence_unknown", "blank": "licence_unknown"}


@given(st.lists(st.sampled_from(["cc0", "mit", None, "x(y", "a.b"]), min_size=1), st.permutations(range(5)))
def test_one_allowed_place_is_enough_whatever_the_order(licences, order):
    rows = [("d", licence) for licence in licences]
    found = forbidden_by_licence(
        pl.DataFrame(rows, schema={"doc_id": pl.String, "licence": pl.String}, orient="row"),
        ["mit", "x(*"],
        [],
        "exclude",
    )
    assert found.is_empty() == any(licence in ("mit", "x(y") for licence in licences)


def languages(rows: list[tuple[str, str | None]], source: str, wanted: tuple[str, ...] = ("en",)) -> list:
    frame = pl.DataFrame(rows, schema={"text": pl.String, "language": pl.String}, orient="row")
    found = frame.hstack(measured(frame, Plan(language=source)))
    return found.select(rule=wrong_language(wanted, source, 0.5))["rule"].to_list()


def test_a_stated_language_wins_unless_told_otherwise():
    rows = [
        (ENGLISH, None),
        (GERMAN, None),
        (GERMAN, "en-US"),
        (ENGLISH, "DE"),
        (GERMAN, "Deutsch"),
        ("", None),
    ]
    assert languages(rows, "stated") == [
        None,
        "language_detected_de",
        None,
        "language_stated_de",
        "language_detected_de",
        None,
    ]
    detected = "language_detected_de"
    assert languages(rows, "detected") == [None, detected, detected, None, detected, None]
    assert languages(rows, "detected", ("de", "en")) == [None] * 6


@pytest.mark.parametrize("text", ["", "12 34 56", "🙂🙂", "\x00\x01", "?!"])
def test_what_no_language_is_found_in_is_not_wrong(text):
    assert languages([(text, None)], "detected") == [None]


def test_detection_is_the_same_each_time_and_alone():
    texts = pl.DataFrame({"text": [ENGLISH, GERMAN] * 3, "language": [None] * 6})
    found = measured(texts, Plan(language="stated"))
    assert found["detected_language"].to_list() == ["en", "de"] * 3
    assert found.equals(pl.concat([measured(texts[n : n + 1], Plan(language="stated")) for n in range(6)]))


WORDS = st.sampled_from(
    ["the", "RIVER", "und", "Brücke", "niño", "река", "река́", "川が", "e\u0301te", "🌊", "42", "\n", ""]
)
LANGUAGE_TEXTS = st.one_of(st.text(max_size=40), st.lists(WORDS, max_size=300).map(" ".join))


@pytest.fixture(scope="module")
def classify():
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True).classify


@given(texts=st.lists(LANGUAGE_TEXTS, max_size=12), size=st.integers(1, 5))
def test_a_batch_has_the_answers_of_py3langid_for_each_text(classify, texts, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tamis.filters.language._BATCH", size)
        languages = identified(pl.Series(texts, dtype=pl.String))
    assert languages.rows() == [classify(text[:LONGEST]) for text in texts]


def test_three_letters_are_the_two_that_mean_the_same_and_und_is_no_language():
    stated = pl.DataFrame({"language": ["eng", "en-US", "GER", "und", "mul", "English", "fr", "haw"]})
    assert stated.select(stated_code(pl.col("language")))["language"].to_list() == [
        "en",
        "en",
        "de",
        None,
        None,
        None,
        "fr",
        "haw",
    ]
    assert [short_code(code) for code in ("eng", "fre", "fra", "en")] == ["en", "fr", "fr", "en"]


@pytest.mark.parametrize(
    ("kept", "stated"),
    [
        ("he", ["iw", "heb", "he-IL", "HEB_Hebr"]),
        ("id", ["in", "ind", "ind_Latn"]),
        ("yi", ["ji", "yid", "ydd_Hebr"]),
        ("zh", ["cmn_Hani", "zho", "chi", "zh-Hans", "zh_TW", "yue_Hant", "wuu", "zh-min-nan"]),
        ("ar", ["arb_Arab", "ara", "arz_Arab", "ary", "ar-EG"]),
        ("fa", ["pes_Arab", "per", "fas", "prs_Arab"]),
        ("et", ["ekk_Latn", "est", "et"]),
        ("no", ["nb", "nn", "nob", "nno_Latn", "nor", "nb-NO"]),
        ("lv", ["lvs_Latn", "lav", "ltg"]),
        ("de", ["ger", "deu", "de_AT", " DE "]),
        ("pt", ["pt_BR", "por", "por_Latn"]),
        ("sw", ["swh_Latn", "swa", "swc"]),
        ("mg", ["plt_Latn", "mlg"]),
        ("sq", ["als_Latn", "sqi", "alb"]),
        ("uz", ["uzn_Latn", "uzb"]),
        ("mn", ["khk_Cyrl", "mon"]),
        ("ms", ["zsm_Latn", "may", "msa"]),
        ("tl", ["fil", "tgl", "tl", "fil_Latn"]),
        ("ro", ["mo", "mol", "rum"]),
        ("jv", ["jw", "jav"]),
        ("gn", ["gug", "grn"]),
    ],
)
def test_retired_and_individual_codes_count_as_the_language_that_is_kept(kept, stated):
    frame = pl.DataFrame({"language": [*stated, "en", "ukr"]}).with_columns(
        detected_language=pl.lit("en"), language_confidence=pl.lit(1.0)
    )
    broken = frame.select(rule=wrong_language([kept], "stated", 0.5))["rule"].to_list()
    assert broken == [None] * len(stated) + ["language_stated_en", "language_stated_uk"]


@pytest.mark.parametrize(
    ("kept", "other"),
    [("ms", "id"), ("id", "zsm"), ("sr", "hr"), ("nb", "nn"), ("arz", "ary"), ("nn", "nb"), ("hr", "bos")],
)
def test_a_language_is_not_kept_by_one_that_is_merely_related(kept, other):
    frame = pl.DataFrame({"language": [kept, other]}).with_columns(
        detected_language=pl.lit(kept), language_confidence=pl.lit(1.0)
    )
    first, second = frame.select(rule=wrong_language([kept], "stated", 0.5))["rule"]
    assert (first, second) == (None, f"language_stated_{short_code(other)}")


def test_detected_languages_count_as_the_language_that_they_are_a_part_of():
    frame = pl.DataFrame({"detected_language": ["arz", "yue", "nn", "tl", "de"]}).with_columns(
        language=pl.lit(None, pl.String), language_confidence=pl.lit(1.0)
    )
    kept = ["ar", "zh", "no", "fil"]
    broken = frame.select(rule=wrong_language(kept, "stated", 0.5))["rule"].to_list()
    assert broken == [None] * 4 + ["language_detected_de"]


def test_every_member_of_a_macrolanguage_is_kept_with_it():
    from langcodes.data_dicts import MACROLANGUAGES

    apart = {"id", "in"}
    assert len(MACROLANGUAGES) > 400
    for part, whole in MACROLANGUAGES.items():
        assert (short_code(part) in counted_as([whole])) is (part not in apart), (part, whole)


@pytest.mark.parametrize("stated", ["English", "zz", "", "12", "e", "xx-YY", "the language of the place"])
def test_what_is_no_code_is_no_language_and_is_not_known(stated):
    assert short_code(stated) is None
    assert not is_known(stated)


@pytest.mark.parametrize("stated", ["und", "mul", "zxx_Latn", "en", "cmn_Hani", "qaa"])
def test_codes_are_known_even_where_they_name_no_language(stated):
    assert is_known(stated)


@given(st.permutations(range(6)))
def test_a_wanted_language_at_one_place_is_enough_whatever_came_first(order):
    rows = [("both", "de"), ("both", "en"), ("none", None), ("two", "fr"), ("two", "de"), ("two", None)]
    places = pl.DataFrame([rows[at] for at in order], schema=["doc_id", "language"], orient="row")
    found = dict(stated_languages(places, ["en"]).iter_rows())
    assert found == {"both": "en", "none": None, "two": "de"}
