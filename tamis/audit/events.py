"""The event log against the records: no materialization without a manifest, no manifest without one.

Each event states its manifest, data version and input key in tags of its own and displays them with counts
and times; what it says must be what the manifest says, and of each value the latest event must name the
manifest that the index names.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tamis.audit.records import Records
from tamis.audit.verdicts import Node
from tamis.graph.plan import label
from tamis.records.current_values import TABLE as INDEX
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import Manifest, ManifestError, canonical_json
from tamis.store.digests import canonical_digest

TAG_DIGITS = 32
"""Tags of events end at 63 characters."""


@dataclass(frozen=True, kw_only=True)
class LoggedEvent:
    """One materialization as the event log answers for it.

    `metadata`: displayed texts and numbers by name; `displayed`: the digest of all that is displayed.
    `again`: logged a second time, since the log had been lost. `differences`: what one table of the log says
    of it and another one does not.
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
    """Return what an event says of a manifest, beside Dagster's own tags; `displayed`: of its metadata."""
    tags = {
        "tamis/manifest": manifest.id[:TAG_DIGITS],
        "tamis/input_key": manifest.input_key[:TAG_DIGITS],
        "tamis/metadata": displayed[:TAG_DIGITS],
    }
    # Manifests made before there was this tag do not say how they are formed.
    return tags | ({"tamis/beside": beside_digest(manifest)} if "form" in manifest.beside else {})


def displayed_digest(displayed: Mapping[str, Any]) -> str:
    """Return the digest of displayed metadata, whatever the order of its entries."""
    return canonical_digest(json.dumps(displayed, sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def beside_digest(manifest: Manifest) -> str:
    """Digest of what stands beside a manifest, which its own id leaves out."""
    return canonical_digest(canonical_json(manifest.beside))[:TAG_DIGITS]


def judge_events(
    records: Records,
    nodes: dict[str, Node],
    current: CurrentValues,
    events: Sequence[LoggedEvent] | None,
    whole: bool,
) -> None:
    """Compare each event with its manifest, and the latest ones with the index.

    Unless `whole`, only those of the nodes; no events at all (None) are no reason for a verdict.
    """
    if events is None:
        return
    latest: dict[tuple[str, str], str] = {}
    judged: set[str] = set()
    for event in events:
        latest.setdefault((event.asset, event.partition), event.manifest)
        if event.manifest in nodes or whole:
            _judge_event(records, nodes, event, again=event.manifest in judged)
        judged.add(event.manifest)
    if whole and events and not current:
        nodes["index"] = Node(manifest="", asset="table", partition=INDEX)
        nodes["index"].contradicted(
            f"it is empty, while the event log holds {len(events)} materializations; "
            "`tamis materialize` makes everything again"
        )
    logged = {event.manifest for event in events}
    begun_anew = any(event.again for event in events)
    for node in nodes.values():
        value = current.get((node.asset, node.partition))
        if value is not None and value.manifest == node.manifest and value.finished:
            said = latest.get((node.asset, node.partition))
            if said != node.manifest:
                node.contradicted(
                    f"the event log names manifest {(said or 'none')[:16]}, the index {node.manifest[:16]}"
                )
        elif node.manifest not in logged and node.reachable and not begun_anew:
            node.outdated("the event log no longer holds its materialization")


def judge_empty_log(nodes: dict[str, Node], place: str) -> None:
    """Say of a machine that has made nothing itself that there was no event log to compare with."""
    nodes["event log"] = Node(manifest="", asset="event log", partition="")
    nodes["event log"].outdated(
        f"it is empty on this machine, so what lies in {place} was checked without it; the next `tamis "
        "materialize` here fills it from the index of what was made. Machines that share one database have "
        "one log (docs/postgresql.md)"
    )


def _judge_event(records: Records, nodes: dict[str, Node], event: LoggedEvent, again: bool) -> None:
    wrong = _wrong(records, event, again)
    if not wrong:
        return
    node = nodes.setdefault(
        event.manifest or label(event.asset, event.partition),
        Node(manifest=event.manifest, asset=event.asset, partition=event.partition),
    )
    node.contradicted("; ".join(wrong))


def _wrong(records: Records, event: LoggedEvent, again: bool) -> list[str]:
    """Return what an event says that its manifest does not.

    `again`: a later event names the same manifest. It may have been lost and made again in between, with
    another clock beside it, so only the later event speaks of that.
    """
    found = list(event.differences)
    if not event.manifest:
        return [*found, "a materialization in the event log names no manifest"]
    try:
        manifest = records.read(event.manifest)
    except ManifestError as error:
        return [*found, f"a materialization in the event log names a manifest that fails: {error}"]
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
        found.append(f"its materialization is logged as {label(event.asset, event.partition)}")
    found += [f"its materialization has lost the tag {name}" for name in lacking]
    found += [f"its materialization's tag {name} says {said[name][:16]}" for name in differing]
    return [*found, *_wrongly_displayed(event, manifest, again)]


def _wrongly_displayed(event: LoggedEvent, manifest: Manifest, again: bool) -> Iterator[str]:
    """Compare the displayed row count, table, version, seconds and keys with the manifest."""
    stated: dict[str, Any] = {"input_key": manifest.input_key}
    stated |= dict.fromkeys(("dagster/row_count", "dagster/partition_row_count"), manifest.row_count)
    table = next(iter(manifest.rows), None)
    stated["dagster/table_name"] = table
    if not again and manifest.beside.get("run_id") == event.run_id:
        # A manifest that was there already keeps the times and versions of the run that made it first.
        stated["seconds"] = manifest.beside.get("seconds")
        stated["table_version"] = manifest.beside.get("table_versions", {}).get(table)
    for name, value in stated.items():
        if name in event.metadata and event.metadata[name] != value:
            yield f"its displayed {name} is {str(event.metadata[name])[:60]}, its manifest says {value}"
