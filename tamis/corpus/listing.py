"""List the shards of a corpus: files of a folder, a store or a saved dataset, or installed packages."""

import errno
import importlib.util
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Any

from tamis.base.errors import MissingPackageError, PermanentError, without_secrets
from tamis.base.numbers import counted
from tamis.corpus.remote.errors import StoreProblemError, local_copy
from tamis.corpus.remote.http_file import SCHEMES, list_file
from tamis.corpus.remote.hub_datasets import list_hub
from tamis.corpus.remote.object_store import is_url, list_objects
from tamis.corpus.shards import SMALL_BYTES, RemoteFile, Shard, is_one_text, shard_key
from tamis.settings.config import CorpusSection
from tamis.settings.values import glob_pattern

PARTS, STATE = "dataset_dict.json", "state.json"
TEMPORARY_NAMES = (".*", "~*", "*~", "*.tmp", "*.part", "*.crdownload")
WRITTEN = ("exports/a.jsonl", "exports/a.parquet", "reports/a.html", "cache/a.json")
"""Files as Tamis writes them into its home folder."""


class SavedDatasetError(Exception):
    """Why a folder is no saved dataset, or not a whole one; names the file."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path}: {problem}")


def list_saved(folder: Path, splits: Sequence[str] = ()) -> Iterator[tuple[str, Path]]:
    """Relative name and path of the data files of these splits, or all; raises `SavedDatasetError`."""
    if not (folder / PARTS).exists():
        if splits:
            raise SavedDatasetError(
                folder, "the folder contains a single dataset without splits; remove the setting splits"
            )
        yield from ((path.name, path) for path in _data_files(folder))
        return
    known = _read(folder / PARTS).get("splits")
    if not isinstance(known, list):
        raise SavedDatasetError(folder / PARTS, "the file names no splits")
    if unknown := sorted(set(splits) - set(known)):
        raise SavedDatasetError(
            folder, f"the dataset has no split {unknown[0]!r}; valid splits: {', '.join(map(str, known))}"
        )
    for split in splits or known:
        yield from ((f"{split}/{path.name}", path) for path in _data_files(folder / str(split)))


def _data_files(folder: Path) -> list[Path]:
    entries = _read(folder / STATE).get("_data_files")
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise SavedDatasetError(folder / STATE, "the file lists no data files")
    paths = [folder / Path(str(entry.get("filename"))).name for entry in entries]
    for path in paths:
        if not path.is_file():
            raise SavedDatasetError(path, f"the file is missing, although {STATE} lists it")
    return paths


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SavedDatasetError(
            path, "the file is missing: save_to_disk did not write this folder, or has not finished"
        ) from error
    except (OSError, ValueError) as error:
        raise SavedDatasetError(path, f"the file cannot be read: {error}") from error
    return found if isinstance(found, dict) else {}


class ListingError(PermanentError):
    """A corpus cannot be listed completely."""

    def __init__(self, corpus: str, path: Path | str, problem: str) -> None:
        self.corpus, self.problem = corpus, without_secrets(problem)
        self.path = without_secrets(path) if isinstance(path, str) else path
        super().__init__(
            f"{corpus!r}: cannot list {self.path}: {self.problem}; correct this, or the section of "
            f"{corpus!r} in tamis.toml"
        )


def is_temporary(name: str) -> bool:
    """Return whether listings leave out a file or folder of this name, and all below it."""
    return any(fnmatchcase(name, pattern) for pattern in TEMPORARY_NAMES)


def require_outside(corpus: CorpusSection, root: Path, home: Path) -> None:
    """Raise `ListingError` where a corpus would read the results in the home folder as documents."""
    if corpus.kind == "python-docs" or corpus.hub is not None or is_url(corpus.path):
        return
    folder, home = (root / str(corpus.path)).resolve(), home.resolve()
    if not home.is_relative_to(folder) or any(map(is_temporary, home.relative_to(folder).parts)):
        return
    below = home.relative_to(folder)
    names = [(below / name).as_posix() for name in WRITTEN]
    if any(_matches(corpus.include, name) and not _matches(corpus.exclude, name) for name in names):
        raise ListingError(
            corpus.name,
            folder,
            f"the Tamis home folder {home} is inside it, so results would be read as documents; set "
            f"TAMIS_HOME to a folder outside of it, or leave the home out: "
            f'exclude = ["{(below / "**").as_posix()}"]',
        )


def place_of_files(corpus: CorpusSection, root: Path) -> str:
    """Return where a corpus that has read no file expects them, and why those that are there do not count."""
    place = corpus.path or corpus.kind
    if corpus.kind != "files" or is_url(corpus.path):
        return without_secrets(place)
    try:
        if read := len(list_shards(corpus, root)):
            return f"{place} ({counted(read, 'file')}, perhaps still being written)"
        there = len(list_shards(corpus.model_copy(update={"include": ("**/*",), "exclude": ()}), root))
    except ListingError:
        return place
    left_out = f" and not exclude = {json.dumps(corpus.exclude)}" if corpus.exclude else ""
    patterns = f"include = {json.dumps(corpus.include)}{left_out}"
    return f"{place} ({counted(there, 'file')}, but none matches {patterns})" if there else place


def list_shards(corpus: CorpusSection, root: Path, cache: Path | None = None) -> list[Shard]:
    """Shards of a corpus, sorted by key; `root` is the folder that relative paths start from.

    Remote files are listed, not fetched; `cache` is the folder that holds them while they are read.

    Hidden files and folders and temporary names (`*.tmp`, `*.part`, `*.crdownload`, `~*`, `*~`) are not
    shards. Raises `ListingError` when the folder or one below it cannot be read, and
    `MissingPackageError` for a package that is not installed.
    """
    shards = sorted(_listed(corpus, root, cache), key=lambda shard: shard.key)
    for one, other in pairwise(shards):
        if one.key == other.key:
            raise ListingError(
                corpus.name,
                other.path,
                f"this file has the same shard key {one.key!r} as {one.path}; rename one of the two files",
            )
    return shards


def _listed(corpus: CorpusSection, root: Path, cache: Path | None) -> Iterator[Shard]:
    if corpus.kind == "python-docs":
        return (
            Shard(
                corpus=corpus.name,
                name=name,
                key=shard_key(corpus.name, name),
                kind="package",
                path=package_path(name, f"corpus {corpus.name!r}"),
            )
            for name in sorted(set(corpus.packages))
        )
    if corpus.hub is not None:
        return _remote(corpus, corpus.hub, list_hub(corpus.hub, corpus.revision, corpus.splits), cache)
    if corpus.kind == "datasets":
        return _saved(corpus, root / str(corpus.path))
    if is_url(corpus.path):
        url = str(corpus.path)
        return _remote(corpus, url, list_file(url) if url.startswith(SCHEMES) else list_objects(url), cache)
    return _files(corpus, root / str(corpus.path))


def _remote(
    corpus: CorpusSection, url: str, found: Iterator[tuple[str, RemoteFile]], cache: Path | None
) -> Iterator[Shard]:
    of_folder = corpus.hub is None and not url.startswith(SCHEMES)
    try:
        for name, remote in found:
            if reads(corpus, name):
                key = shard_key(corpus.name, name)
                yield Shard(
                    corpus=corpus.name,
                    name=name,
                    key=key,
                    kind="remote",
                    path=local_copy(cache or Path(tempfile.gettempdir()), key, name),
                    remote=remote,
                    small=of_folder
                    and is_one_text(name)
                    and remote.size is not None
                    and remote.size < SMALL_BYTES,
                )
    except StoreProblemError as error:
        raise ListingError(corpus.name, url, str(error)) from error


def _saved(corpus: CorpusSection, folder: Path) -> Iterator[Shard]:
    try:
        for name, path in list_saved(folder, corpus.splits):
            if _matches(corpus.include, name) and not _matches(corpus.exclude, name):
                if not corpus.follow_links and not _is_within(path, os.path.realpath(folder)):
                    raise ListingError(
                        corpus.name,
                        path,
                        "this link leads out of the dataset's folder, and follow_links is not true",
                    )
                yield _file_shard(corpus.name, name, path)
    except SavedDatasetError as error:
        raise ListingError(corpus.name, error.path, error.problem) from error


def _files(corpus: CorpusSection, path: Path) -> Iterator[Shard]:
    if path.is_file():
        yield _file_shard(corpus.name, path.name, path)
        return
    for relative in _Walk(corpus=corpus, root=path).names(path, "", ()):
        if _matches(corpus.include, relative) and not _matches(corpus.exclude, relative):
            yield _file_shard(corpus.name, relative, path / relative, of_folder=True)


def links_out(corpus: CorpusSection, root: Path) -> list[str]:
    """Links below the folder of a corpus that lead out of it and are not followed; relative paths, sorted."""
    path = root / str(corpus.path)
    if corpus.kind != "files" or corpus.follow_links or is_url(corpus.path) or path.is_file():
        return []
    walk = _Walk(corpus=corpus, root=path)
    for _ in walk.names(path, "", ()):
        pass
    return sorted(
        name
        for name in walk.links_out
        if (name.endswith("/") or _matches(corpus.include, name)) and not _matches(corpus.exclude, name)
    )


def leads_nowhere(corpus: CorpusSection, root: Path, relative: str) -> bool:
    """Return whether a file of the folder of a corpus was behind a link whose destination is missing now."""
    if corpus.kind != "files" or corpus.hub is not None or is_url(corpus.path):
        return False
    path = root / str(corpus.path) / relative
    return any(way.is_symlink() and not way.exists() for way in (path, *path.parents[: relative.count("/")]))


def is_left_out(corpus: CorpusSection, root: Path, relative: str) -> bool:
    """Return whether a file is in the folder of a corpus that leaves it out by `include` or `exclude`."""
    if corpus.kind != "files" or is_url(corpus.path) or reads(corpus, relative):
        return False
    return os.path.isfile(root / str(corpus.path) / relative)


def reads(corpus: CorpusSection, relative: str) -> bool:
    """Return whether the listing of a corpus would read a file at this path below its folder."""
    return (
        not any(map(is_temporary, relative.split("/")))
        and _matches(corpus.include, relative)
        and not _matches(corpus.exclude, relative)
    )


def leaves_out(corpus: CorpusSection, relative: str) -> bool:
    """Return whether `exclude` names a file at this path below the folder of a corpus."""
    return _matches(corpus.exclude, relative)


def files_below(folder: Path, *, whole: bool) -> Iterator[str]:
    """Yield the relative paths of the files of a folder, `whole` with the folders below it.

    Without temporary and hidden ones, and links that lead out of it. Raises `ListingError`.
    """
    corpus = CorpusSection(name="files", kind="files", path=str(folder))
    return _Walk(corpus=corpus, root=folder).names(folder, "", (), whole=whole)


def _matches(globs: tuple[str, ...], relative: str) -> bool:
    return any(glob_pattern(glob).fullmatch(relative) for glob in globs)


def _file_shard(corpus: str, relative: str, path: Path, of_folder: bool = False) -> Shard:
    # Names of files are bytes; those that are not UTF-8 must still print and fit in a table.
    name = os.fsencode(relative).decode("utf-8", "backslashreplace")
    small = of_folder and is_one_text(name) and _size(path) < SMALL_BYTES
    return Shard(corpus=corpus, name=name, key=shard_key(corpus, name), kind="file", path=path, small=small)


def _size(path: Path) -> int:
    """Bytes of a file; of one that has just gone none: whoever reads it finds that out."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


