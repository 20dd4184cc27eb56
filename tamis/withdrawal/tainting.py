"""Taint: checkpoints and other fitted things that saw a withdrawn document, by how they saw it.

Follows manifests, so what was superseded counts too as long as its manifest is there. "influenced" is an
upper bound: a tokenizer, say, learnt from a sample of the shards that its manifest names. Inputs that taught
a value nothing, as its manifest notes, do not count.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from tamis.graph.plan import label
from tamis.graph.stages import names_where, stages
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import NOT_LEARNT_FROM, Manifest, ManifestFolder
from tamis.records.registered import ASSET as REGISTERED
from tamis.records.registered import read_registered
from tamis.stage import Learning
from tamis.store.home import Home


class Taint(StrEnum):
    """How something saw a withdrawn document, from most to least."""

    FINE_TUNED = "fine-tuned on it"
    PRE_TRAINED = "pre-trained on it"
    INFLUENCED = "influenced by it"


_TRAINED = {
    Learning.FINE_TUNED: Taint.FINE_TUNED,
    Learning.PRE_TRAINED: Taint.PRE_TRAINED,
}


def checkpoints() -> tuple[str, ...]:
    """Return the assets of weights that were trained on documents: stages by name, registered ones."""
    return *names_where(lambda stage: stage.learning in _TRAINED), REGISTERED


def watched() -> tuple[str, ...]:
    """Return the stages that learn from documents."""
    return names_where(lambda stage: stage.learning is not None)


@dataclass(frozen=True, kw_only=True)
class Tainted:
    """One checkpoint or fitted thing; `documents`: how many withdrawn ones it lists as trained on."""

    asset: str
    partition: str
    manifest: str
    taint: Taint
    documents: int
    current: bool

    @property
    def name(self) -> str:
        """`asset[partition]`."""
        return label(self.asset, self.partition)

    @property
    def line(self) -> str:
        """For a person."""
        counted = f" ({self.documents} withdrawn documents)" if self.documents > 1 else ""
        return f"{self.name}: {self.taint}{counted}" + ("" if self.current else ", superseded")

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"taint": str(self.taint)}


def find_tainted(
    home: Home,
    current: CurrentValues,
    listed_in: Mapping[str, int],
    among: Iterable[str] | None = None,
) -> list[Tainted]:
    """Everything that saw a withdrawn document, strongest taint first.

    `listed_in`: manifests that list withdrawn documents, and how many. `among`: manifests to look at, all
    without it. Of registered checkpoints those count that have an entry.
    """
    if not listed_in:
        return []
    folder, learning = ManifestFolder.of(home), {*watched(), REGISTERED}
    registered = {entry.manifest for entry in read_registered(home.store)}
    known = {
        key: manifest
        for key, manifest in folder.readable(folder.ids() if among is None else among).items()
        if manifest.asset != REGISTERED or key in registered
    }
    graph = _Graph(folder, known, listed_in)
    latest = registered.union(value.manifest for value in current.values())
    found = [
        Tainted(
            asset=manifest.asset,
            partition=manifest.partition,
            manifest=key,
            taint=taint,
            documents=listed_in.get(key, 0) if manifest.asset in graph.trained else 0,
            current=key in latest,
        )
        for key, manifest in sorted(known.items())
        if manifest.asset in learning and (taint := graph.taint(key))
    ]
    order = list(Taint)
    return sorted(found, key=lambda one: (order.index(one.taint), not one.current, one.name, one.manifest))


def tainted_values(home: Home, current: CurrentValues, listed_in: Mapping[str, int]) -> list[Tainted]:
    """Of what is current, and of registered checkpoints, what saw a withdrawn document."""
    learning = watched()
    among = [value.manifest for value in current.values() if value.asset in learning]
    among += [entry.manifest for entry in read_registered(home.store)]
    return find_tainted(home, current, listed_in, among)


class _Graph:
    """Manifests and their inputs, read when a walk comes to them."""

    def __init__(
        self, folder: ManifestFolder, known: dict[str, Manifest], listed_in: Mapping[str, int]
    ) -> None:
        self.folder, self.known, self.listed_in = folder, dict(known), listed_in
        self._reached: dict[str, bool] = {}
        self.trained = {
            stage.name: _TRAINED[stage.learning] for stage in stages().values() if stage.learning in _TRAINED
        } | {REGISTERED: Taint.FINE_TUNED}

    def taint(self, key: str) -> Taint | None:
        manifest = self.known[key]
        trained = self.trained.get(manifest.asset)
        if trained and key in self.listed_in:
            return trained
        bases = [one.manifest for one in manifest.inputs if self.trained.get(one.asset) == Taint.PRE_TRAINED]
        if trained and any(base in self.listed_in for base in bases):
            return Taint.PRE_TRAINED
        return Taint.INFLUENCED if self._reaches(key) else None

    def _reaches(self, root: str) -> bool:
        """Whether a manifest, or one that it was made from, lists a withdrawn document."""
        stack = [(root, False)]
        while stack:
            key, expanded = stack.pop()
            if key in self._reached:
                continue
            inputs = self._inputs(key)
            if key in self.listed_in or any(self._reached.get(one) for one in inputs):
                self._reached[key] = True
            elif expanded:
                self._reached[key] = False
            else:
                stack.append((key, True))
                stack += [(one, False) for one in inputs if one not in self._reached]
        return self._reached[root]

    def _inputs(self, key: str) -> list[str]:
        if key not in self.known:
            self.known |= self.folder.readable([key])
        manifest = self.known.get(key)
        if manifest is None:
            return []
        without = manifest.beside.get(NOT_LEARNT_FROM, ())
        return [entry.manifest for entry in manifest.inputs if entry.asset not in without]
