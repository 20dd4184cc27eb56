"""Manifests: immutable records that chain every value to the values it was made from (a Merkle graph)."""

import contextlib
import hashlib
import json
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tamis.base.errors import PermanentError
from tamis.base.files import write_atomically
from tamis.base.installation import ROOT, build_facts
from tamis.store.digests import NO_ROWS, canonical_digest
from tamis.store.home import Home

FORM = 2
"""2: the event of a manifest carries a digest of its unhashed part."""
LIBRARIES = ("dagster", "lancedb", "polars", "torch", "transformers", "pot", "mlflow", "numpy")
_NAMED_LISTS = TypeAdapter(dict[str, tuple[int, list[str]]])
NOT_LEARNT_FROM = "not_learnt_from"
"""The fact about a run that names the inputs (assets) that taught a fitted value nothing."""
REPLACES = "replaces"
"""The fact about a run that names the manifest that was current before it."""
ELSEWHERE = "logged_elsewhere"
"""The fact about a run that its events are in an instance of Dagster other than the home's own."""


def run_facts(
    run_id: str, seconds: tuple[float, float], table_versions: dict[str, int], costs: dict[str, Any]
) -> dict[str, Any]:
    """Return run, clock, costs, versions, code; `seconds`: of the step, and of this value."""
    return {
        "form": FORM,
        "run_id": run_id,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds[0],
        "partition_seconds": seconds[1],
        **costs,
        "table_versions": table_versions,
        "python": platform.python_version(),
        "libraries": _libraries(),
        "git": git_state(),
    }


@cache
def _libraries() -> dict[str, str]:
    return {name: version(name) for name in ("tamis", *LIBRARIES)}


