"""Map, documents and mix of a selection: counts of the whole, samples, hostile texts, odd pools."""

import base64
import json
import re
import zlib
from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_pools import made_pool, pool_texts, shuffled, write_pool
from projects import rows_of

from tamis.report import seen as seeing
from tamis.report import selection_map
from tamis.report.mix import Before, mix_page
from tamis.report.rendering import as_json, script_policy
from tamis.report.seen import clean, documents_known, look_at, page_links, sampled
from tamis.report.selection_map import axes_in_words, browse_page, fitted, map_page, thumbnail_png
from tamis.settings.sections import FiltersSection
from tamis.store.home import Home
from tamis.store.tables import Store
from tamis.topics.clusters import WITNESSES
from tamis.withdrawal.places import pages_naming

LINKS = page_links("best")
HOSTILE = (
    "</script><script>document.title='run'</script><img src=x onerror=alert(1)> "
    "\u202egnp.exe\x00\x1b[2J 'q\"/\\"
)


def pages(store, subject, before=None):
    seen = look_at(store, subject)
    return seen, {
        "map": map_page(seen, seen.point_nk[:, :2], axes_in_words(seen), LINKS),
        "browse": browse_page(store, seen, FiltersSection(), LINKS),
        "mix": mix_page(seen, before, LINKS),
    }


def unpacked(page):
    """What the script of a map reads: its data, places and texts."""
    meta = json.loads(re.search('id="meta">(.*?)</script>', page)[1])
    content = zlib.decompress(base64.b64decode(re.search('id="packed">(.*?)</script>', page)[1]))
    ids = re.search('id="ids">(.*?)</script>', page)[1].split(".")[1:]
    count, modes = len(ids), len(meta["modes"])
    places = np.frombuffer(content[: 4 * count], "<u2").reshape(2, count)
    codes = np.frombuffer(content[4 * count : (4 + modes) * count], np.uint8).reshape(modes, count)
    return meta, ids, places, codes, content[(4 + modes) * count :].decode().split("\n")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "lance")


def test_the_map_holds_every_document_and_example_with_its_verdict_and_head(store):
    contents = pool_texts(30)
    seen, made = pages(store, made_pool(store, contents))
    meta, ids, _places, codes, heads = unpacked(made["map"])
    assert len(ids) == len(heads) == 96
    assert meta["examples"] == 6
    assert meta["gaps"] == [n for n in range(90, 96) if seen.points["kind"][n] == "gap"]
    decided = {row["doc_id"][:10]: row for row in seen.decisions.iter_rows(named=True)}
    for n, short in enumerate(ids[:90]):
        assert meta["modes"][1]["labels"][codes[1, n]].replace(" ", "_") == decided[short]["reason"]
        assert meta["modes"][3]["labels"][codes[3, n]] == decided[short]["source"]
    assert {*heads[:90]} == {text[:80] for text in contents}
    assert (codes[:, 90:] == 255).all()
    counts = Counter(seen.decisions["reason"])
    assert dict(zip(meta["modes"][1]["labels"], meta["modes"][1]["counts"], strict=True)) == {
        reason.replace("_", " "): count for reason, count in counts.items()
    }
    assert thumbnail_png(seen, seen.point_nk[:, :2]).startswith(b"\x89PNG")


def test_pages_are_equal_to_the_byte_whatever_the_order_of_arrival(tmp_path):
    contents = pool_texts(30)
    made = [
        pages(store := Store(tmp_path / str(seed)), made_pool(store, shuffled(contents, seed)))[1]
        for seed in (1, 2)
    ]
    # Sources and repeats of the made pool follow the order; places and texts do not.
    one, two = (unpacked(found["map"]) for found in made)
    assert one[1] == two[1]
    assert one[2].tobytes() == two[2].tobytes()
    assert one[4] == two[4]


