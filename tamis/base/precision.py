"""Which of float32 and bfloat16 models, encoders and the first passes of a solve compute in.

bfloat16 halves what moves through memory, and processors with AVX-512 BF16 or AMX multiply it natively; yet
on some of them float32 is the faster one. So the two are timed, on the products that a small model's training
consists of. A project does that once (`tamis.store.precision_choice`), since another precision gives other
results; outside a project it is done once a process.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Literal, cast

from tamis.base.errors import UnknownNameError

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
FLOAT32: Precision = "float32"
BFLOAT16: Precision = "bfloat16"

LEAST_GAIN = 1.1
"""How many times as fast bfloat16 has to be: below that, noise would choose, and float32 is more exact."""
ROWS, WIDTH, INNER = {"cpu": 1_024, "cuda": 65_536}, 256, 768
"""Of the layer that is timed: a batch of four windows through a model of six million parameters.

On a GPU so few rows take the time of starting the products, the same in both; there it is a batch of the
encoder.
"""
ROUNDS = 7


@dataclass(frozen=True, eq=False)
class _InForce:
    """A precision while somebody holds it; two of the same are not equal."""

    precision: Precision


_IN_FORCE: list[_InForce] = []


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """Milliseconds of a layer, forward and backward; bfloat16 is None where the hardware lacks it."""

    device: str
    float32_ms: float
    bfloat16_ms: float | None

    @property
    def faster(self) -> Precision:
        """The precision to compute in."""
        if self.bfloat16_ms is None or self.float32_ms < LEAST_GAIN * self.bfloat16_ms:
            return FLOAT32
        return BFLOAT16

    @property
    def sentence(self) -> str:
        """Both times, for a person."""
        if self.bfloat16_ms is None:
            return f"this machine ({self.device}) has no hardware support for bfloat16"
        return (
            f"a test layer takes {self.float32_ms:.3g} ms in float32 and "
            f"{self.bfloat16_ms:.3g} ms in bfloat16"
        )


def has_bfloat16(device: str) -> bool:
    """Whether products in bfloat16 are done by the hardware and not emulated."""
    import torch

    if not device.startswith("cpu"):
        return device.startswith("cuda") and torch.cuda.is_bf16_supported()
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)


def measure_precisions(device: str = "auto") -> Speeds:
    """Time both precisions side by side, a fifth of a second each on two cores; medians of seven rounds."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    names = PRECISIONS if has_bfloat16(device) else (FLOAT32,)
    layers = {name: _Layer(name, device) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-2, ROUNDS):
        for name, layer in layers.items():
            seconds = layer.seconds()
            if turn >= 0:  # the first ones warm up
                times[name].append(seconds * 1e3)
    found = {name: median(some) for name, some in times.items()}
    return Speeds(device=device, float32_ms=found[FLOAT32], bfloat16_ms=found.get(BFLOAT16))


_measured_once = cache(measure_precisions)


class _Layer:
    """A gated feed-forward layer, as in a Llama."""

    def __init__(self, precision: str, device: str) -> None:
        import torch

        draw = torch.Generator().manual_seed(0)
        rows = ROWS["cuda" if device.startswith("cuda") else "cpu"]
        shapes = ((rows, WIDTH), (INNER, WIDTH), (INNER, WIDTH), (WIDTH, INNER))
        self._tensors = [
            torch.randn(shape, generator=draw).to(device, getattr(torch, precision)).requires_grad_()
            for shape in shapes
        ]
        self._device = device

    def seconds(self) -> float:
        """Time of one pass forward and backward."""
        import torch

        points_nd, gate_hd, up_hd, down_dh = self._tensors
        for tensor in self._tensors:
            tensor.grad = None
        started = time.perf_counter()
        hidden_nh = torch.nn.functional.silu(points_nd @ gate_hd.T) * (points_nd @ up_hd.T)
        (hidden_nh @ down_dh.T).sum().backward()
        if self._device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - started


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Put a precision in force in this process, for everything that leaves it open.

    Raises `UnknownNameError` unless it is one of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
    mine = _InForce(cast(Precision, precision))
    _IN_FORCE.append(mine)
    try:
        yield
    finally:
        _IN_FORCE.remove(mine)  # a step that was given up may end after another one began


def precision_in_force(device: str = "auto") -> Precision:
    """Return the precision of `computing_in`, else the faster one, which is measured once a process."""
    return _IN_FORCE[-1].precision if _IN_FORCE else _measured_once(device).faster
