"""Device and precision of training, and an allocator setting worth 15-20 % on a CPU.

Forward and backward passes run in the precision in force (tamis/base/precision.py); weights and Adam moments
stay in float32.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tamis.base.errors import UnknownNameError
from tamis.base.precision import BFLOAT16, PRECISIONS, precision_in_force

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MEBIBYTE = 1 << 20
AUTOCAST = "autocast"


def choose_device(name: str) -> "torch.device":
    """`auto` is CUDA when there is one, else the CPU."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def named_precision(name: str, device: "torch.device") -> "torch.dtype":
    """A precision as a type of torch; `auto` is the precision in force. Raises `UnknownNameError`."""
    import torch

    if name not in ("auto", *PRECISIONS):
        raise UnknownNameError("dtype", name, ("auto", *PRECISIONS))
    chosen = precision_in_force(device.type) if name == "auto" else name
    return torch.bfloat16 if chosen == BFLOAT16 else torch.float32


def precision_of(name: str, device: "torch.device") -> "torch.dtype":
    """Precision that weights are held in while training: those of "autocast" stay in float32."""
    import torch

    return torch.float32 if name == AUTOCAST else named_precision(name, device)


@contextmanager
def casting(name: str, device: "torch.device") -> Iterator[None]:
    """With "autocast", products inside are made in bfloat16 and what is delicate in float32."""
    import torch

    with torch.autocast(device.type, torch.bfloat16, enabled=name == AUTOCAST):
        yield


@contextmanager
def weights_in(model: "torch.nn.Module", precision: "torch.dtype") -> Iterator[None]:
    """The model's parameters in another precision while inside, and exactly as they were afterwards."""
    parameters = list(model.parameters())
    originals = [parameter.data for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.data = parameter.data.to(precision)
        yield
    finally:
        for parameter, original in zip(parameters, originals, strict=True):
            parameter.data = original


@contextmanager
def retained_heap() -> Iterator[None]:
    """Keep freed activations in the process while inside, so that steps do not fault their pages in again.

    glibc only; elsewhere it does nothing. On leaving, memory returns to the system, and the thresholds are
    left at the largest values that glibc's own dynamic rule reaches.
    """
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if library is None or not (hasattr(library, "mallopt") and hasattr(library, "malloc_trim")):
        yield
        return
    library.mallopt(M_MMAP_THRESHOLD, 1024 * MEBIBYTE)
    library.mallopt(M_TRIM_THRESHOLD, 2047 * MEBIBYTE)
    try:
        yield
    finally:
        library.mallopt(M_MMAP_THRESHOLD, 32 * MEBIBYTE)
        library.mallopt(M_TRIM_THRESHOLD, 64 * MEBIBYTE)
        library.malloc_trim(0)


def memory_in_use(device: "torch.device") -> int:
    """Bytes: the peak on a CUDA device since the process began, else the resident set of the process now."""
    import psutil
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return int(psutil.Process().memory_info().rss)
