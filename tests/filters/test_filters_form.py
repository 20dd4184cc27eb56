"""Statistics of form, next to counting character by character; damage; the model, its limit, abstention."""

import re
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.filters.form.damage import HARMLESS, KINDS, MAKERS, damaged
from tamis.filters.form.model import MOST_OF_A_GOAL, default_model, fit, limit_for, read
from tamis.filters.form.statistics import LEAST, LONGEST, form, names

PROSE = (
    "The committee met on Tuesday to hear what the engineers had found. After an hour of questions it was "
    "clear that the bridge could be repaired before the winter, although nobody knew who would pay for it. "
)
GERMAN = (
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen "
    "begabt und sollen einander im Geist der Brüderlichkeit begegnen. Jeder hat das Recht auf Leben."
)
ODD = [
    "",
    " ",
    "a",
    "\n\n",
    "\0",
    "\0\0a",
    "''''",
    "!" * 50,
    "\U0001f600" * 9,
    "a" * 9_000,
    "日本語の文章です。",
    "x\n" * 400,
]


def of(text: str) -> dict[str, float]:
    return form(pl.Series([text])).to_dicts()[0]


@pytest.mark.parametrize(
    "text", [PROSE, "Call 555-0199 (now)!\nCall 555-0199 (now)!\nUPPER lower 12 a1b2.", GERMAN]
)
def test_statistics_are_what_counting_one_by_one_gives(text: str) -> None:
    found = of(text)
    shown = [one for one in text if not one.isspace()]
    letters = [one for one in text if one.isalpha()]
    words = re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", text)
    assert found["n"] == len(shown)
    assert found["digit"] == pytest.approx(sum(one.isdigit() for one in shown) / len(shown))
    assert found["letters"] == pytest.approx(len(letters) / len(shown))
    assert found["capitals"] == pytest.approx(
        sum(one in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" for one in text) / len(letters)
    )
    assert found["word_length"] == pytest.approx(np.mean([len(word) for word in words]))
    assert found["newlines"] == pytest.approx(text.count("\n") / len(text))
    lines = text.split("\n")
    again = sum(len(line) for place, line in enumerate(lines) if line in lines[:place])
    assert found["repeated_lines"] == pytest.approx(again / len(text))
    runs = list(re.finditer(r"[a-zA-Z]+|[\u00c0-\u024f]+|\d+|\s+|([^\w\s])\1*", text))
    assert found["runs"] == pytest.approx(len(runs) / len(text))
    assert found["longest_unstopped"] == pytest.approx(np.log1p(1 + max(map(len, re.split("[.!?]", text)))))


def test_tags_entities_and_wide_gaps_are_counted() -> None:
    found = of("<p>Salt &amp; water</p> and&#160;oil  or\twater")
    assert found["markup"] == pytest.approx(np.log1p(2))
    assert found["entities"] == pytest.approx(np.log1p(2))
    assert found["wide_gaps"] > 0
    assert of(PROSE)["wide_gaps"] == of(PROSE)["markup"] == of(PROSE)["entities"] == 0


def test_a_text_has_the_same_statistics_in_any_company() -> None:
    texts = [PROSE, *ODD, GERMAN, PROSE * 3, *damaged([PROSE] * 1, seed=1)["text"]]
    together = form(pl.Series(texts))
    alone = pl.concat([form(pl.Series([text])) for text in texts])
    assert together["language"].to_list() == alone["language"].to_list()
    np.testing.assert_allclose(
        together.select(names()).to_numpy(), alone.select(names()).to_numpy(), rtol=1e-9, atol=1e-9
    )
    assert np.isfinite(together.select(names()).to_numpy()).all()


def test_each_statistic_has_a_line_in_the_docs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "quality.md").read_text(encoding="utf-8")
    table = text.split("## Statistics of form\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \| \S", table, re.MULTILINE) == list(names())


def test_latin_letters_in_full_width_are_judged_and_another_script_is_not() -> None:
    wide = {point: point + 0xFEE0 for point in range(ord("!"), ord("~") + 1)}
    text = PROSE.translate(wide)
    others = [(one * 12) + " ＮＨＫ ＴＶ" for one in ("щжфы гшщъ ", "日本語の文章です。これは")]
    languages = form(pl.Series([text, *others, text[:40]]))["language"]
    assert languages.to_list() == ["eng", "other", "jpn", "short"]
    model = default_model()
    assert model.judge(form(pl.Series([text])))["form_logit"][0] > model.limit


def test_a_stray_nul_changes_nothing_and_many_are_seen() -> None:
    assert of(PROSE[:40] + "\0" + PROSE[40:]) == of(PROSE)
    assert of("\0".join(PROSE)) != of(PROSE)


