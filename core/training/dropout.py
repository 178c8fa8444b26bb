"""Dropout whose chances are drawn as bytes: on a processor, drawing numbers for it costs more than the rest of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_STEPS = 256


@contextmanager
def cheap_dropout(model: Any) -> Iterator[None]:
    """Let the model's dropout modules draw bytes.

    A byte tells 256 cases apart, so the share that is dropped is the nearest 256th of what is wanted; what stays is
    scaled by exactly that share.
    """
    from torch.nn import Dropout

    changed, cheap = [module for module in model.modules() if type(module) is Dropout], _class()
    for module in changed:
        module.__class__ = cheap
    try:
        yield
    finally:
        for module in changed:
            module.__class__ = Dropout


def _class() -> Any:
    import torch

    class Dropped(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: Any, dropped: int) -> Any:
            numbers = -(-values.numel() // 8)
            # All 64 bits are drawn: without bounds, the highest would stay 0.
            drawn = torch.empty(numbers, dtype=torch.int64).random_(-(2**63), None).view(torch.uint8)
            kept = drawn[: values.numel()].view(values.shape) >= dropped
            ctx.save_for_backward(kept)
            ctx.scale = _STEPS / (_STEPS - dropped)
            return (values * kept).mul_(ctx.scale)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            (kept,) = ctx.saved_tensors
            return (gradient * kept).mul_(ctx.scale), None

    apply: Any = Dropped.apply

    class ByteDropout(torch.nn.Dropout):
        def forward(self, values: Any) -> Any:
            dropped = round(self.p * _STEPS)
            cheap = self.training and 0 < dropped < _STEPS and not self.inplace and values.device.type == "cpu"
            return apply(values, dropped) if cheap else super().forward(values)

    return ByteDropout
