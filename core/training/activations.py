"""GELU that keeps its slope: on a processor, working it out again on the way back takes longer than the rest of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.models.kernels import Kernels


@contextmanager
def quick_gelu(model: Any, kernels: "Kernels | None") -> Iterator[None]:
    """Let the model's GELU modules keep their slopes where there are kernels; its approximations stay as they are."""
    from transformers.activations import GELUActivation

    changed = [module for module in model.modules() if type(module) is GELUActivation] if kernels else []
    quick = _class(kernels) if kernels else GELUActivation
    for module in changed:
        module.__class__ = quick
    try:
        yield
    finally:
        for module in changed:
            module.__class__ = GELUActivation


def _class(kernels: "Kernels") -> Any:
    import torch
    from transformers.activations import GELUActivation

    class Bent(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: Any) -> Any:
            found, slopes = kernels.gelu(values)
            ctx.save_for_backward(slopes)
            return found

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            (slopes,) = ctx.saved_tensors
            return gradient * slopes

    apply: Any = Bent.apply

    class QuickGELU(GELUActivation):
        def forward(self, input: Any) -> Any:
            learned = input.requires_grad and torch.is_grad_enabled() and kernels.knows(input)
            return apply(input) if learned else super().forward(input)

    return QuickGELU
