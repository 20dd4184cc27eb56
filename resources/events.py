"""What Dagster's event log says: the manifest named by the latest event of each partition."""

import dagster as dg

from tamis.lineage.heads import Heads


def manifests_of_events(instance: dg.DagsterInstance, heads: Heads) -> dict[tuple[str, str], str]:
    """Manifest named by the latest materialization of each (asset, partition) that the index knows."""
    found: dict[tuple[str, str], str] = {}
    for asset in {asset for asset, _partition in heads}:
        wanted = {partition for name, partition in heads if name == asset}
        cursor = None
        while wanted:
            page = instance.fetch_materializations(dg.AssetKey(asset), limit=500, cursor=cursor)
            for record in page.records:
                event = record.asset_materialization
                partition = record.partition_key or ""
                if event is not None and partition in wanted:
                    wanted.discard(partition)
                    found[(asset, partition)] = (
                        str(event.metadata["manifest"].value) if ("manifest" in event.metadata) else ""
                    )
            if not page.has_more:
                break
            cursor = page.cursor
    return found
