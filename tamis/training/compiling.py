"""A model's own operations fused by PyTorch's compiler while it trains.

The operations between the matrix products of a small model (norms, rotations, activations) become a few
loops: a step of .8M parameters takes two thirds to four fifths of the time (`python -m benchmarks.training
--presets llama-0.8m`). The first step of a process takes a quarter of a minute more, or a whole one while the
compiler's cache is empty, so it is for trainings of minutes. Results differ from others in rounding, and may
differ from those of another compilation.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tamis.training.errors import NoCompilerError


@contextmanager
def fused(model: Any, wanted: bool) -> Iterator[None]:
    """Compile all but the output layer of a transformers model while inside, if `wanted`.

    Only what is done while training is compiled, for batches of any size. Raises `NoCompilerError` at the
    first of them where there is nothing to compile with.
    """
    if not wanted:
        yield
        return
    import torch
    from torch._dynamo.exc import BackendCompilerFailed  # there is no public name for it

    layers = model.base_model
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
