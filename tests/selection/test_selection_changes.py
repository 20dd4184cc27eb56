"""What changed between two versions: every cause, and that those in and out are all that differs."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tamis.selection import select
from tamis.selection.changes import COLUMNS, changes

SCHEMA = {
    "doc_id": pl.String,
    "verdict": pl.String,
    "reason": pl.String,
    "rank": pl.Int64,
    "margin": pl.Float64,
    "duplicate_of": pl.String,
    "detail": pl.String,
    "density": pl.Float64,
}
NOBODY = pl.DataFrame(schema={"doc_id": pl.String})


def decisions(**rows) -> pl.DataFrame:
    """doc_id=(reason, rank, density[, duplicate_of or detail])."""
    made = []
    for doc_id, (reason, rank, density, *more) in rows.items():
        verdict = "selected" if reason == "within_budget" else "rejected"
        duplicate_of = more[0] if reason == "near_duplicate" else None
        detail = more[0] if more and reason != "near_duplicate" else None
        made.append((doc_id, verdict, reason, rank, -1.0 * (rank or 0), duplicate_of, detail, density))
    return pl.DataFrame(made, schema=SCHEMA, orient="row")


IN, OUT = "within_budget", "over_budget"


def causes(before: pl.DataFrame, after: pl.DataFrame, withdrawn=NOBODY) -> dict[str, tuple[str, str]]:
    found = changes(before, after, withdrawn)
    assert found.columns == list(COLUMNS)
    return {doc_id: (change, cause) for doc_id, change, cause in found.select(*COLUMNS[:3]).iter_rows()}


def test_documents_that_come_and_go():
    before = decisions(a=(IN, 1, 0.1), b=(IN, 2, 0.2), c=(OUT, 3, 0.3))
    after = decisions(n=(IN, 1, 0.0), c=(IN, 2, 0.3))
    taken_back = pl.DataFrame({"doc_id": ["b"]})
    assert causes(before, after, taken_back) == {
        "a": ("out", "removed_document"),
        "b": ("out", "withdrawn"),
        "n": ("in", "new_document"),
        "c": ("in", "others"),
    }


def test_reasons_that_exclude_name_themselves_both_ways():
    before = decisions(
        a=(IN, 1, 0.1), b=("near_duplicate", None, 0.2, "x"), c=("source", None, 0.3, "denied")
    )
    after = decisions(a=("licence", None, 0.1, "licence_denied"), b=(IN, 1, 0.2), c=(IN, 2, 0.3))
    found = changes(before, after, NOBODY)
    assert found.select("doc_id", "change", "cause", "detail", "duplicate_of").rows() == [
        ("b", "in", "near_duplicate", None, "x"),
        ("c", "in", "source", "denied", None),
        ("a", "out", "licence", "licence_denied", None),
    ]


def test_the_cut_others_and_a_score_of_its_own():
    before = decisions(a=(IN, 1, 0.1), b=(IN, 2, 0.2), c=(OUT, 3, 0.3), d=(OUT, 4, 0.4))
    more = decisions(a=(IN, 1, 0.1), b=(IN, 2, 0.2), c=(IN, 3, 0.3), d=(OUT, 4, 0.4))
    assert causes(before, more) == {"c": ("in", "budget")}
    assert causes(more, before) == {"c": ("out", "budget")}
    better = decisions(d=(IN, 1, 0.05), a=(IN, 2, 0.1), b=(OUT, 3, 0.2), c=(OUT, 4, 0.3))
    assert causes(before, better) == {"d": ("in", "score"), "b": ("out", "others")}


def test_a_refitted_score_is_not_blamed_where_others_came_or_left():
    before = decisions(a=(IN, 1, 0.1), b=(IN, 2, 0.2), c=(OUT, 3, 0.3))
    came = decisions(a=(IN, 1, 0.11), n=(IN, 2, 0.15), b=(OUT, 3, 0.21), c=(OUT, 4, 0.31))
    assert causes(before, came) == {"n": ("in", "new_document"), "b": ("out", "others")}
    assert causes(came, before) == {"n": ("out", "removed_document"), "b": ("in", "others")}
    swapped = decisions(a=(IN, 1, 0.11), n=(OUT, 4, 0.5), c=(IN, 2, 0.12), b=(OUT, 3, 0.21))
    assert causes(before, swapped) == {"c": ("in", "score"), "b": ("out", "score")}


def test_rank_and_margin_stand_before_and_after():
    before, after = decisions(a=(OUT, 5, 0.1)), decisions(a=(IN, 1, 0.1))
    row = changes(before, after, NOBODY).row(0, named=True)
    assert (row["rank_before"], row["rank_after"]) == (5, 1)
    assert (row["margin_before"], row["margin_after"]) == (-5.0, -1.0)
    assert (row["reason_before"], row["reason_after"]) == ("over_budget", "within_budget")


def test_a_score_that_only_one_version_used_is_a_change_of_score():
    before = decisions(a=(OUT, 5, 0.1)).drop("density")
    after = decisions(a=(IN, 1, 0.1))
    assert causes(before, after) == {"a": ("in", "score")}


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), unique_by=lambda row: row[0]),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), unique_by=lambda row: row[0]),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_in_and_out_lead_from_one_choice_to_the_other(first, second, budget, other):
    made = []
    for rows, size in ((first, budget), (second, other)):
        pool = pl.DataFrame(
            [(f"{doc:032x}", float(score)) for doc, score in rows],
            schema={"doc_id": pl.String, "density": pl.Float64},
            orient="row",
        )
        made.append(select(pool, "random", size) if len(pool) >= size else decisions())
    before, after = (set(one.filter(pl.col("verdict") == "selected")["doc_id"]) for one in made)
    found = changes(*made, NOBODY)
    came = set(found.filter(pl.col("change") == "in")["doc_id"])
    went = set(found.filter(pl.col("change") == "out")["doc_id"])
    assert (before - went) | came == after
    assert came.isdisjoint(before)
    assert went <= before
    assert found["cause"].null_count() == 0
