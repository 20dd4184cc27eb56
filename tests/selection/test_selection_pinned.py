"""An earlier version among the documents of today: what was decided stays, what is gone is named."""

import polars as pl

from tamis.selection.changes import repeated

THEN = pl.DataFrame(
    {
        "doc_id": ["a", "b", "c"],
        "verdict": ["selected", "selected", "rejected"],
        "reason": ["within_budget", "within_budget", "over_budget"],
        "rank": [2, 1, 3],
    }
)


def test_what_was_decided_stays_and_what_came_later_says_so():
    found = repeated(THEN, pl.DataFrame({"doc_id": ["z", "a", "c"]}))
    assert found.gone == ["b"]
    assert found.decisions.rows() == [
        ("a", "selected", "within_budget", 2),
        ("c", "rejected", "over_budget", 3),
        ("z", "rejected", "arrived_later", None),
    ]


def test_what_would_leak_the_evaluation_is_no_longer_chosen():
    reasons = ["held_out_example", "contaminated", "held_out_example"]
    leaking = pl.DataFrame({"doc_id": ["a", "c", "z"], "reason": reasons})
    assert repeated(THEN, THEN.select("doc_id"), leaking).decisions.rows() == [
        ("a", "rejected", "held_out_example", None),
        ("b", "selected", "within_budget", 1),
        ("c", "rejected", "over_budget", 3),
    ]


def test_on_the_same_documents_it_is_the_same():
    assert repeated(THEN, THEN.select("doc_id")).decisions.equals(THEN)
