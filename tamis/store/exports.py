"""Names of exported files: a subset, and next to it the files that describe it."""

from pathlib import Path

CARD, CROISSANT, OPENLINEAGE, PROV = ".card.md", ".croissant.json", ".openlineage.jsonl", ".prov.json"
DESCRIPTIONS = (CARD, CROISSANT, OPENLINEAGE, PROV)


def beside(subset: Path, ending: str) -> Path:
    """Return the path of the file of that kind that describes a subset."""
    return subset.with_name(f"{subset.stem}{ending}")
