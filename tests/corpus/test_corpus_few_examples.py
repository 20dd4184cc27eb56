"""Targets with few examples are named, others are not."""

import pyarrow as pa

from tamis.corpus.targets import FEW, few_examples
from tamis.store.schemas import schema_of
from tamis.store.tables import Store


def test_a_target_with_few_examples_to_choose_by_is_named(tmp_path):
    store = Store(tmp_path)
    assert few_examples(store) == []
    sizes = {"small": (FEW - 1, FEW), "large": (FEW, 1)}
    schema = schema_of("target_examples")
    rows = [
        {"target": target, "doc_id": f"{target}{split}{number}", "split": split}
        for target, counts in sizes.items()
        for split, count in zip(("train", "held_out"), counts, strict=True)
        for number in range(count)
    ]
    store.overwrite("target_examples", pa.Table.from_pylist(rows, schema=schema))
    (said,) = few_examples(store)
    assert said.startswith(f"target small: {FEW - 1} examples in train;")
