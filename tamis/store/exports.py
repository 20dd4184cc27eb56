"""Names of exported files: a subset, and the files that describe it, next to it or in its folder."""

from pathlib import Path

CARD, CROISSANT, OPENLINEAGE, PROV = ".card.md", ".croissant.json", ".openlineage.jsonl", ".prov.json"
DESCRIPTIONS = (CARD, CROISSANT, OPENLINEAGE, PROV)
FOLDER = "hf"
"""Form of a folder that `datasets.load_dataset` opens."""
FOR_TRAINER = "for-"
"""Begins the form of a folder for a trainer, which its name ends with: `best.for-trl`."""
CONFIGURATIONS = {
    "trl": ("trl.yaml",),
    "hf": ("training_arguments.json", "recipe.json", "train.py"),
    "axolotl": ("axolotl.yaml",),
    "llama-factory": ("llama_factory.yaml", "dataset_info.json"),
}
"""Files that configure a trainer, in such a folder."""
ROWS_TO_TRAIN = "train.jsonl"
"""The rows there."""
WITH_SCORES = ".scores"
"""Ends the name of an export of all documents with their scores, before the ending of its format."""
README = "README.md"
"""Name of the card there: its head says where the rows are."""
_ROWS = Path("data", "train-00000-of-00001.parquet")


def is_folder(form: str) -> bool:
    """Return whether an export of that form is a folder."""
    return form == FOLDER or form.startswith(FOR_TRAINER)


def rows_in_folder(folder: Path, form: str = FOLDER) -> Path:
    """Return the path of the rows in an exported folder."""
    return folder / (_ROWS if form == FOLDER else ROWS_TO_TRAIN)


def folder_of(subset: Path) -> Path | None:
    """Return the folder for `datasets` whose rows a file holds; None where it is by itself."""
    return subset.parent.parent if Path(*subset.parts[-2:]) == _ROWS else None


def description_path(subset: Path, ending: str) -> Path:
    """Return the path of the file of that kind that describes a subset."""
    if folder := folder_of(subset):
        return folder / (README if ending == CARD else f"subset{ending}")
    return subset.with_name(f"{subset.stem}{ending}")
