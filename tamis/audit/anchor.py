"""Anchors: files with the ids of all current manifests, to be kept or published outside the home.

Those of registered checkpoints are among them.
Manifests are chained by their hashes, so an anchor, about 70 bytes a value, fixes everything that a value was
made from: nobody can rewrite the home consistently and keep these ids. Its root is one line, short enough to
be signed.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from tamis.audit.records import Records
from tamis.audit.verdicts import Audit, Node
from tamis.base.errors import PermanentError
from tamis.base.files import write_atomically
from tamis.graph.plan import reference
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import ManifestError, canonical_json
from tamis.records.registered import Registered
from tamis.store.digests import canonical_digest


class AnchorError(PermanentError):
    """A file that is not an anchor, or was altered."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(
            f"{path} {problem}; `tamis audit --anchor FILE` writes a new anchor, which cannot reveal earlier "
            "changes"
        )


def write_anchor(path: Path, current: CurrentValues, registered: Iterable[Registered] = ()) -> str:
    """Write an anchor of these current values and registered checkpoints, and return its root."""
    named = [*map(reference, current.values()), *(checkpoint.reference for checkpoint in registered)]
    entries = sorted([value.asset, value.partition, value.manifest] for value in named)
    root = canonical_digest(canonical_json(entries))
    content = json.dumps({"root": root, "manifests": entries}, indent=1)
    write_atomically(path.resolve(), f"{content}\n".encode())
    return root


def read_anchor(path: Path) -> list[tuple[str, str, str]]:
    """Return asset, partition and manifest of each value in an anchor. Raises `AnchorError`."""
    try:
        content = json.loads(path.read_bytes())
        entries = [
            (str(asset), str(partition), str(manifest)) for asset, partition, manifest in content["manifests"]
        ]
        root = content["root"]
    except FileNotFoundError as error:
        raise AnchorError(path, "does not exist") from error
    except (ValueError, TypeError, KeyError) as error:
        raise AnchorError(path, f"is not an anchor ({error})") from error
    if canonical_digest(canonical_json([list(entry) for entry in entries])) != root:
        raise AnchorError(
            path, "was altered (the manifests that it lists do not hash to its root); use an unaltered copy"
        )
    return entries


def judge_anchor(audit: Audit, folder: Path, path: Path) -> tuple[Audit, int, int]:
    """Return the audit with a red node for each manifest of an anchor that is missing or altered.

    Return, too, how many of the manifests are whole, and how many the anchor lists. Raises `AnchorError`.
    """
    records, nodes, lost = Records(folder), dict(audit.nodes), 0
    named = read_anchor(path)
    for asset, partition, manifest in named:
        try:
            records.read(manifest)
        except ManifestError as error:
            lost += 1
            node = nodes.setdefault(manifest, Node(manifest=manifest, asset=asset, partition=partition))
            node.unreachable(f"{error}; the anchor {path.name} lists this manifest")
    return replace(audit, nodes=nodes), len(named) - lost, len(named)
