"""Verdicts of an audit: a node for each record with four verdicts, and the audit as lines for a person."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tamis.base.numbers import counted
from tamis.graph.plan import label
from tamis.records.manifest import canonical_json
from tamis.store.digests import canonical_digest

Verdict = bool | None
RED, AMBER, GREEN = "red", "amber", "green"
SHOWN = 20
ONE_BY_ONE = 3
"""Up to this many nodes of one asset have a line each in the tree; more of them share one."""


@dataclass(kw_only=True)
class Node:
    """One record of the graph; a verdict is None where it was not checked.

    Records are manifests, and tables and files that are checked without one (asset `table` and others, with
    `manifest` ""). `withdrawn`: how many of the listed documents were withdrawn since. `inputs`: keys of
    other nodes.
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
        """`red`, `amber` or `green`."""
        if False in (self.reachable, self.intact, self.consistent):
            return RED
        return GREEN if self.current and not self.withdrawn else AMBER

    def lost(self, same: bool) -> None:
        """Note that the record is known to be lost; `same`: what is current has the same content."""
        self.reachable = None
        if not same:
            self.outdated("its record is noted as lost")

    def unreachable(self, detail: str) -> None:
        """Note that the record is missing or was altered."""
        self.reachable = False
        self.details.append(detail)

    def altered(self, detail: str) -> None:
        """Note that the stored content is not that of the record."""
        self.intact = False
        self.details.append(detail)

    def contradicted(self, detail: str) -> None:
        """Note that index, event log and record do not agree."""
        self.consistent = False
        self.details.append(detail)

    def outdated(self, detail: str) -> None:
        """Note that the value is not current: superseded, gone, or due to be made again."""
        self.current = False
        self.details.append(detail)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Nodes by manifest id, inputs before the values made from them; `roots`: ids of the results.

    `lost`: how many records of each asset are known to be lost, and no longer looked for.
    """

    nodes: dict[str, Node]
    roots: list[str]
    lost: Mapping[str, int] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """The worst status of any node."""
        return max(
            (node.status for node in self.nodes.values()), key=(GREEN, AMBER, RED).index, default=GREEN
        )

    def lowest_broken(self) -> list[Node]:
        """Return the nodes of the worst status without an input of that status: the origin of the problem.

        Empty when all is green. A raw file that is altered cannot be distinguished from one that its owner
        edited: both are amber.
        """
        worst = self.status
        bad = {key for key, node in self.nodes.items() if node.status == worst and worst != GREEN}
        return [node for key, node in self.nodes.items() if key in bad and not bad.intersection(node.inputs)]

    @property
    def version(self) -> str:
        """Digest of the verdicts, independent of all times.

        Ids of manifests are left out: a manifest of a page with times has another id after each run.
        """
        found = [
            {name: value for name, value in asdict(node).items() if name not in ("manifest", "inputs")}
            | {"inputs": sorted(self.nodes[key].name for key in node.inputs if key in self.nodes)}
            for node in self.nodes.values()
        ]
        return canonical_digest("\n".join(sorted(map(canonical_json, found))))

    def to_json(self) -> dict[str, Any]:
        """Return the audit as JSON values."""
        nodes = [
            {"id": key, **asdict(node), "name": node.name, "status": node.status}
            for key, node in self.nodes.items()
        ]
        return {
            "status": self.status,
            "roots": self.roots,
            "lowest_broken": [node.name for node in self.lowest_broken()],
            "lost_records": dict(self.lost),
            "nodes": nodes,
        }


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A line of the tree: one node, or all nodes of one asset."""

    label: str
    keys: tuple[str, ...]

    def state(self, audit: Audit) -> str:
        """Return the status of a single node, or how many nodes have each status."""
        counts = Counter(audit.nodes[key].status for key in self.keys)
        if len(self.keys) == 1:
            return next(iter(counts))
        return ", ".join(f"{counts[status]:,} {status}" for status in (RED, AMBER, GREEN) if counts[status])


def audit_lines(audit: Audit, tree: bool = False) -> list[str]:
    """Return an audit as lines for a person; the graph as a tree where it is red or asked for."""
    if not audit.nodes:
        return ["nothing has been materialized yet, so there is nothing to audit"]
    lines = [_verdict_line(audit)]
    if audit.status == RED:
        lines += [f"  red: {node.name}: {'; '.join(node.details)}" for node in audit.lowest_broken()]
    amber = [node for node in audit.nodes.values() if node.status == AMBER]
    lines += [f"  amber: {node.name}: {'; '.join(node.details)}" for node in amber[:SHOWN]]
    if len(amber) > SHOWN:
        lines.append(f"  amber: {len(amber) - SHOWN:,} more; --json lists all")
    if audit.lost:
        of = ", ".join(f"{asset} {count:,}" for asset, count in sorted(audit.lost.items()))
        records = counted(sum(audit.lost.values()), "record")
        lines.append(f"  {records} of earlier results noted as lost, and no longer looked for ({of})")
    if tree or audit.status == RED:
        return [*lines, *tree_lines(audit)]
    return [*lines, "add --tree to see what was made from what, --html FILE to see it drawn"]


def _verdict_line(audit: Audit) -> str:
    """Return the status, what was checked, and where all is green what that means."""
    named = ", ".join(audit.nodes[root].name for root in audit.roots)
    results = named if 0 < len(audit.roots) <= ONE_BY_ONE else counted(len(audit.roots), "result")
    lead = "leads" if len(audit.nodes) == 1 else "lead"
    line = f"{audit.status.upper()}: {counted(len(audit.nodes), 'record')} {lead} to {results}"
    if audit.status != GREEN:
        return line
    if all(node.intact is None for node in audit.nodes.values()):
        return f"{line}; all are there, consistent and current (--quick: their content was not hashed)"
    return f"{line}; all are there, consistent and current, and their content, hashed again, is unaltered"


def tree_lines(audit: Audit) -> list[str]:
    """Return the graph as lines of a tree; a branch that occurs again refers to the first one."""
    used = {key for node in audit.nodes.values() for key in node.inputs}
    tops = [key for key in audit.nodes if key not in used]
    drawn: set[Branch] = set()
    return [line for branch in _branches(audit, tops) for line in _drawn(audit, branch, drawn)]


def _drawn(audit: Audit, top: Branch, drawn: set[Branch]) -> Iterator[str]:
    """Yield the lines of a branch and of its inputs, depth first; iterative, since graphs may be deep."""
    stack: list[tuple[Branch, str, str]] = [(top, "", "")]
    while stack:
        branch, before, below = stack.pop()
        inputs = [found for key in branch.keys for found in audit.nodes[key].inputs]
        again = branch in drawn and bool(inputs)
        yield f"{before}{branch.label}: {branch.state(audit)}" + (", see above" if again else "")
        if again:
            continue
        drawn.add(branch)
        below_it = _branches(audit, dict.fromkeys(inputs))
        for place, child in reversed(list(enumerate(below_it))):
            last = place == len(below_it) - 1
            stack.append((child, f"{below}{'└─ ' if last else '├─ '}", f"{below}{'   ' if last else '│  '}"))


def _branches(audit: Audit, keys: Iterable[str]) -> list[Branch]:
    """Return the branches for nodes: one each where an asset has few, else one for all of the asset."""
    by_asset: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        if key in audit.nodes:
            by_asset[audit.nodes[key].asset].append(key)
    found = []
    for asset, same in by_asset.items():
        alone = [Branch(label=audit.nodes[key].name, keys=(key,)) for key in same]
        found += alone if len(same) <= ONE_BY_ONE else [Branch(label=asset, keys=tuple(same))]
    return found
