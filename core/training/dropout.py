"""Cheap dropout on a processor, where drawing numbers for it costs more than the rest of it.

Chances follow from a seed and are never kept where that could be compiled; elsewhere they are drawn as bytes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from core.models.kernels import drawn_seed

if TYPE_CHECKING:
    from core.models.kernels import Kernels

_STEPS = 256


@contextmanager
def cheap_dropout(model: Any, kernels: "Kernels | None" = None) -> Iterator[None]:
    """Let the model's dropout modules draw a seed, or bytes where there are no kernels.

    A byte tells 256 cases apart, so the share that is dropped is the nearest 256th of what is wanted; what stays is
    scaled by exactly that share.
    """
    from torch.nn import Dropout

    changed = [module for module in model.modules() if type(module) is Dropout]
    cheap = _of_seeds(kernels) if kernels else _of_bytes()
    for module in changed:
        module.__class__ = cheap
    try:
        yield
    finally:
        for module in changed:
            module.__class__ = Dropout


def _of_seeds(kernels: "Kernels") -> Any:
    import torch

    class Dropped(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: Any, share: float) -> Any:
            ctx.seed, ctx.share = drawn_seed(), share
            return kernels.dropped(values, ctx.seed, share)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return kernels.dropped(gradient, ctx.seed, ctx.share), None

    apply: Any = Dropped.apply

    class SeededDropout(torch.nn.Dropout):
        def forward(self, values: Any) -> Any:
            cheap = self.training and 0 < self.p < 1 and not self.inplace and kernels.knows(values)
            return apply(values, self.p) if cheap else super().forward(values)

    return SeededDropout


def _of_bytes() -> Any:
    import torch

    # Whole numbers as wide as the values: a mask of all ones keeps the bits of a value, one of zeros leaves 0. Products
    # with truth values, which are turned into values first, take several times as long.
    as_bits = {2: torch.int16, 4: torch.int32}

    def masked(values: Any, kept: Any, scale: float) -> Any:
        bits = as_bits[values.element_size()]
        return (values.view(bits) & kept.to(bits)).view(values.dtype).mul_(scale)

    class Dropped(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: Any, dropped: int) -> Any:
            numbers = -(-values.numel() // 8)
            # All 64 bits are drawn: without bounds, the highest would stay 0.
            drawn = torch.empty(numbers, dtype=torch.int64).random_(-(2**63), None).view(torch.uint8)
            byte = drawn[: values.numel()].view(values.shape).to(torch.int16)
            # -1, which is all ones, where the byte is not below what is dropped. Comparing takes longer.
            kept = byte.neg_().add_(dropped - 1).bitwise_right_shift_(15).to(torch.int8)
            ctx.save_for_backward(kept)
            ctx.scale = _STEPS / (_STEPS - dropped)
            return masked(values, kept, ctx.scale)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            (kept,) = ctx.saved_tensors
            return masked(gradient, kept, ctx.scale), None

    apply: Any = Dropped.apply

    class ByteDropout(torch.nn.Dropout):
        def forward(self, values: Any) -> Any:
            dropped = round(self.p * _STEPS)
            cheap = self.training and 0 < dropped < _STEPS and not self.inplace and values.device.type == "cpu"
            cheap = cheap and values.element_size() in as_bits
            return apply(values, dropped) if cheap else super().forward(values)

    return ByteDropout