@pytest.mark.parametrize(
    ("contents", "examples", "alike", "said"),
    [
        (pool_texts(1), 6, False, "examples"),
        (pool_texts(1)[:1], 0, False, "has no target"),
        (pool_texts(20), 0, True, "All vectors are identical"),
        (pool_texts(20), 0, False, "has no target"),
        ([HOSTILE, "x" * 5_000_000, "\u200f\u202e", *pool_texts(9)], 3, False, "examples"),
    ],
)
def test_odd_pools_have_pages_that_say_what_they_lack(store, contents, examples, alike, said, read_page):
    seen, made = pages(store, made_pool(store, contents, examples, alike, source="a/b 'c' \"d\" <e>"))
    assert said in made["map"]
    assert max(map(len, made.values())) < 1_500_000
    for page in made.values():
        read_page(page)
        assert "document.title" not in page.split("<tbody", 1)[0]
        assert "onerror=alert(1)>" not in page
        assert "\u202e" not in page
    assert np.isfinite(seen.point_nk).all()


def test_a_page_that_would_be_too_large_has_shorter_texts_and_says_so(store, monkeypatch):
    subject = made_pool(store, pool_texts(40))
    whole = len(pages(store, subject)[1]["map"])
    monkeypatch.setattr(selection_map, "LARGEST_PAGE", whole - 100)
    page = pages(store, subject)[1]["map"]
    assert "Texts are shortened to 60 characters to limit the size of the page." in page
    assert max(map(len, unpacked(page)[4])) <= 60


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 90), min_size=2, max_size=6), st.integers(0, 90))
def test_a_sample_is_bounded_holds_some_of_each_reason_and_depends_on_ids_alone(counts, chosen):
    reasons = [(f"reason {n}", "rejected", count) for n, count in enumerate(counts)]
    rows = [
        (f"{r}{n:031x}", v, r) for r, v, count in [*reasons, ("in", "selected", chosen)] for n in range(count)
    ]
    frame = pl.DataFrame(
        rows,
        schema=["doc_id", "verdict", "reason"],
        orient="row",
        schema_overrides=dict.fromkeys(("doc_id", "verdict", "reason"), pl.String),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seeing, "MOST_DOCUMENTS", 100)
        patch.setattr(seeing, "MOST_CHOSEN", 40)
        patch.setattr(seeing, "FEWEST_A_REASON", 5)
        found, again = sampled(frame, 0), sampled(frame.reverse(), 0)
    assert found.equals(again)
    assert found["doc_id"].is_sorted()
    assert len(found) <= 100
    # What a reason does not use of its least share stays free.
    assert len(found) == len(frame) or len(found) >= 100 - 6 * len(reasons)
    for reason, _verdict, count in reasons:
        assert (found["reason"] == reason).sum() >= min(count, 5)
    assert (found["verdict"] == "selected").sum() >= min(chosen, 40)


def test_the_documents_page_names_both_sides_of_the_cut_and_likely_mistakes(store, read_page):
    seen, made = pages(store, made_pool(store, pool_texts(60)))
    text = read_page(made["browse"])
    ranked = seen.decisions.drop_nulls("rank").sort("rank")
    inside, outside = (
        ranked.filter(pl.col("verdict") == "selected"),
        ranked.filter(pl.col("verdict") != "selected"),
    )
    for doc_id in [*inside.tail(25)["doc_id"], *outside.head(25)["doc_id"]]:
        assert doc_id in made["browse"]
    near = outside.head(50)
    parts = re.findall(
        r'data-part="(likely mistakes[^"]*)"[^>]*>.*?<code>([0-9a-f]{32})', made["browse"], re.S
    )
    best = near.filter(pl.col("doc_id").is_in([one for part, one in parts if "outside" in part]))
    assert len(best) == 10
    assert best["quality"].min() >= near["quality"].sort(descending=True)[9]
    last = inside["doc_id"][-1]
    assert f"best: selected, within budget, rank {len(inside)}," in text
    assert last in text
    assert "drawn: near duplicate" in text


def test_the_documents_page_says_how_often_a_document_is_repeated(store, read_page):
    subject = made_pool(store, pool_texts(30))
    counted = subject.decisions.with_columns(training_count=pl.when(pl.col("rank") == 1).then(3).otherwise(1))
    page = browse_page(store, look_at(store, replace(subject, decisions=counted)), FiltersSection(), LINKS)
    assert "3 times in the training set" in read_page(page)


