"""The files that a tokenizer consists of, and a fingerprint of them that loads nothing.

The weights of a model do not count: a model that was trained further keeps its tokenizer, and its counts.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

from tamis.base.errors import PermanentError, did_you_mean
from tamis.base.files import content_digest
from tamis.tokens import CODE_VERSION
from tamis.training.gguf_model import embedded_model_file
from tamis.training.models import SMOLLM2

PATTERNS = (
    "tokenizer*",
    "*.model",
    "vocab*",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "sentencepiece*",
    "tekken.json",
    "config.json",  # names the kind of model, where nothing else names the kind of tokenizer
)
HUB_ID = re.compile(r"(?P<repository>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[\w./-]+))?")


class UnknownTokenizerError(PermanentError):
    """No tokenizer is found by the name that tamis.toml gives."""

    def __init__(self, name: str, problem: str) -> None:
        self.name, self.problem = name, problem
        super().__init__(
            f"the tokenizer {name!r} cannot be used to count tokens: {problem}; set tokenizer in "
            f"[project] to a folder, a Hugging Face id, {SMOLLM2!r} or the name of a [[base_model]]"
            f"{did_you_mean(name, [SMOLLM2])}"
        )


def tokenizer_identity(name: str) -> str:
    """Return a fingerprint (32 hex digits) of the files of a tokenizer, by name.

    The files are those of a folder, a hub id or the embedded model. Raises `UnknownTokenizerError`,
    `MissingPackageError`.
    """
    files = [embedded_model_file()] if name == SMOLLM2 else _among(tokenizer_folder(name))
    if not files:
        raise UnknownTokenizerError(
            name, "the model folder contains no tokenizer file, such as tokenizer.json"
        )
    return fingerprint([f"{path.name}:{content_digest(path)}" for path in files])


def fingerprint(parts: Iterable[str]) -> str:
    """Return a fingerprint (32 hex digits) of what counts: parts of its identity, and the code."""
    return hashlib.sha256(json.dumps([CODE_VERSION, *parts]).encode()).hexdigest()[:32]


def tokenizer_folder(name: str) -> Path:
    """Return the folder itself, or of a hub id the local copy, downloaded where the hub may be asked."""
    if Path(name).is_dir():
        return Path(name)
    match = HUB_ID.fullmatch(name)
    if match is None or Path(name).exists():
        raise UnknownTokenizerError(name, "the name is neither an existing folder nor a Hugging Face id")
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, revision = match["repository"], match["revision"]
    try:
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
        if constants.HF_HUB_OFFLINE or _among(folder):
            return folder
    except HFValidationError as error:
        raise UnknownTokenizerError(
            name, "the name is neither an existing folder nor a Hugging Face id"
        ) from error
    except LocalEntryNotFoundError as error:
        if constants.HF_HUB_OFFLINE:
            raise UnknownTokenizerError(
                name,
                "there is no such folder, and the tokenizer is not in the local Hugging Face cache "
                "(HF_HUB_OFFLINE is set, so nothing is downloaded)",
            ) from error
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(PATTERNS)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UnknownTokenizerError(
            name, "there is no such folder, and no such tokenizer can be downloaded from the Hugging Face hub"
        ) from error


def _among(folder: Path) -> list[Path]:
    return sorted({path for one in PATTERNS for path in folder.glob(one) if path.is_file()})
