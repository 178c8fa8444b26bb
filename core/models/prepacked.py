"""Weights laid out as the processor's products read them, for models that write a token at a time.

A product of a few rows spends most of its time on reading weights, and some of it on laying them out each time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# Rows for which weights are laid out; others are multiplied with them as well.
_ROWS = 16


@contextmanager
def prepacked(model: Any) -> "Iterator[set[Tensor]]":
    """While this lasts, linear layers multiply with their weights rounded to bfloat16 and laid out before, on a CPU.

    They take what `torch.nn.Linear` takes under autocast, and give that but for its rounding. The weights themselves
    stay. Where this PyTorch can't do it, nothing changes. Gives the weights that are stood in for.
    """
    from torch.nn import Linear

    changed: list[Any] = []
    try:
        # How products of the kind that PyTorch's compiler calls answer that they are not there.
        with suppress(AttributeError, NotImplementedError, RuntimeError):
            for module in model.modules():
                if type(module) is Linear and module.weight.device.type == "cpu" and "forward" not in vars(module):
                    vars(module)["forward"] = _product(module)
                    changed.append(module)
        yield {module.weight for module in changed}
    finally:
        for module in changed:
            del module.forward


def _product(module: Any) -> "Callable[[Tensor], Tensor]":
    import torch

    weight = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach().to(torch.bfloat16), _ROWS)
    bias = None if module.bias is None else module.bias.detach().to(torch.bfloat16)
    multiply = torch.ops.mkldnn._linear_pointwise

    def forward(given: "Tensor") -> "Tensor":
        found: Tensor = multiply(given.to(torch.bfloat16), weight, bias, "none", [], "")
        return found

    forward(torch.zeros(1, module.in_features))  # says at once where only laying out is known
    return forward
