"""A shard, which is a file, an installed package or a group of small files; its key and its hash."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from tamis.base.errors import PermanentError, TransientError
from tamis.corpus.remote.errors import remote_fingerprint

KEY_CHARACTERS = 100
SEPARATOR, GROUP_SEPARATOR = "__", ":"
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+|\.{3,}")
_HASHED = re.compile(r"-[0-9a-f]{8}$")
MOST_FILES = 1_000
SMALL_BYTES = 64_000
"""A file of fewer bytes is small."""
EXTENSIONS = (".md", ".txt")
"""Of files that are one document each."""
BLOCK_BYTES = 1 << 20
UNREADABLE = hashlib.sha256(b"unreadable").hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """A file in an object store or on a hub: `tag` changes with it, `base` is what it was listed under."""

    url: str
    base: str
    tag: str
    size: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One file, package or group: `name` is the path relative to the corpus folder, or the package's name.

    The `path` of a remote file is where it is put while it is read. `small`: a file that shares its shard
    with others of its folder; `members`: the files of a group, by name.
    """

    corpus: str
    name: str
    key: str
    kind: Literal["file", "package", "remote", "group"]
    path: Path
    remote: RemoteFile | None = None
    small: bool = False
    members: tuple["Shard", ...] = ()

    @property
    def files(self) -> tuple["Shard", ...]:
        """The files of a group, or the one file or package itself."""
        return self.members if self.kind == "group" else (self,)


class ShardGoneError(PermanentError):
    """The file or package of a shard is no longer there."""

    def __init__(self, key: str, path: Path | None = None) -> None:
        self.key, self.path = key, path
        super().__init__(
            f"shard {key}: {path or 'its file or package'} no longer exists; the next `tamis materialize` or "
            "the sensors will remove the shard"
        )


class ShardChangedError(TransientError):
    """A file changed while it was read: somebody is still writing it."""

    def __init__(self, path: Path | str) -> None:
        self.path = path
        super().__init__(f"{path} changed while it was being read; try again once it is completely written")


