"""A choice compared with a random one: what is compared, and when the choice is said to look noisy."""

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from tamis.report.broken import LOOKED_AT
from tamis.report.mix import random_baseline
from tamis.report.selection import selection_page
from tamis.report.selection_data import selection_report
from tamis.selection import select
from tamis.settings.sections import FiltersSection, SelectionSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

SECTION = SelectionSection(name="best", sampler="random", budget=100)


NOTICES = (
    "{site} uses small files on your device to remember what you like.",
    "Please switch on scripts in your browser to read this page on {site}.",
    "No part of {site} may be copied without written permission of the owners.",
)
THINGS = ["river", "wind", "price", "crowd", "noise", "smoke", "snow", "light", "field", "market"]
PLACES = [
    "bridge",
    "harbour",
    "village",
    "station",
    "chapel",
    "garden",
    "valley",
    "school",
    "factory",
    "theatre",
]
TIMES = ["night", "morning", "spring", "storm", "war", "winter", "holiday", "evening", "drought", "election"]


def text_of(number: int) -> str:
    if number % 5 == 0:
        return " ".join(f"{number * place * 1.37:.2f}" for place in range(1, 20))
    draw = random.Random(number)
    thing, place, time = (draw.choice(words) for words in (THINGS, PLACES, TIMES))
    return (
        f"The {thing} rose near the {place} in the {time}, and nobody in the {draw.choice(PLACES)} had "
        f"expected a {draw.choice(THINGS)} of this kind before the {draw.choice(TIMES)}."
    )


def notice_of(number: int) -> str:
    return "\n".join(NOTICES).format(site=f"{PLACES[number % 10]} {THINGS[number // 10]}".title())


@pytest.fixture
def store(tmp_path) -> Store:
    """A pool of 500 documents, each fifth of numbers."""
    return store_of(tmp_path, [text_of(number) for number in range(500)])


def store_of(tmp_path: Path, texts: Sequence[str]) -> Store:
    made = Store(tmp_path / "lance")
    ids = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
    columns = {"doc_id": ids, "text": texts, "n_chars": [len(text) for text in texts]}
    put(made, "documents", columns)
    put(made, "occurrences", {"doc_id": ids, "shard": [f"web__{number % 4}" for number in range(500)]})
    return made


def put(store: Store, name: str, columns: dict) -> None:
    schema = schema_of(name)
    count = len(columns["doc_id"])
    arrays = [pa.array(columns.get(field.name, [None] * count), field.type) for field in schema]
    store.overwrite(name, pa.table(arrays, schema=schema))


def chosen(store: Store, wanted: pl.Expr) -> pl.DataFrame:
    """Decisions that choose 100 documents, those first of which this holds."""
    pool = store.read("documents", ["doc_id", "text"]).sort(~wanted, "doc_id").select("doc_id")
    decided = select(pool, "random", 100)
    order = pool.with_row_index("place", offset=1)
    ranked = decided.drop("rank", "verdict").join(order, on="doc_id").rename({"place": "rank"})
    verdict = pl.when(pl.col("rank") <= 100).then(pl.lit("selected")).otherwise(pl.lit("rejected"))
    return ranked.with_columns(verdict=verdict)


NUMBERS = pl.col("text").str.contains(r"^\d")


def test_a_noisy_choice_is_said_to_be_one_on_the_page(store, read_page):
    report = selection_report(store, SECTION, chosen(store, NUMBERS), FiltersSection())
    found = {name: (ours, drawn) for name, ours, drawn in report.baseline.rows}
    assert found["documents"] == ("100", "100")
    assert float(found["characters, median"][0]) > float(found["characters, median"][1])
    assert found["sources"] == ("4", "4")
    assert report.baseline.looked_at == (100, 100)
    ours, drawn = report.baseline.noisy
    assert ours == 100
    assert drawn == pytest.approx(20, abs=12)  # the pool's share
    assert found["share of checked texts that these rules would drop"] == ("100.0 %", f"{drawn}.0 %")
    assert "would drop 100 % of the choice (100 of 100 texts checked)" in report.baseline.noise
    text = read_page(selection_page(report))
    assert "Looks noisy: the rules for noise and boilerplate would drop 100 % of the choice" in text


def test_pages_of_notices_count_whatever_name_each_site_puts_into_them(tmp_path):
    """Of the pool a tenth, of the choice a half; the rules against noise alone would find none."""
    texts = [text_of(number) for number in range(600) if number % 5][:450]
    made = store_of(tmp_path, [*texts, *map(notice_of, range(50))])
    sources = made.read("occurrences", ["doc_id", "shard"]).rename({"shard": "source"})
    decided = chosen(made, pl.col("text").str.contains("small files on your device"))
    found = random_baseline(made, decided, sources, None, FiltersSection())
    assert found.looked_at == (100, 100)
    assert found.noisy[0] == 50
    assert found.noisy[1] == pytest.approx(10, abs=9)
    some = FiltersSection(heuristics=("noise",))
    assert random_baseline(made, decided, sources, None, some).noisy == found.noisy
    others = FiltersSection(heuristics=("boilerplate",))
    assert random_baseline(made, decided, sources, None, others).noisy == (0, 0)


def test_nothing_is_measured_or_said_where_the_rules_are_on(store, read_page):
    on = FiltersSection(heuristics=("noise", "boilerplate"))
    report = selection_report(store, SECTION, chosen(store, NUMBERS), on)
    assert (report.baseline.noise, report.baseline.looked_at) == (None, (0, 0))
    text = read_page(selection_page(report))
    assert "Looks noisy" not in text
    assert "Compared with a random choice of the same size" in text


def test_a_sound_choice_from_a_noisy_pool_is_not_called_noisy(store):
    found = selection_report(store, SECTION, chosen(store, ~NUMBERS), FiltersSection()).baseline
    assert (found.noisy[0], found.noise) == (0, None)
    assert found.noisy[1] == pytest.approx(20, abs=12)


def test_a_sound_choice_from_a_sound_pool_is_not_called_noisy(store):
    sound = chosen(store, ~NUMBERS).join(
        store.read("documents", ["doc_id", "text"]).filter(~NUMBERS), on="doc_id"
    )
    sources = store.read("occurrences", ["doc_id", "shard"]).rename({"shard": "source"})
    found = random_baseline(store, sound.drop("text"), sources, None, FiltersSection())
    assert (found.noisy, found.noise) == ((0, 0), None)
    assert found.looked_at == (100, 100)
    assert LOOKED_AT >= 100
