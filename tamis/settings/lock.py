"""tamis.lock: the precision, models and versions that gave a project's results, next to tamis.toml."""

import json
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from tamis.base.errors import PermanentError
from tamis.base.files import write_atomically
from tamis.base.precision import Precision

LOCK_FILE = "tamis.lock"
_HEADING = """\
# What gives the results of this project, written by `tamis lock`. `tamis materialize --locked` refuses to run
# where anything differs (docs/versions.md).
"""


class UnreadableLockError(PermanentError):
    """A tamis.lock that is damaged, or of another version of Tamis."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        cure = "restore it, or write it again with `tamis lock`"
        if path.is_dir():
            problem, cure = "it is a folder", "move it away; `tamis lock` writes a file of this name"
        super().__init__(f"{path} cannot be read: {problem}; {cure}")


class Lock(BaseModel):
    """The content of a tamis.lock.

    models: name and fingerprint of the encoder, the tokenizer and the judges that the project uses. versions:
    of Python (the minor one) and of the packages that enter results.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    precision: Precision
    models: dict[str, str]
    versions: dict[str, str]

    def write(self, path: Path) -> None:
        """Write the file; equal locks give equal bytes."""
        text = f"{_HEADING}precision = {json.dumps(self.precision)}\n"
        for table, values in (("models", self.models), ("versions", self.versions)):
            text += f"\n[{table}]\n"
            for key, value in sorted(values.items()):
                text += f"{json.dumps(key)} = {json.dumps(value, ensure_ascii=False)}\n"
        write_atomically(path, text.encode())


def read_lock(root: Path) -> Lock | None:
    """Return the lock in a project's folder, None without one; raises `UnreadableLockError`."""
    path = root / LOCK_FILE
    try:
        return Lock.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        problem = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise UnreadableLockError(path, problem) from error
