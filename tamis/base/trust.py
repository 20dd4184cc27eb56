"""What a person of this machine has accepted of a project: files that run commands, receivers of secrets.

The record is outside of any project and home, in the user's state folder, so no project can carry its own
acceptance along. An entry holds for one file and one content.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from tamis.base.errors import PermanentError
from tamis.base.files import write_atomically

TRUST = "TAMIS_TRUST"
"""The variable that accepts everything, for servers whose projects come from their owner; set to 1."""
RECORD = "trusted.json"


@dataclass(frozen=True, kw_only=True)
class Consent:
    """What a project wants accepted: the file that asks, what follows from it, and the digest of both.

    `effect` is a sentence without a subject: "can run commands on this machine".
    """

    file: Path
    effect: str
    digest: str

    @classmethod
    def of(cls, file: Path, effect: str, content: bytes = b"") -> "Consent":
        """Return the consent to a file's content; where the effect says it all, `content` is left out."""
        return cls(
            file=file.resolve(),
            effect=effect,
            digest=hashlib.sha256(effect.encode() + b"\0" + content).hexdigest(),
        )


class UntrustedError(PermanentError):
    """A project wants what nobody on this machine has accepted; names it, and how to."""

    def __init__(self, asked: Sequence[Consent], cure: str = "") -> None:
        said = "; ".join(f"{one.file} {one.effect}" for one in asked)
        super().__init__(
            f"{said}; nobody has accepted this on this machine. If you trust the origin of the project, run "
            f"`tamis trust` in its folder (on a server, set {TRUST}=1); otherwise {cure or 'remove it'}"
        )


class NoRecordError(PermanentError):
    """There is no place for what is accepted."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"what you accept cannot be recorded ({problem}); set HOME or XDG_STATE_HOME to a folder that "
            f"this user may write to, or set {TRUST}=1"
        )


def record_file() -> Path | None:
    """Return the file of what is accepted; None without an absolute path: a relative one is the project's."""
    try:
        path = Path(platformdirs.user_state_dir("tamis")) / RECORD
    except RuntimeError:  # without a home folder
        return None
    return path if path.is_absolute() else None


def accepted() -> list[Consent]:
    """Return what is accepted on this machine; nothing where the record cannot be read."""
    path = record_file()
    try:
        entries = json.loads(path.read_text(encoding="utf-8")) if path else []
        return [Consent(**entry | {"file": Path(entry["file"])}) for entry in entries]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []


def accept(consents: Iterable[Consent]) -> None:
    """Record consents; raises `NoRecordError`."""
    path = record_file()
    if path is None:
        raise NoRecordError("this user has no home folder")
    entries = {(one.file, one.digest): one for one in (*accepted(), *consents)}
    written = [asdict(one) | {"file": str(one.file)} for one in entries.values()]
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, json.dumps(written, indent=1).encode())
    except OSError as error:
        raise NoRecordError(f"{path}: {error.strerror or error}") from error


def unaccepted(asked: Iterable[Consent]) -> list[Consent]:
    """Return what nobody has accepted of what is asked."""
    if os.environ.get(TRUST) == "1":
        return []
    known = {(one.file, one.digest) for one in accepted()}
    return [one for one in asked if (one.file, one.digest) not in known]


def require_accepted(asked: Iterable[Consent], cure: str = "") -> None:
    """Raise `UntrustedError` where nobody has accepted something of it; `cure`: what else would help."""
    if missing := unaccepted(asked):
        raise UntrustedError(missing, cure)
