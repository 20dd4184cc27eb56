"""Withdrawals in a plan: only the shard or target that holds the document is due; none once it is undone."""

import pytest

from tamis.graph.plan import full_plan


@pytest.mark.parametrize(("asset", "partition"), [("documents", "web__a"), ("target_examples", "goal")])
def test_only_what_holds_it_is_due(imagined, asset, partition):
    imagined.materialize()
    snapshot = imagined.snapshot()
    assert full_plan(snapshot, imagined.current) == []
    withdrawn = snapshot.with_withdrawn(asset, {partition: "a digest"})
    first = [
        (due.asset, due.partition) for due in full_plan(withdrawn, imagined.current) if not due.waits_for
    ]
    assert first == [(asset, partition)]
    assert full_plan(withdrawn.with_withdrawn(asset, {partition: None}), imagined.current) == []
    assert snapshot.with_withdrawn(asset, {partition: None}) is snapshot
