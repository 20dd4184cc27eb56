"""The list of faults (faults.toml): what each breaks, the change that makes it, the tests that catch it."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("faults.toml")
PRODUCT = ("tamis", "assets", "resources", "sensors")


class FaultError(Exception):
    """A fault that does not apply: the code it changes was rewritten, or the list is wrong."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One replacement in a file of the product: `old` occurs there exactly once."""

    file: str
    old: str
    new: str

    def changed(self, text: str) -> str:
        """Return the text of the file with the change; raise `FaultError` unless it applies exactly once."""
        if self.file.split("/")[0] not in PRODUCT:
            raise FaultError(f"{self.file} is not product code; a fault changes {', '.join(PRODUCT)} only")
        if (count := text.count(self.old)) != 1:
            raise FaultError(
                f"{self.file}: the text to replace occurs {count} times, not once. The code was rewritten: "
                f"make the same mistake in the new code, or remove the fault.\n{self.old}"
            )
        return text.replace(self.old, self.new)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A mistake that a refactoring could make; `guarantee` is the point of section 9 of the design it breaks.

    `needs`: a file or folder of the checkout without which the fault is left out, "" for none.
    """

    name: str
    guarantee: int
    mistake: str
    changes: tuple[Change, ...]
    tests: tuple[str, ...]
    needs: str = ""

    @property
    def tried(self) -> bool:
        """Whether what it needs is there."""
        return (CHECKOUT / self.needs).exists()

    def apply(self, checkout: Path) -> None:
        """Make the mistake in a checkout; raise `FaultError` when a change does not apply."""
        for change in self.changes:
            path = checkout / change.file
            text = change.changed(path.read_text(encoding="utf-8"))
            compile(text, change.file, "exec")  # a fault that no import survives tests nothing
            path.write_text(text, encoding="utf-8")


def read_faults(path: Path = LIST) -> list[Fault]:
    """Return the faults of a list; raise `FaultError` for repeated names and changes without effect."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["fault"]
    faults = [
        Fault(
            name=entry["name"],
            guarantee=entry["guarantee"],
            mistake=entry["mistake"].strip(),
            changes=tuple(Change(**change) for change in entry["change"]),
            tests=tuple(entry["tests"]),
            needs=entry.get("needs", ""),
        )
        for entry in entries
    ]
    names = [fault.name for fault in faults]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise FaultError(f"{path.name}: repeated names {', '.join(sorted(repeated))}")
    if idle := [fault.name for fault in faults if any(change.old == change.new for change in fault.changes)]:
        raise FaultError(f"{path.name}: changes without effect in {', '.join(idle)}")
    return faults
