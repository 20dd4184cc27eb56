"""A model's own operations fused by PyTorch's compiler while it trains.

What lies between the matrix products of a small model (norms, rotations, activations) becomes a few loops: a
step of .8M parameters takes two thirds to four fifths of the time (`python -m benchmarks.training --presets
llama-0.8m`). The first step of a process pays with a quarter of a minute, or a whole one where nothing is in
the compiler's cache yet, so it is for trainings of minutes. Results differ from others in their rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from tamis.training.errors import NoCompilerError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import nn


def fused(model: Any, wanted: bool) -> "AbstractContextManager[None]":
    """Compile all but the output layer of a transformers model while inside, if `wanted`.

    Only what is done while training is compiled, for batches of any size. Raises `NoCompilerError` at the
    first of them where there is nothing to compile with.
    """
    return _fused(model.base_model) if wanted else nullcontext()


@contextmanager
def _fused(layers: "nn.Module") -> Iterator[None]:
    import torch
    from torch._dynamo.exc import BackendCompilerFailed  # what torch.compile documents as raised

    plain = layers.forward
    quick = torch.compile(plain, dynamic=True)

    def forward(*values: Any, **named: Any) -> Any:
        if not layers.training:
            return plain(*values, **named)
        try:
            return quick(*values, **named)
        except BackendCompilerFailed as error:
            raise NoCompilerError(str(error)) from error

    layers.forward = forward
    try:
        yield
    finally:
        del layers.forward
