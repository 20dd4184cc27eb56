"""Groups of small files: txt and md files of one folder that share a shard, since a shard costs three events.

Which files share one depends on their paths alone, so the order of arrival does not matter: all of a folder
while they are at most `MOST_FILES`, else those whose hashes of the path begin with the same hex digit, and so
on. A group that outgrows the limit becomes sixteen; nothing of its files is read again for that.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from tamis.corpus.shards import Shard, group_key

MOST_FILES = 1_000
SMALL_BYTES = 64_000
"""A file of fewer bytes is small."""
EXTENSIONS = (".md", ".txt")
"""Of files that are one document each."""


def is_one_text(name: str) -> bool:
    """Whether a file of this name is one document, and not compressed."""
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
