"""An anchor: the names of all present manifests, to be kept or published where nobody rewrites them.

Manifests are chained by their hashes, so an anchor of 70 bytes a value fixes everything that led to it: who
rewrites the home consistently can no longer leave these names in place. Its root fits on a line to sign.
"""

import json
from pathlib import Path

from tamis.audit.records import Records
from tamis.audit.verdicts import Audit, Node
from tamis.base.errors import PermanentError
from tamis.base.files import write_atomically
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import ManifestError, canonical_json
from tamis.store.digests import canonical_digest


class AnchorError(PermanentError):
    """A file that is no anchor, or one that was altered."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path} {problem}; `tamis audit --anchor FILE` writes one")


def write_anchor(path: Path, current: CurrentValues) -> str:
    """Write the anchor of what there is now; returns its root."""
    entries = sorted([value.asset, value.partition, value.manifest] for value in current.values())
    root = canonical_digest(canonical_json(entries))
    content = {"root": root, "manifests": entries}
    write_atomically(path.resolve(), (json.dumps(content, indent=1) + "\n").encode())
    return root


def read_anchor(path: Path) -> list[tuple[str, str, str]]:
    """Asset, partition and manifest of each value in an anchor; raises `AnchorError`."""
    try:
        content = json.loads(path.read_bytes())
        entries = [
            (str(asset), str(partition), str(manifest)) for asset, partition, manifest in content["manifests"]
        ]
        root = content["root"]
    except FileNotFoundError as error:
        raise AnchorError(path, "is not there") from error
    except (ValueError, TypeError, KeyError) as error:
        raise AnchorError(path, f"is no anchor ({error})") from error
    if canonical_digest(canonical_json([list(entry) for entry in entries])) != root:
        raise AnchorError(path, "was altered: its manifests do not hash to its root")
    return entries


def judge_anchor(audit: Audit, folder: Path, path: Path) -> tuple[Audit, int, int]:
    """The audit with a red node for each manifest of the anchor that is gone or altered since.

    Also how many of them are there, and how many it names.
    """
    records, nodes, lost = Records(folder), dict(audit.nodes), 0
    named = read_anchor(path)
    for asset, partition, manifest in named:
        try:
            records.read(manifest)
        except ManifestError as error:
            lost += 1
            node = nodes.setdefault(manifest, Node(manifest=manifest, asset=asset, partition=partition))
            node.unreachable(f"{error}; the anchor {path.name} names it")
    return Audit(nodes=nodes, roots=audit.roots), len(named) - lost, len(named)
