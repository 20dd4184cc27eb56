"""Folders saved by Hugging Face `datasets` (`save_to_disk`): one Arrow file, one shard.

`state.json` is written last and says which files belong to the dataset, so it decides: other files,
left by an earlier save, are ignored, and a folder without it is not (yet) a dataset.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PARTS, STATE = "dataset_dict.json", "state.json"


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
        yield from ((path.name, path) for path in _files(folder))
        return
    known = _read(folder / PARTS).get("splits")
    if not isinstance(known, list):
        raise SavedDatasetError(folder / PARTS, "the file names no splits")
    if unknown := sorted(set(splits) - set(known)):
        raise SavedDatasetError(
            folder, f"the dataset has no split {unknown[0]!r}; valid splits: {', '.join(map(str, known))}"
        )
    for split in splits or known:
        yield from ((f"{split}/{path.name}", path) for path in _files(folder / str(split)))


def _files(folder: Path) -> list[Path]:
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
        advice = "save_to_disk did not write this folder, or has not finished"
        raise SavedDatasetError(path, f"the file is missing: {advice}") from error
    except (OSError, ValueError) as error:
        raise SavedDatasetError(path, f"the file cannot be read: {error}") from error
    return found if isinstance(found, dict) else {}
