"""What the transport benchmark claims of Tamis next to other solvers, and whether a run bears it out."""

from typing import Any

FAST = ("pot-dense", "pot-torch", "geomloss", "ott-jax")
STORES_COSTS = ("pot-dense", "pot-torch", "geomloss")
STREAMED = "tamis-streamed"
OVER_LAZY, OVER_FASTEST, SHARE_OF_MEMORY = 20.0, 1.3, 0.1


def ratios(lines: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """A line for Tamis next to every other solver; `wanted` is empty where nothing is claimed.

    lines: by solver, with `seconds` and `peak_memory_mib`. Claims: 20 times faster than POT lazy; with a plan
    that is kept 1.3 times faster than the fastest of the others that were run, and streamed a tenth of the
    memory of those that store all costs.
    """
    owns = [name for name in lines if name.startswith("tamis")]
    others = [name for name in lines if not name.startswith("tamis")]
    fastest = min(
        (name for name in others if name in FAST), key=lambda name: seconds(lines, name), default=""
    )
    return [_ratio(lines, own, name, fastest) for own in owns for name in others]


def seconds(lines: dict[str, dict[str, Any]], name: str) -> float:
    """Seconds that a solver took."""
    return float(lines[name]["seconds"])


def _ratio(lines: dict[str, dict[str, Any]], own: str, name: str, fastest: str) -> dict[str, Any]:
    faster = seconds(lines, name) / seconds(lines, own)
    share = lines[own]["peak_memory_mib"] / max(1, lines[name]["peak_memory_mib"])
    wanted, reached = {}, []
    if name == "pot-lazy" or (name == fastest and own != STREAMED):
        wanted["times_faster"] = OVER_LAZY if name == "pot-lazy" else OVER_FASTEST
        reached.append(faster >= wanted["times_faster"])
    if name in STORES_COSTS and own == STREAMED:
        wanted["share_of_memory"] = SHARE_OF_MEMORY
        reached.append(share <= SHARE_OF_MEMORY)
    return {
        "ratio": f"{own} to {name}",
        "times_faster": round(faster, 2),
        "share_of_memory": round(share, 3),
        "wanted": wanted,
        "reached": all(reached) if reached else None,
    }


def missed(ratio: dict[str, Any]) -> str | None:
    """A sentence on what a ratio line missed; None when it missed nothing."""
    if ratio["reached"] is not False:
        return None
    words = {
        "times_faster": "times faster, wanted at least",
        "share_of_memory": "of its memory, wanted at most",
    }
    parts = [f"{ratio[name]:g} {words[name]} {wanted:g}" for name, wanted in ratio["wanted"].items()]
    return f"{ratio['ratio']}: {'; '.join(parts)}"