@dataclass(kw_only=True)
class _Walk:
    """A walk through the folder of a corpus, which notes the links that it does not follow."""

    corpus: CorpusSection
    root: Path
    links_out: list[str] = field(default_factory=list)

    def names(
        self, folder: Path, prefix: str, above: tuple[tuple[int, int], ...], *, whole: bool = True
    ) -> Iterator[str]:
        """Relative paths of the files below a folder; `above` are device and inode of the folders over it.

        Without `whole` of the files in the folder itself.
        """
        try:
            status = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise ListingError(self.corpus.name, folder, error.strerror or str(error)) from error
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            return
        for entry in entries:
            if is_temporary(entry.name):
                continue
            unfollowed = (
                not self.corpus.follow_links
                and entry.is_symlink()
                and not _is_within(Path(entry.path), os.path.realpath(self.root))
            )
            try:
                is_folder = entry.is_dir()
                if not is_folder and not entry.is_file():  # also a link that leads nowhere
                    continue
            except OSError as error:
                if unfollowed or error.errno in (errno.ELOOP, errno.ENOTDIR):
                    continue
                raise ListingError(
                    self.corpus.name, folder / entry.name, error.strerror or str(error)
                ) from error
            if unfollowed:
                self.links_out.append(f"{prefix}{entry.name}{'/' if is_folder else ''}")
            elif is_folder and whole:
                yield from self.names(folder / entry.name, f"{prefix}{entry.name}/", (*above, identity))
            elif not is_folder:
                yield prefix + entry.name


def _is_within(path: Path, folder: str) -> bool:
    """Return whether a path, all its links followed, is in a folder without links."""
    return os.path.commonpath([os.path.realpath(path), folder]) == folder


def package_path(name: str, needed_for: str) -> Path:
    """Folder (or single file) of an installed package, found without importing it.

    Raises `MissingPackageError` when there is none.
    """
    top, *below = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    folders = list(spec.submodule_search_locations or ()) if spec else []
    candidates = [Path(folder, *below) for folder in folders]
    candidates += [path.with_suffix(".py") for path in candidates if below]
    if spec and spec.origin and not folders and not below:
        candidates = [Path(spec.origin)]
    for path in candidates:
        if path.is_dir() or (path.suffix == ".py" and path.is_file()):
            return path
    raise MissingPackageError(name, needed_for, f"pip install {top}")
