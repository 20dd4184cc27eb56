"""Losses of the home that a person lets go: tables that nothing can make again, and earlier records."""

from collections.abc import Collection

import dagster as dg

from tamis.base.numbers import counted
from tamis.graph.removal_names import ALL, RECORDS, TABLE, with_kind
from tamis.platform.resources.events import logged_events
from tamis.records.current_values import read_current_values
from tamis.records.losses import ALLOWED, go_on_without, lost_tables, note_records
from tamis.records.manifest import ManifestFolder
from tamis.records.receipts import ASSET, receipt_ids, receipt_problems
from tamis.store.home import Home


def let_go(home: Home, instance: dg.DagsterInstance, allowed: Collection[str]) -> list[str]:
    """Go on without what is lost and named by a person; return a line for each loss that was let go.

    The caller holds the writer's lock.
    """
    lines = []
    tables = [one for one in lost_tables(home) if ALL in allowed or with_kind(TABLE, one) in allowed]
    if tables:
        go_on_without(home, tables)
        lines += [f"going on without what table {table} said" for table in tables]
    found = {} if {ALL, RECORDS}.isdisjoint(allowed) else _lost(home, instance)
    if count := note_records(home, found, ALLOWED):
        records = counted(count, "record")
        lines.append(f"{records} of earlier results noted as lost; audits no longer look for them")
    return lines


def _lost(home: Home, instance: dg.DagsterInstance) -> dict[str, tuple[str, str]]:
    """Return (asset, partition) of the records that cannot be read any more, by id, but for current ones.

    Those are named by the event log, by other records and by withdrawals.
    """
    folder, named = ManifestFolder.of(home), dict[str, tuple[str, str]]()
    ids = folder.ids()
    readable = folder.readable(ids)
    for event in logged_events(instance, home, copies=False):
        named.setdefault(event.manifest, (event.asset, event.partition))
    for manifest in readable.values():
        for one in manifest.inputs:
            named.setdefault(one.manifest, (one.asset, one.partition))
    named |= dict.fromkeys(receipt_ids(home.store), (ASSET, ""))
    named |= {one: named.get(one, ("manifest", "")) for one in ids}
    current = {value.manifest for value in read_current_values(home.store).values()}
    lost = {one: entry for one, entry in named.items() if one and one not in readable and one not in current}
    altered = [one for one in receipt_ids(home.store) if one in readable and receipt_problems(home, one)]
    return lost | dict.fromkeys(altered, (ASSET, ""))