def shard_key(corpus: str, name: str) -> str:
    """Readable key `corpus__name` of letters, digits, `_`, `.` and `-`, without `...`, at most 100 long.

    Distinct (corpus, name) give distinct keys: a part that had to change, is too long, or could be
    read in two ways is followed by 8 hex digits of SHA-256 over both.
    """
    slug = f"{_UNSAFE.sub('-', corpus)}{SEPARATOR}{_UNSAFE.sub('-', name)}"
    if slug == f"{corpus}{SEPARATOR}{name}" and len(slug) <= KEY_CHARACTERS and _reads_one_way(corpus, name):
        return slug
    digest = hashlib.sha256(f"{corpus}\0{name}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{slug[: KEY_CHARACTERS - 9]}-{digest}"


def group_key(corpus: str, folder: str, digits: str) -> str:
    """Key `corpus:folder:digits` of a group, safe as `shard_key` is; the folder of the corpus itself is `.`.

    `digits`: the first hex digits of the hashes of its paths, "" for all files of the folder. No key of a
    file holds a colon.
    """
    slug = f"{_UNSAFE.sub('-', corpus)}{GROUP_SEPARATOR}{_UNSAFE.sub('-', folder)}"
    longest = KEY_CHARACTERS - len(digits) - 1
    if slug != f"{corpus}{GROUP_SEPARATOR}{folder}" or len(slug) > longest or _HASHED.search(folder):
        digest = hashlib.sha256(f"{corpus}\0{folder}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
        slug = f"{slug[: longest - 9]}-{digest}"
    return f"{slug}{GROUP_SEPARATOR}{digits}" if digits else slug


def is_group_key(key: str) -> bool:
    """Return whether a key is that of a group."""
    return GROUP_SEPARATOR in key


def number_of_documents(key: str) -> str:
    """Return what shrank, for a message, where documents of a file or files of a group are lost."""
    if not is_group_key(key):
        return f"the number of documents in file {key}"
    corpus, folder, *digits = key.split(GROUP_SEPARATOR)
    if digits or _HASHED.search(folder):  # a part of a folder, or one whose path a key cannot hold
        where = f"shard {key}"
    else:
        where = f"corpus {corpus}" if folder == "." else f"{folder}/ of corpus {corpus}"
    return f"the number of small files with a document in {where}"


def is_said_by_keys(corpus: str) -> bool:
    """Return whether the keys of a corpus name it, up to their first separator; else tables must say it."""
    return SEPARATOR not in corpus and not corpus.endswith("_") and not _UNSAFE.search(corpus)


def corpus_of_key(key: str) -> str:
    """Return the corpus of a key, as far as the key alone says it: see `is_said_by_keys`."""
    return key.partition(GROUP_SEPARATOR if is_group_key(key) else SEPARATOR)[0]


def _reads_one_way(corpus: str, name: str) -> bool:
    """Return whether the first separator of a key ends the corpus, and no key with a hash looks like it."""
    ambiguous = SEPARATOR in corpus or corpus.endswith("_") or name.startswith("_")
    return bool(name) and not ambiguous and not _HASHED.search(name)


def is_one_text(name: str) -> bool:
    """Return whether a file of this name is one document, and not compressed."""
    return name.lower().endswith(EXTENSIONS)


def grouped(files: Iterable[Shard], most: int | None = None) -> dict[str, Shard]:
    """Return the shards of files by key: small ones in groups of at most `most` of a folder, others alone."""
    found: dict[str, Shard] = {}
    folders: dict[tuple[str, str], list[Shard]] = {}
    for file in files:
        if file.small:
            folders.setdefault((file.corpus, folder_of(file.name)), []).append(file)
        else:
            found[file.key] = file
    for (corpus, folder), own in folders.items():
        hashed = [(path_hash(file.name), file) for file in own]
        for digits, members in _split(hashed, MOST_FILES if most is None else most):
            key = group_key(corpus, folder, digits)
            found[key] = Shard(
                corpus=corpus,
                name=f"{folder}:{digits}" if digits else folder,
                key=key,
                kind="group",
                path=members[0].path.parent,
                members=tuple(sorted(members, key=lambda file: file.name)),
            )
    return found


def _split(hashed: list[tuple[str, Shard]], most: int, digits: str = "") -> Iterator[tuple[str, list[Shard]]]:
    if len(hashed) <= most or len(digits) == len(hashed[0][0]):
        yield digits, [file for _hash, file in hashed]
        return
    parts: dict[str, list[tuple[str, Shard]]] = {}
    for one in hashed:
        parts.setdefault(one[0][: len(digits) + 1], []).append(one)
    for longer, part in sorted(parts.items()):
        yield from _split(part, most, longer)


def folder_of(name: str) -> str:
    """Return the folder of a path within a corpus; `.` is that of the corpus itself."""
    return str(PurePosixPath(name).parent)


def path_hash(name: str) -> str:
    """Return the SHA-256, hex, of a path within a corpus."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def group_version(group: Shard, versions: Mapping[str, str]) -> str:
    """Return the SHA-256, hex, over path and version of each file of a group.

    `versions`: by the key of the file.
    """
    lines = (f"{file.name}\0{versions[file.key]}\n" for file in group.members)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def fingerprint_shard(shard: Shard) -> str:
    """SHA-256, hex, of a shard's bytes; of a remote file, of its tag and size: it is not fetched for this.

    A file that may not be read has a fingerprint of its own, so that it changes once it may. Raises
    `ShardGoneError` when there is nothing, `ShardChangedError` when a file changes meanwhile.
    """
    if shard.remote is not None:
        return remote_fingerprint(shard.remote.tag, shard.remote.size)
    try:
        return hash_file(shard.path) if shard.kind == "file" else hash_sources(python_files(shard.path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ShardGoneError(shard.key, shard.path) from error
    except PermissionError:
        return UNREADABLE


def is_settled(path: Path, seconds: float, now: float) -> bool:
    """Return whether a file was last modified `seconds` or more from `now` (Unix time); a missing one is not.

    The distance counts in both directions: a date far in the future is a wrong clock, not a write.
    """
    try:
        return abs(now - path.stat().st_mtime) >= seconds
    except OSError:
        return False


def hash_file(path: Path) -> str:
    """SHA-256, hex, of a file's bytes; raises `ShardChangedError` when it changes while it is read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
        after, named = os.fstat(file.fileno()), path.stat()
    if not _state(before) == _state(after) == _state(named):
        raise ShardChangedError(path)
    return digest.hexdigest()


def hash_sources(files: dict[str, Path]) -> str:
    """SHA-256, hex, over relative path and bytes of the files of a package."""
    if not files:
        raise FileNotFoundError("no Python files")
    digest = hashlib.sha256()
    for relative, path in files.items():
        digest.update(f"{relative}\0{hash_file(path)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def python_files(package: Path) -> dict[str, Path]:
    """The `.py` files of a package by POSIX path relative to its folder, sorted; links are not followed."""
    if package.is_file():
        return {package.name: package}
    root, found = os.fspath(package), []
    for folder, _, names in os.walk(root):
        inside = folder[len(root) + 1 :].replace(os.sep, "/")
        found += [f"{inside}/{name}" if inside else name for name in names if name.endswith(".py")]
    return {relative: package / relative for relative in sorted(found)}


def _state(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
