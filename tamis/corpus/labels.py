"""Labels of a target: whether there is anything to tell apart, and whether it can be learnt."""

import polars as pl

from tamis.base.errors import PermanentError
from tamis.store.tables import Store


class OneLabelError(PermanentError):
    """Labelled examples that are all of one class."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(
            f"all {count} labelled examples have the same label, so there is nothing to tell apart; "
            "give examples of at least two labels, or name the column that holds them (label_column)"
        )


def require_labels(split: pl.DataFrame) -> None:
    """Raise `OneLabelError` where the examples (split, label) that are trained and measured on have one."""
    used = split.filter(pl.col("split") != "unused")["label"].drop_nulls()
    if used.n_unique() == 1:
        raise OneLabelError(len(used))


def never_learnt(split: pl.DataFrame) -> dict[str, int]:
    """Labels of held-out examples (split, label) that no training example has, and of how many."""
    known = split.filter(split="train")["label"].drop_nulls().implode()
    unknown = split.filter(pl.col("split") == "held_out", pl.col("label").is_not_null())
    counted = unknown.filter(~pl.col("label").is_in(known)).group_by("label").len().sort("label")
    return dict(counted.iter_rows())


def label_warnings(store: Store) -> list[str]:
    """What a person should know of the labels of all targets, a line each."""
    answers = store.read("target_answers", ["target", "doc_id", "label"])
    split = store.read("target_examples", ["target", "doc_id", "split"])
    rows = split.join(answers, on=["target", "doc_id"]).sort("target")
    return [
        f"target {target}: label {label!r} stands in {count} held-out examples and in none of train, so no "
        "model can learn it; add examples of it, or leave it out"
        for (target,), own in rows.group_by("target", maintain_order=True)
        for label, count in never_learnt(own).items()
    ]