def test_shares_of_the_mix_are_of_bytes_and_sum_to_one(store, read_page, monkeypatch):
    monkeypatch.setattr(seeing, "MOST_A_SPAN", 7)
    subject = made_pool(store, pool_texts(30))
    before = Before(version=4, doc_ids=pl.Series([*subject.decisions["doc_id"][:7], "f" * 32]))
    seen, made = pages(store, subject, before)
    text = read_page(made["mix"])
    assert "The previous version is version 4, without 1 document that left the pool since." in text
    chosen = seen.decisions.filter(pl.col("verdict") == "selected")
    for source, bytes_of in chosen.group_by("source").agg(pl.col("n_bytes").sum()).iter_rows():
        share = bytes_of / chosen["n_bytes"].sum()
        assert re.search(rf"source {source} [\d.]+ % – {100 * share:.1f} %", text)
    rows = re.findall(r"topic [^%]*?([\d.]+) % ([\d.]+) % ([\d.]+) % ([\d.]+) %", text)
    assert np.allclose(np.array(rows, dtype=float).sum(axis=0), 100, atol=0.5)


def test_a_withdrawal_finds_each_page_by_each_document_and_example_on_it(tmp_path):
    home = Home(tmp_path / "home")
    subject = made_pool(home.store, pool_texts(12))
    seen, made = pages(home.store, subject)
    home.reports.mkdir(parents=True)
    for name, content in made.items():
        (home.reports / f"{name}_best.html").write_text(content)
    for doc_id in seen.points["doc_id"]:
        assert home.reports / "map_best.html" in pages_naming(home, [doc_id])
    assert pages_naming(home, ["0" * 32]) == []


def test_a_withdrawal_finds_the_mix_by_documents_whose_words_name_its_topics(tmp_path):
    """The project stores no topics: a word that few documents hold finds the page by each of them."""
    home = Home(tmp_path / "home")
    rare = [f"zebra zebra zebra stripes {n}" for n in range(WITNESSES - 1)]
    subject = made_pool(home.store, pool_texts(25, [*rare, *(f"zebra {n}" for n in range(20))]))
    seen, made = pages(home.store, subject)
    named = dict(enumerate(seen.topics))
    words = seen.points.with_columns(word=pl.col("topic").replace_strict(named).str.split(", ")).explode(
        "word"
    )
    within = words.filter(pl.col("text").str.contains(pl.col("word"), literal=True))
    found = within.group_by("topic", "word").agg("doc_id")
    assert "stripes" in found["word"].to_list()
    assert len(found) > 3
    home.reports.mkdir(parents=True)
    mix = home.reports / "mix_best.html"
    mix.write_text(made["mix"])
    assert all(pages_naming(home, doc_ids) == [mix] for doc_ids in found["doc_id"])
    for doc_id in found.filter(word="stripes")["doc_id"].item():
        assert pages_naming(home, [doc_id]) == [mix]
    others = set(seen.points["doc_id"]) - set(within["doc_id"])
    assert others
    assert pages_naming(home, sorted(others)) == []


def test_what_a_script_holds_runs_alone_and_json_cannot_end_it():
    assert script_policy("map.js").startswith("'sha256-")
    text = str(as_json([HOSTILE, "https://a.example"]))
    assert not set("<>&") & set(text)
    assert "://" not in text
    assert json.loads(text) == [HOSTILE, "https://a.example"]


def test_heads_are_one_line_without_marks_that_turn_or_hide_words():
    text = pl.DataFrame({"text": ["a\nb\t\x00c\u202ed\u2066e\ufefff", None, "y" * 200]})
    assert text.select(clean(pl.col("text"), 80))["text"].to_list() == ["a b c d e f", "", "y" * 80]


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), max_size=30))
def test_places_fit_the_page_whatever_they_are(places):
    found = fitted(np.array(places, dtype=float).reshape(-1, 2))
    assert found.shape == (2, len(places))


def test_the_licence_of_a_document_is_that_of_the_first_place_that_states_one(store):
    texts = pool_texts(1)[:2]
    ids = write_pool(store, texts)
    stated = [("b__x", 0, "apache"), ("a__x", 10, "mit"), ("a__x", 9, "zlib"), ("a__x", 2, None)]
    places = [
        {"doc_id": ids[0], "shard": shard, "row": row, "licence": licence} for shard, row, licence in stated
    ]
    places.append({"doc_id": ids[1], "shard": "a__x", "row": 1})
    store.append("occurrences", rows_of("occurrences", places))
    found = documents_known(store)
    assert dict(found.select("doc_id", "licence").iter_rows()) == {ids[0]: "zlib", ids[1]: None}
