"""The precision that was chosen for a project by measurement, kept in its home.

It enters input keys, so it must not follow the machine: a home that another machine opens keeps its choice.
"""

from datetime import UTC, datetime
from typing import Any, Literal

from tamis.base.precision import Precision, Speeds, measure_precisions
from tamis.store.tables import DamagedTableError, Store

TABLE = "precision"
AUTO: Literal["auto"] = "auto"


def read_choice(store: Store) -> dict[str, Any] | None:
    """The row of what was chosen: `precision`, both times, device, when; None before it was chosen.

    A damaged table counts as none: the next command that writes measures again.
    """
    try:
        rows = store.read(TABLE).to_dicts()
    except DamagedTableError:
        return None
    return rows[0] if rows else None


def choose(store: Store, locked: Precision | None = None) -> Speeds:
    """Measure, and write the faster precision, or that of tamis.lock, into the home; the caller writes."""
    speeds = measure_precisions()
    row = {
        "scope": "project",
        "precision": locked or speeds.faster,
        "device": speeds.device,
        "float32_ms": speeds.float32_ms,
        "bfloat16_ms": speeds.bfloat16_ms,
        "made_at": datetime.now(UTC).replace(tzinfo=None),
    }
    store.merge_values(TABLE, [row])
    return speeds
