"""Targets with so few examples that a choice by them is a draft.

The transport potential warns under 500, where a choice begins to depend on which examples were drawn; under
100 a person is told wherever the result is looked at.
"""

import polars as pl

from tamis.store.tables import Store

FEW = 100


def few_examples(store: Store) -> list[str]:
    """What a person should know of the sizes of all targets, a line each that is small."""
    rows = store.read("target_examples", ["target"], "split = 'train'")
    counted = rows.group_by("target").len().filter(pl.col("len") < FEW).sort("target")
    return [
        f"target {target}: {count} examples to choose by; with so few the choice depends on which they are: "
        "read it as a draft (1,000 to 2,000 are best)"
        for target, count in counted.iter_rows()
    ]
