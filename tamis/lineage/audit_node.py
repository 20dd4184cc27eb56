"""What an audit says: a node for each record, with four verdicts, and the whole of them."""

from dataclasses import asdict, dataclass, field
from typing import Any

from tamis.lineage.manifest import canonical_json
from tamis.lineage.plan import label
from tamis.store.digests import canonical_digest

Verdict = bool | None
RED, AMBER, GREEN = "red", "amber", "green"


@dataclass(kw_only=True)
class Node:
    """One record of the graph; a verdict is None where it was not checked.

    Records are manifests, and beside them the tables whose rows carry seals (asset `table`). `withdrawn`: how
    many of the documents that it lists were withdrawn since. `data_version`: of the value that was recorded.
    """

    manifest: str
    asset: str
    partition: str
    reachable: Verdict = True
    intact: Verdict = None
    consistent: Verdict = True
    current: Verdict = True
    withdrawn: int = 0
    data_version: str = ""
    details: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """`asset[partition]`."""
        return label(self.asset, self.partition)

    @property
    def status(self) -> str:
        """red, amber or green."""
        if False in (self.reachable, self.intact, self.consistent):
            return RED
        return GREEN if self.current and not self.withdrawn else AMBER

    def unreachable(self, detail: str) -> None:
        """Its record is missing, or was altered."""
        self.reachable = False
        self.details.append(detail)

    def altered(self, detail: str) -> None:
        """What is stored is not what the record states."""
        self.intact = False
        self.details.append(detail)

    def contradicted(self, detail: str) -> None:
        """Index, event log and record do not agree."""
        self.consistent = False
        self.details.append(detail)

    def outdated(self, detail: str) -> None:
        """It would be made again now, or something else stands in its place."""
        self.current = False
        self.details.append(detail)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Nodes by manifest id, inputs before what was made of them."""

    nodes: dict[str, Node]
    roots: list[str]

    @property
    def status(self) -> str:
        """The worst status of any node."""
        found = {node.status for node in self.nodes.values()}
        return next((status for status in (RED, AMBER) if status in found), GREEN)

    def lowest_broken(self) -> list[Node]:
        """Red nodes none of whose inputs is red: where the trouble starts; without any, the lowest amber.

        A byte of a raw file that somebody altered and one that its owner edited are the same to see: amber.
        """
        worst = self.status
        bad = {key for key, node in self.nodes.items() if node.status == worst and worst != GREEN}
        return [node for key, node in self.nodes.items() if key in bad and not bad.intersection(node.inputs)]

    @property
    def version(self) -> str:
        """Digest of what was found, which no clock changes.

        Records count by what they hold: their ids, which the page shows, count pages with seconds.
        """
        found = [
            {name: value for name, value in asdict(node).items() if name not in ("manifest", "inputs")}
            | {"inputs": sorted(self.nodes[key].name for key in node.inputs if key in self.nodes)}
            for node in self.nodes.values()
        ]
        return canonical_digest("\n".join(sorted(map(canonical_json, found))))

    def to_json(self) -> dict[str, Any]:
        """The audit as JSON values."""
        nodes = [
            {"id": key, **asdict(node), "name": node.name, "status": node.status}
            for key, node in self.nodes.items()
        ]
        broken = [node.name for node in self.lowest_broken()]
        return {"status": self.status, "roots": self.roots, "lowest_broken": broken, "nodes": nodes}
