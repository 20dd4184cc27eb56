"""The removal job: deletes what left the corpora and tamis.toml, and what a person let go.

Sensors only request it, and `tamis materialize` runs it before everything else. What is held back stays, but
for the names in the run tag `tamis/allow_removal` (separated by commas, or `all`). A name that fits losses of
several kinds removes nothing: the run fails and says which names tell them apart.
"""

import dagster as dg

from tamis.graph.plan import label
from tamis.platform.resources.store import StoreResource
from tamis.records.current_values import read_current_values
from tamis.retention.held_back import held_back
from tamis.retention.reconciled import remove
from tamis.runtime.events import let_go
from tamis.runtime.opening import LOCK_PATIENCE_SECONDS
from tamis.runtime.runs import (
    ALLOW_REMOVAL_TAG,
    allowed_removals,
    note_process,
    register_partitions,
)
from tamis.scan.sources import permitted, scan, scan_again
from tamis.store.home import writing
from tamis.store.unwritable import storing

SHOWN = 20


@dg.op
def remove_what_left(context: dg.OpExecutionContext, store: StoreResource) -> None:
    """Remove values of shards and names that are gone, and unregister their partitions."""
    note_process(context.instance, context.run)
    home = store.home
    with writing(home, f"removal, run {context.run_id[:8]}", LOCK_PATIENCE_SECONDS), storing(home.root):
        allowed = permitted(store.project, allowed_removals(context.run))
        for line in let_go(home, context.instance, allowed):
            context.log.info(line)
        snapshot = scan(store.project, allowed=allowed)
        register_partitions(context.instance, snapshot, remove=False)  # notes which are this home's
        gone = [label(*entry) for entry in remove(snapshot, read_current_values(home.store))]
        register_partitions(context.instance, snapshot)
        current = read_current_values(home.store)
        held = held_back(scan_again(snapshot, current), current)
    more = f" and {len(gone) - SHOWN} more" if len(gone) > SHOWN else ""
    context.log.info(f"removed: {', '.join(gone[:SHOWN]) or 'nothing'}{more}")
    for one in held:
        context.log.warning(one.line)


@dg.job(
    description="Remove the results of files and of sections of tamis.toml that are gone. Results that are "
    f"held back are kept, unless the run's tag {ALLOW_REMOVAL_TAG} names them or is `all`."
)
def removal() -> None:
    """Remove what is gone."""
    remove_what_left()
