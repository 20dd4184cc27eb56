"""A remote file: identified by a tag that its server changes with it, and read by download.

The tag (an ETag, or a content hash) says whether a file changed without a byte of it being moved. A download
asks for exactly the version that was listed, is checked for its length, and is removed once it was read.
"""

import hashlib
from pathlib import Path

from tamis.base.errors import PermanentError, TransientError, without_secrets


class StoreProblemError(Exception):
    """Why a store, a web server or a hub could not be listed, in its words."""


class RemoteUnavailableError(TransientError):
    """A file could not be fetched; trying again may succeed."""

    def __init__(self, url: str, problem: str) -> None:
        self.url, self.problem = without_secrets(url), without_secrets(problem)
        super().__init__(f"{self.url} could not be read: {self.problem}; the next run will try again")


class RemoteForbiddenError(PermanentError):
    """A file may not be read with the credentials of the environment."""

    def __init__(self, url: str, problem: str) -> None:
        self.url, self.problem = without_secrets(url), without_secrets(problem)
        super().__init__(
            f"access to {self.url} was denied: {self.problem}; check the credentials in the environment"
        )


def remote_fingerprint(tag: str, size: int | None) -> str:
    """Return the SHA-256, hex, of tag and size; a tag that is the SHA-256 of the bytes is returned itself."""
    if tag.startswith("sha256:"):
        return tag.removeprefix("sha256:")
    return hashlib.sha256(f"{tag}\0{size}".encode()).hexdigest()


def first_line(error: Exception) -> str:
    """Return the first line of an error; a store names the address of its request below it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def local_copy(cache: Path, key: str, name: str) -> Path:
    """Return the path of the download of a shard, which exists while the shard is read."""
    return cache / "remote" / hashlib.sha256(key.encode()).hexdigest()[:32] / Path(name).name