@cache
def git_state() -> dict[str, Any]:
    """Commit of the checkout that runs, or that the package was built from, and whether it had changes.

    Empty where neither is known. A repository around it, say of a project whose environment it is in, is not
    asked: it has its own commits, and a configuration by which git may run commands.
    """
    if not (ROOT / ".git").exists():
        return {name: fact for name, fact in build_facts().items() if name != "version"}
    try:
        return {
            "commit": _git("rev-parse", "HEAD"),
            "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return {}


def _git(*arguments: str) -> str:
    command = ["git", "-c", "core.fsmonitor=false", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


class ManifestError(PermanentError):
    """A manifest that is missing, cannot be read, or does not hash to its own name."""

    def __init__(self, manifest: str, problem: str) -> None:
        self.manifest, self.problem = manifest, problem
        super().__init__(f"manifest {manifest[:16]}…: {problem}")


@dataclass(frozen=True, kw_only=True)
class InputReference:
    """One input of a value: asset, partition, data version, and the manifest that states them."""

    asset: str
    partition: str
    data_version: str
    manifest: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The record of one materialization.

    `rows` maps tables to the SHA-256 of their rows file, `scopes` maps them to the filter that finds these
    rows again ("doc_ids": the documents that the rows file lists); `files` maps paths under the home to
    SHA-256. A value that is not `settled` has, among its inputs, the earlier value that it was updated from.
    `beside`: facts about the run, stored but not hashed.
    """

    asset: str
    partition: str
    code_version: str
    config: dict[str, Any]
    seed: int
    input_key: str
    data_version: str
    digest: str
    row_count: int
    settled: bool = True
    rows: dict[str, str] = field(default_factory=dict)
    scopes: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    inputs: tuple[InputReference, ...] = ()
    beside: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """SHA-256, in hex, of the canonical JSON of all fields but `beside`."""
        stated = {**vars(self), "beside": {}, "inputs": [vars(reference) for reference in self.inputs]}
        return hashlib.sha256(canonical_json(stated).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_digest(rows: Mapping[str, str], files: Mapping[str, str]) -> str:
    """Return the digest of everything written: of the SHA-256 of rows by table and of files by path."""
    return canonical_digest(canonical_json({"rows": dict(rows), "files": dict(files)}))


class ManifestFolder:
    """A folder of content-addressed files: manifests by their id, rows files by their SHA-256.

    `fetch` gets a file that is not in the folder from elsewhere and returns whether it is there afterwards.
    `unpublished` collects the files written since it was last emptied.
    """

    def __init__(self, folder: Path, fetch: Callable[[Path], bool] = Path.exists) -> None:
        self.folder, self._fetch = folder, fetch
        self.unpublished: list[Path] = []

    @classmethod
    def of(cls, home: Home) -> "ManifestFolder":
        """Return the folder that holds all manifests of a home."""
        return cls(home.manifests, home.files.fetch)

    def path(self, manifest: str) -> Path:
        """Return the path of a manifest."""
        return self.folder / manifest[:2] / f"{manifest}.json"

    def rows_path(self, digest: str) -> Path:
        """Return the path of a rows file, fetched if need be."""
        return self._fetched(self._rows_path(digest))

    def kept_path(self, digest: str) -> Path:
        """Return the path, fetched if need be, of the Parquet file with the rows of this digest.

        Only rows of decisions are kept in such a file.
        """
        return self._fetched(self.folder / "rows" / digest[:2] / f"{digest}.parquet")

    def has(self, manifest: str) -> bool:
        """Return whether there is such a manifest."""
        return self._fetched(self.path(manifest)).is_file()

    def kept(self) -> list[Path]:
        """Return the paths of all Parquet files of kept rows."""
        return sorted(self.folder.glob("rows/??/*.parquet"))

    def lists(self) -> list[Path]:
        """Return the paths of all rows files."""
        return sorted(self.folder.glob("rows/??/*.rows"))

    def write(self, manifest: Manifest) -> str:
        """Write a manifest and return its id; one that exists already, and can be read, stays as it is."""
        path = self.path(manifest.id)
        self.unpublished.append(path)
        if not self._is_whole(manifest.id):
            write_atomically(path, json.dumps(asdict(manifest), indent=1, ensure_ascii=False).encode())
        return manifest.id

    def _is_whole(self, manifest: str) -> bool:
        """Return whether a manifest is stored and can be read: a disk may have lost its content."""
        if not self.path(manifest).exists():
            return False
        try:
            self.read(manifest)
        except ManifestError:
            return False
        return True

    def keep(self, manifest: Manifest) -> tuple[str, Manifest]:
        """Write a manifest; return its id and the stored manifest, which an earlier run may have written."""
        existed = self._is_whole(manifest.id)
        name = self.write(manifest)
        return name, self.read(name) if existed else manifest

    def write_rows(self, digest: str, content: bytes) -> None:
        """Write a rows file under its digest, unless it exists as a whole."""
        path = self._rows_path(digest)
        self.unpublished.append(path)
        if not path.exists() or path.read_bytes() != content:
            write_atomically(path, content)

    def remove_list(self, digest: str) -> None:
        """Remove a rows file of this folder, unless it is that of no rows, which many manifests name."""
        if digest != NO_ROWS:
            self._rows_path(digest).unlink(missing_ok=True)

    def read(self, manifest: str) -> Manifest:
        """Read a manifest and verify that it hashes to its name. Raises `ManifestError`."""
        try:
            values = json.loads(self._fetched(self.path(manifest)).read_bytes())
            values["inputs"] = tuple(InputReference(**reference) for reference in values["inputs"])
            found = Manifest(**values)
        except FileNotFoundError as error:
            raise ManifestError(manifest, "is missing") from error
        except (TypeError, KeyError) as error:
            raise ManifestError(manifest, "was altered (its fields are not those of a manifest)") from error
        except (OSError, ValueError) as error:
            raise ManifestError(manifest, f"cannot be read: {error}") from error
        if found.id != manifest:
            raise ManifestError(manifest, f"was altered (the manifest's content hashes to {found.id[:16]}…)")
        return found

    def readable(self, ids: Iterable[str]) -> dict[str, Manifest]:
        """Return those of these manifests that can be read, by id; the audit names the others."""
        found = {}
        for manifest in ids:
            with contextlib.suppress(ManifestError):
                found[manifest] = self.read(manifest)
        return found

    def ids(self) -> list[str]:
        """Return the ids of all stored manifests, sorted."""
        return sorted(path.stem for path in self.folder.glob("??/*.json"))

    def sizes(self) -> dict[str, int]:
        """Return the size of each stored manifest, by id [bytes]."""
        return {path.stem: path.stat().st_size for path in self.folder.glob("??/*.json")}

    def take_unpublished(self) -> list[Path]:
        """Return the files written since the last call."""
        taken, self.unpublished = self.unpublished, []
        return taken

    def _rows_path(self, digest: str) -> Path:
        return self.folder / "rows" / digest[:2] / f"{digest}.rows"

    def _fetched(self, path: Path) -> Path:
        if not path.exists():
            self._fetch(path)
        return path


class NamedLists:
    """A cache of the rows files that each manifest names, so that a check need not read every manifest.

    A manifest of another size is read again, and so are all where they are not `trusted`. The file keeps the
    manifests that the last check asked for, and no others.
    """

    def __init__(self, home: Home, folder: ManifestFolder, trusted: bool = True) -> None:
        self._folder, self._path = folder, home.cache / "named_lists.json"
        self._sizes = folder.sizes()
        self._asked: dict[str, tuple[int, list[str]]] = {}
        self._known: dict[str, tuple[int, list[str]]] = {}
        with contextlib.suppress(OSError, ValidationError):
            self._known = _NAMED_LISTS.validate_json(self._path.read_bytes()) if trusted else {}
        self._before = set(self._known)

    def of(self, manifest: str) -> list[str]:
        """Return the digests of the rows files that a manifest names, sorted. Raises `ManifestError`."""
        found = self._known.get(manifest)
        size = self._sizes.get(manifest, found[0] if found else 0)
        if found is None or found[0] != size:
            found = size, sorted({*self._folder.read(manifest).rows.values()})
        self._asked[manifest] = found
        return found[1]

    def save(self) -> None:
        """Write the cache where it changed; a disk that is full or read-only is no error."""
        if self._asked.keys() != self._before:
            with contextlib.suppress(OSError):
                write_atomically(self._path, json.dumps(self._asked).encode())
