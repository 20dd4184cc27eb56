"""Selections as runs leave them: rows, manifests and current values, without a run."""

from projects import heads_of, record, rows_of, write_rows

from tamis.records.current_values import CurrentValues
from tamis.store.home import Home

SCOPE = "selection = 'best'"


def doc(number: int) -> str:
    return f"{number:032x}"


def made(home: Home, chosen: list[int], rejected: list[int] = (), inputs: str = "") -> CurrentValues:
    """The selection as a run leaves it: rows, manifests and current values."""
    rows = [
        {"selection": "best", "doc_id": doc(number), "verdict": verdict, "reason": reason, "rank": rank}
        for numbers, verdict, reason in (
            (chosen, "selected", "within_budget"),
            (rejected, "rejected", "over_budget"),
        )
        for rank, number in enumerate(numbers, 1)
    ]
    home.store.replace("decisions", rows_of("decisions", rows), SCOPE)
    digest = write_rows(home, "decisions", SCOPE)
    for asset, version, count, listed in (
        ("decisions", digest, len(rows), {"decisions": digest}),
        ("selected_subset", str(chosen), len(chosen), {}),
    ):
        values = {"data_version": version, "digest": version, "row_count": count, "rows": listed}
        record(home, asset, "best", config={"inputs": inputs}, input_key=inputs, **values)
    return heads_of(home)
