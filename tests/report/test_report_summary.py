"""The summary of a run: what trials bought, of those that are asked for, by target."""

from typing import Any

import polars as pl
import pytest
from projects import manifest_of, plain_project, record, rows_of, selection, settings, target

from tamis.report.summary import _mix, pool_line, selection_lines, trial_lines

MODEL = '\n[[base_model]]\nname = "m"\npreset = "llama-0.3m"\n'
COMPARED = '\n[comparison]\nmodel = "m"\nselections = ["a", "b"]\n'


def test_trials_are_shown_that_are_asked_for_and_by_the_target_they_were_measured_on(tmp_path):
    chosen = [selection(name, "random", 1, target=of) for name, of in (("a", "goal"), ("b", "other"))]
    text = settings(target(), target("other"), *chosen) + MODEL + COMPARED
    made = plain_project(tmp_path, text)

    def trial(name: str, data: str, loss: float, of: str) -> dict[str, Any]:
        record(made.home, "trials", name, inputs=[manifest_of("target_examples", of)])
        cost = {"size": 1, "tokens": 9, "zero_shot_bits_per_byte": 3.0}
        return {"trial": name, "kind": "warm_up", "model": "m", "data": data, **cost} | {
            "held_out_bits_per_byte": loss
        }

    rows = [
        trial("warm-up__m__b", "b", 1.0, "other"),
        trial("warm-up__m__a", "a", 2.0, "goal"),
        trial("warm-up__old__a", "a", 0.5, "goal"),
    ]
    made.store.append("trials", rows_of("trials", rows))
    assert [line.partition(" (")[0] for line in trial_lines(made.project)] == [
        "Warm-up of m on a, measured on goal: held-out target loss 3.000 -> 2.000 bits per byte",
        "Warm-up of m on b, measured on other: held-out target loss 3.000 -> 1.000 bits per byte",
    ]
    made.reconfigure('selections = ["a", "b"]', 'selections = ["a"]')
    assert [line.partition(" (")[0] for line in trial_lines(made.project)] == [
        "Warm-up of m on a: held-out target loss 3.000 -> 2.000 bits per byte",
    ]
    record(made.home, "trials", "warm-up__m__a", inputs=[manifest_of("target_examples", "other")])
    assert trial_lines(made.project) == [], "of a target that the selection had before"


OTHERS = "of the pool's other near-duplicates"


def row(doc_id: str, reason: str, rank: int | None = None) -> dict[str, Any]:
    verdict = "selected" if reason == "within_budget" else "rejected"
    return {"selection": "a", "doc_id": doc_id, "verdict": verdict, "reason": reason, "rank": rank}


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        (["near_duplicate"] * 4, "4 near duplicate"),
        (
            ["near_duplicate", "heuristic", "target_example", "over_budget"],
            f"1 near duplicate ({OTHERS}, 2 are dropped for a reason that comes first and 1 takes the place "
            "of one that may not be chosen)",
        ),
        (
            ["near_duplicate", "near_duplicate", "contaminated", "near_duplicate"],
            f"3 near duplicate ({OTHERS}, 1 is dropped for a reason that comes first)",
        ),
    ],
)
def test_the_pool_and_a_selection_count_the_same_near_duplicates(tmp_path, monkeypatch, reasons, said):
    made = plain_project(tmp_path, settings(selection("a", "random", 1)))
    store = made.store
    store.append("near_duplicates", rows_of("near_duplicates", [{"doc_id": d, "kept": "k"} for d in "abc"]))
    store.append("near_copies", rows_of("near_copies", [{"doc_id": "d", "kept": "k"}]))
    assert pool_line(store).endswith("; 4 near-duplicates set aside.")
    rows = [row(one, reason) for one, reason in zip("abcd", reasons, strict=True)]
    decided = rows_of("decisions", [*rows, row("k", "within_budget", 1)])
    monkeypatch.setattr("tamis.report.summary.published", lambda *_: "this version")
    monkeypatch.setattr("tamis.report.summary.read_decisions", lambda *_: decided)
    lines = selection_lines(made.project, made.project.settings.selection[0])
    (line,) = (line for line in lines if "; dropped: " in line)
    assert said in line.split("dropped: ")[1]


def test_a_source_with_little_of_the_choice_is_not_said_to_have_none(tmp_path, monkeypatch):
    made = plain_project(tmp_path, settings(selection("a", "random", 1)))
    sources = pl.DataFrame({"doc_id": [str(n) for n in range(400)], "source": ["web"] * 399 + ["excel"]})
    monkeypatch.setattr("tamis.report.summary.stored_sources", lambda *_: sources)
    assert _mix(made.store, sources["doc_id"].to_list()) == "web over 99 %, excel under 1 %"
