"""What Dagster's event log says: the manifest named by the latest event of each partition."""

from typing import Any

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


def log_again(instance: dg.DagsterInstance, heads: Heads) -> int:
    """Log the materializations that an empty event log lacks, as the index knows them; returns how many.

    A log that holds anything is left alone: what is missing from it is for the audit to report.
    """
    if not heads or instance.get_runs_count() or instance.all_asset_keys():
        return 0
    for head in heads.values():
        tags = {"dagster/data_version": head.data_version, "dagster/data_version_is_user_provided": "true"}
        tags |= {"tamis/manifest": head.manifest[:32], "tamis/input_key": head.input_key[:32]}
        metadata: dict[str, Any] = {
            "manifest": head.manifest,
            "input_key": head.input_key,
            "logged_again": True,
        }
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                head.asset, partition=head.partition or None, metadata=metadata, tags=tags
            )
        )
    return len(heads)