def test_what_is_beyond_the_longest_changes_nothing() -> None:
    long = PROSE * (LONGEST // len(PROSE) + 2)
    assert of(long) == of(long[:LONGEST])


def test_no_texts_have_no_statistics() -> None:
    assert form(pl.Series([], dtype=pl.String)).height == 0


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_damage_is_seeded_and_survives_any_text(kind: str) -> None:
    texts = [PROSE, *ODD, GERMAN]
    first, again = damaged(texts, [kind], 3), damaged(texts[::-1], [kind], 3)
    assert first["text"].to_list() == again["text"].to_list()[::-1]
    assert first["text"][0] != PROSE


def test_braces_of_a_text_are_letters_in_the_heads_of_its_pages() -> None:
    texts = [f"Let {{\\mu}} be {{}} of {{0}} {place} " * 20 for place in range(60)]
    found = damaged(texts, ["page_marks"], 1)["text"]
    assert found.str.contains("LET {\\MU}", literal=True).any()


@pytest.mark.parametrize("kind", sorted(set(HARMLESS) - {"part", "title"}))
def test_harmless_changes_keep_nearly_all_words_in_their_order(kind: str) -> None:
    def words(text: str) -> list[str]:
        return re.findall(r"[a-z]+", text.lower())

    for seed in range(8):
        changed = words(HARMLESS[kind](PROSE, np.random.default_rng(seed)))
        kept = SequenceMatcher(None, words(PROSE), changed, autojunk=False).get_matching_blocks()
        assert sum(block.size for block in kept) >= 0.9 * len(words(PROSE))


def test_a_mixture_says_what_it_is_made_of() -> None:
    found = damaged([PROSE + str(place) for place in range(40)], ["two_kinds", "html"], 2)
    for kind, parts in found.select("kind", "parts").rows():
        assert parts[0] == kind
        assert len(parts) == (3 if kind == "two_kinds" else 1)
        assert set(parts[1:]) <= set(MAKERS)


def test_the_model_finds_noise_keeps_prose_and_names_what_decided() -> None:
    model = default_model()
    noise = damaged([PROSE * 2 + str(place) for place in range(20)], ["mash", "numbers", "html"], 0)
    found = model.judge(form(pl.concat([pl.Series([PROSE * 2]), noise["text"]])))
    assert found["form_logit"][0] < model.limit
    assert found["form_reasons"][0] is None
    over = found[1:].filter(pl.col("form_logit") > model.limit)
    assert over.height >= 18
    assert all(len(reasons.split(", ")) == 3 for reasons in over["form_reasons"])


def test_the_model_abstains_in_a_language_it_has_not_seen() -> None:
    texts = pl.Series(
        [GERMAN, "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。" * 3]
    )
    assert default_model().judge(form(texts))["form_logit"].to_list() == [None, None]


def test_the_limit_lets_hardly_any_example_of_a_target_fall() -> None:
    model = default_model()
    tables = damaged([PROSE + str(place) for place in range(400)], ["data_dump"], 5)["text"]
    goal = form(tables)
    limit = limit_for(model, goal)
    fallen = (model.judge(goal)["form_logit"] > limit).fill_null(False)
    assert limit > model.limit
    assert fallen.sum() <= MOST_OF_A_GOAL * len(goal)
    assert limit_for(model, form(pl.Series([PROSE] * 10))) == model.limit


def test_a_fit_is_the_same_each_time_and_can_be_stored(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    words = np.array(PROSE.split())
    texts = [" ".join([PROSE, *generator.choice(words, 9)]) for _ in range(60)]
    good = form(pl.Series(texts)).with_columns(kind=pl.Series(["a", "b", "c"] * 20))
    bad_texts = damaged(texts, ["mash", "html", "numbers"], 0)
    bad = form(bad_texts["text"]).with_columns(kind=bad_texts["kind"])
    model = fit(good, bad, "a test")
    assert model == fit(good, bad, "a test")
    model.write(tmp_path / "model.json")
    assert read(tmp_path / "model.json") == model
    assert model.languages == ("eng",)


@given(st.lists(st.text(max_size=LEAST - 1), min_size=1, max_size=5))
def test_nothing_is_said_of_short_texts(texts: list[str]) -> None:
    assert default_model().judge(form(pl.Series(texts)))["form_logit"].is_null().all()


@pytest.mark.parametrize(
    "text", ["Все люди рождаются свободными. " * 4, "人人生而自由在尊嚴和權利上一律平等 " * 9]
)
def test_nothing_is_said_of_other_scripts(text: str) -> None:
    assert of(text)["language"] not in ("eng", "none")
    assert default_model().judge(form(pl.Series([text])))["form_logit"].is_null().all()
