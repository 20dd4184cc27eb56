"""The audit as text: the verdict, what is wrong, and the graph as a tree from results down to raw files."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tamis.lineage.audit_node import AMBER, GREEN, RED, Audit

SHOWN = 20
ONE_BY_ONE = 3
"""So many results of one kind have a line each in the tree; more of them share one."""


@dataclass(frozen=True, kw_only=True)
class Branch:
    """Results of one asset that stand together in the tree."""

    label: str
    keys: tuple[str, ...]

    def state(self, audit: Audit) -> str:
        """`green`, or how many are what."""
        counts = Counter(audit.nodes[key].status for key in self.keys)
        if len(self.keys) == 1:
            return next(iter(counts))
        return ", ".join(f"{counts[status]:,} {status}" for status in (RED, AMBER, GREEN) if counts[status])


def audit_lines(audit: Audit) -> list[str]:
    """An audit for a person."""
    if not audit.nodes:
        return ["nothing has been made yet, so there is nothing to audit"]
    named = ", ".join(audit.nodes[root].name for root in audit.roots)
    results = named if 0 < len(audit.roots) <= ONE_BY_ONE else f"{len(audit.roots):,} results"
    lines = [f"{audit.status.upper()}: {len(audit.nodes):,} records lead to {results}"]
    if audit.status == RED:
        lines += [f"  red: {node.name}: {'; '.join(node.details)}" for node in audit.lowest_broken()]
    amber = [node for node in audit.nodes.values() if node.status == AMBER]
    lines += [f"  amber: {node.name}: {'; '.join(node.details)}" for node in amber[:SHOWN]]
    if len(amber) > SHOWN:
        lines.append(f"  amber: {len(amber) - SHOWN:,} more; --json lists all")
    return [*lines, *tree_lines(audit)]


def tree_lines(audit: Audit) -> list[str]:
    """The graph as a tree; what stands in it already is named again, not drawn again."""
    used = {key for node in audit.nodes.values() for key in node.inputs}
    tops = [key for key in audit.nodes if key not in used]
    drawn: set[Branch] = set()
    return [line for branch in _branches(audit, tops) for line in _drawn(audit, branch, drawn)]


def _drawn(audit: Audit, top: Branch, drawn: set[Branch]) -> Iterator[str]:
    """Lines of a branch and of what it was made from, depth first without recursion."""
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
    """Nodes by asset: a branch each where they are few, else one for all."""
    by_asset: dict[str, list[str]] = {}
    for key in keys:
        if key in audit.nodes:
            by_asset.setdefault(audit.nodes[key].asset, []).append(key)
    found = []
    for asset, same in by_asset.items():
        if len(same) <= ONE_BY_ONE:
            found += [Branch(label=audit.nodes[key].name, keys=(key,)) for key in same]
        else:
            found.append(Branch(label=asset, keys=tuple(same)))
    return found
