"""Which lists of rows manifests name, remembered: manifests never change, and reading many takes seconds."""

import contextlib
import json

from tamis.base.files import write_atomically
from tamis.lineage.manifest import ManifestFolder
from tamis.store.home import Home


class NamedLists:
    """Digests of the lists of rows by manifest, of those that were asked for last time and now."""

    def __init__(self, home: Home, folder: ManifestFolder) -> None:
        self._folder, self._path = folder, home.cache / "named_lists.json"
        self._asked: dict[str, list[str]] = {}
        try:
            self._known: dict[str, list[str]] = json.loads(self._path.read_text())
        except (OSError, ValueError):
            self._known = {}
        self._before = set(self._known)

    def of(self, manifest: str) -> list[str]:
        """Digests of the lists that a manifest names; raises `ManifestError`."""
        if manifest not in self._known:
            self._known[manifest] = sorted({*self._folder.read(manifest).rows.values()})
        self._asked[manifest] = self._known[manifest]
        return self._asked[manifest]

    def save(self) -> None:
        """Remember what was asked for, where that may be written."""
        if self._asked.keys() != self._before:
            with contextlib.suppress(OSError):
                write_atomically(self._path, json.dumps(self._asked).encode())
