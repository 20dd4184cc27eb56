"""A choice compared with a random one: what is compared, and when it is said that the pool looks noisy."""

import hashlib

import polars as pl
import pyarrow as pa
import pytest

from tamis.report.random_baseline import LOOKED_AT, random_baseline
from tamis.report.selection import selection_page
from tamis.report.selection_data import selection_report
from tamis.selection import select
from tamis.settings.sections import FiltersSection, SelectionSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

SECTION = SelectionSection(name="best", sampler="random", budget=100)


def text_of(number: int) -> str:
    if number % 5 == 0:
        return " ".join(f"{number * place * 1.37:.2f}" for place in range(1, 20))
    return f"The river rose to bridge {number} in the night, and nobody in the village had expected it."


@pytest.fixture
def store(tmp_path) -> Store:
    """A pool of 500 documents, each fifth of numbers."""
    made = Store(tmp_path / "lance")
    texts = [text_of(number) for number in range(500)]
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
    found = {name: (ours, random) for name, ours, random in report.baseline.rows}
    assert found["documents"] == ("100", "100")
    assert float(found["characters, median"][0]) > float(found["characters, median"][1])
    assert found["sources"] == ("4", "4")
    assert report.baseline.looked_at == (100, 100)
    ours, random = report.baseline.noisy
    assert ours == 100
    assert random == pytest.approx(20, abs=12)  # the pool's share
    assert found["share of checked texts that the noise rules would drop"] == ("100.0 %", f"{random}.0 %")
    assert "would drop 100 % of the choice (100 of 100 texts checked)" in report.baseline.noise
    text = read_page(selection_page(report))
    assert "Looks noisy: the noise rules would drop 100 % of the choice" in text


def test_nothing_is_measured_or_said_where_the_rules_are_on(store, read_page):
    on = FiltersSection(heuristics=("noise", "boilerplate"))
    report = selection_report(store, SECTION, chosen(store, NUMBERS), on)
    assert (report.baseline.noise, report.baseline.looked_at) == (None, (0, 0))
    text = read_page(selection_page(report))
    assert "Looks noisy" not in text
    assert "Compared with a random choice of the same size" in text


def test_a_sound_choice_from_a_sound_pool_is_not_called_noisy(store):
    sound = chosen(store, ~NUMBERS).join(
        store.read("documents", ["doc_id", "text"]).filter(~NUMBERS), on="doc_id"
    )
    sources = store.read("occurrences", ["doc_id", "shard"]).rename({"shard": "source"})
    found = random_baseline(store, sound.drop("text"), sources, None, FiltersSection())
    assert (found.noisy, found.noise) == ((0, 0), None)
    assert found.looked_at == (100, 100)
    assert LOOKED_AT >= 100
