"""Audit of the event log: each materialization must agree with a manifest, and each manifest must have one.

An event has manifest, data version and input key in its tags, and displays counts and times. All of these
must be those of the manifest, and the latest event of each value must name the manifest of its current value.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tamis.audit.records import CURE, Records, node_for
from tamis.audit.verdicts import Node
from tamis.graph.plan import label
from tamis.records.current_values import TABLE as INDEX
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import ELSEWHERE, Manifest, ManifestError, canonical_json
from tamis.records.registered import OF_COMMANDS
from tamis.store.digests import canonical_digest

TAG_DIGITS = 32
"""Digits of a digest in a tag: Dagster's tags may have at most 63 characters."""


@dataclass(frozen=True, kw_only=True)
class LoggedEvent:
    """One materialization as it is in the event log.

    `metadata`: displayed texts and numbers by name; `displayed`: the digest of all displayed metadata.
    `again`: it was logged a second time, after the log had been lost. `differences`: messages on tables of
    the log that disagree about it.
    """

    asset: str
    partition: str
    manifest: str
    tags: Mapping[str, str]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    displayed: str = ""
    run_id: str = ""
    again: bool = False
    differences: Sequence[str] = ()


def event_tags(manifest: Manifest, displayed: str) -> dict[str, str]:
    """Return the tags of Tamis on the event of a manifest; `displayed`: digest of its displayed metadata."""
    tags = {
        "tamis/manifest": manifest.id[:TAG_DIGITS],
        "tamis/input_key": manifest.input_key[:TAG_DIGITS],
        "tamis/metadata": displayed[:TAG_DIGITS],
    }
    # Manifests from before this tag existed have no `form`.
    return tags | ({"tamis/beside": beside_digest(manifest)} if "form" in manifest.beside else {})


def displayed_digest(displayed: Mapping[str, Any]) -> str:
    """Return the digest of displayed metadata, whatever the order of its entries."""
    return canonical_digest(json.dumps(displayed, sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def beside_digest(manifest: Manifest) -> str:
    """Return the digest of the `beside` of a manifest, which its id does not cover."""
    return canonical_digest(canonical_json(manifest.beside))[:TAG_DIGITS]


def judge_events(
    records: Records,
    nodes: dict[str, Node],
    current: CurrentValues,
    events: Sequence[LoggedEvent] | None,
    whole: bool,
) -> None:
    """Compare each event with its manifest, and the latest event of each value with the current value.

    `events`: the latest first, or None where there is no log to compare with. `whole` compares all events,
    not only those of the nodes.
    """
    if events is None:
        return
    latest: dict[tuple[str, str], str] = {}
    judged: set[str] = set()
    for event in events:
        latest.setdefault((event.asset, event.partition), event.manifest)
        again = event.manifest in judged
        if (event.manifest in nodes or whole) and (wrong := _wrong(records, event, again)):
            key = event.manifest or label(event.asset, event.partition)
            node = Node(manifest=event.manifest, asset=event.asset, partition=event.partition)
            nodes.setdefault(key, node).contradicted("; ".join(wrong))
        judged.add(event.manifest)
    if whole and events and not current:
        nodes["index"] = Node(manifest="", asset="table", partition=INDEX)
        nodes["index"].contradicted(
            f"the index of current values is empty, but the event log contains {len(events)} "
            "materializations; `tamis materialize` materializes everything again"
        )
    logged_again = any(event.again for event in events)
    for node in nodes.values():
        value = current.get((node.asset, node.partition))
        if value is not None and value.manifest == node.manifest and value.finished:
            said = latest.get((node.asset, node.partition))
            if said != node.manifest and _is_logged_elsewhere(records, node):
                node.outdated(
                    "its materialization was logged in another instance of Dagster, which is not compared; "
                    "`tamis materialize` logs it in the instance of the home"
                )
            elif said is None:
                node.contradicted(
                    f"the event log lacks the materialization of the current value, manifest "
                    f"{node.manifest[:16]}; `tamis materialize` logs it again"
                )
            elif said != node.manifest:
                node.contradicted(
                    f"the event log names the manifest {said[:16]}, but the index of current values names "
                    f"{node.manifest[:16]}"
                )
        elif node.asset in OF_COMMANDS:
            continue
        elif node.manifest not in judged and node.reachable and not logged_again:
            node.outdated("the event log no longer contains the materialization of this manifest")


def _is_logged_elsewhere(records: Records, node: Node) -> bool:
    return bool(node.reachable and records.read(node.manifest).beside.get(ELSEWHERE))


def judge_empty_log(nodes: dict[str, Node], place: str) -> None:
    """Note, on a machine that has run nothing itself, that there was no event log to compare with."""
    node_for(nodes, "event log", "").outdated(
        f"the event log is empty on this machine, so the content of {place} was checked without the log; the "
        "next `tamis materialize` on this machine fills the log from the index of current values. Machines "
        "that share a database share one event log (docs/postgresql.md)"
    )


def _wrong(records: Records, event: LoggedEvent, again: bool) -> list[str]:
    """Return messages on all differences between an event and its manifest.

    `again`: a later event names the same manifest. In between it may have been lost and made again with other
    times, so only the later event is compared with its `beside`.
    """
    found = list(event.differences)
    if not event.manifest:
        return [*found, "a materialization in the event log names no manifest"]
    try:
        manifest = records.read(event.manifest)
    except ManifestError as error:
        if event.manifest in records.noted:
            return found
        lost = f"a materialization in the event log names a manifest that is missing or altered: {error}"
        return [*found, f"{lost}; {CURE}"]
    expected = event_tags(manifest, event.displayed) | {
        "dagster/data_version": manifest.data_version,
        "dagster/code_version": manifest.code_version,
        "dagster/data_version_is_user_provided": "true",
    }
    if again:
        expected.pop("tamis/beside", None)
    said = {name: event.tags[name] for name in expected if name in event.tags}
    lacking = [] if event.again else [name for name in expected if name not in said]
    differing = [name for name, value in said.items() if value != expected[name]]
    if (manifest.asset, manifest.partition) != (event.asset, event.partition):
        found.append(
            f"the event log records this materialization as one of {label(event.asset, event.partition)}"
        )
    return [
        *found,
        *(f"the materialization in the event log has lost the tag {name}" for name in lacking),
        *(
            f"the materialization in the event log has a wrong value of the tag {name}: {said[name][:16]}"
            for name in differing
        ),
        *_wrongly_displayed(event, manifest, again),
    ]


def _wrongly_displayed(event: LoggedEvent, manifest: Manifest, again: bool) -> Iterator[str]:
    """Yield a message for each displayed count, table, version, time or key that is not the manifest's."""
    table = next(iter(manifest.rows), None)
    stated: dict[str, Any] = {
        "input_key": manifest.input_key,
        "dagster/row_count": manifest.row_count,
        "dagster/partition_row_count": manifest.row_count,
        "dagster/table_name": table,
    }
    if not again and manifest.beside.get("run_id") == event.run_id:
        # A manifest that existed already keeps the times and versions of the run that made it first.
        stated["seconds"] = manifest.beside.get("seconds")
        stated["table_version"] = manifest.beside.get("table_versions", {}).get(table)
    for name, value in stated.items():
        if name in event.metadata and event.metadata[name] != value:
            yield (
                f"the event log displays {name} as {str(event.metadata[name])[:60]}, but the manifest says "
                f"{value}"
            )
