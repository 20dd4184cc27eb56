"""The manifests that lead to a value, inputs first."""

from collections.abc import Iterable
from dataclasses import dataclass

from tamis.records.manifest import Manifest, ManifestFolder

Manifests = dict[str, Manifest]


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """What leads to some values: manifests by id, inputs before what was made of them."""

    project: str
    manifests: Manifests

    @property
    def namespace(self) -> str:
        """Under which other tools know the data sets of the project."""
        return f"tamis:{self.project}"


def manifests_behind(folder: ManifestFolder, roots: Iterable[str]) -> Manifests:
    """The manifests `roots` and all that they name, inputs first; raises `ManifestError`."""
    found: Manifests = {}
    read: Manifests = {}
    stack = sorted(set(roots), reverse=True)
    while stack:
        key = stack[-1]
        if key in read:
            found.setdefault(stack.pop(), read[key])
        else:
            read[key] = folder.read(key)
            stack += sorted({entry.manifest for entry in read[key].inputs} - read.keys(), reverse=True)
    return found
