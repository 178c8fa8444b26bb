"""Linear layers that multiply whole numbers, to read many texts with: processors multiply more of them at once.

In bfloat16 they are int8, twice as many at once; in 32 bits int16, half again as many.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from core.models.compiled_layers import is_linear

if TYPE_CHECKING:
    from torch import Tensor

    from core.models.kernels import Kernels


@contextmanager
def whole_products(model: Any, kernels: "Kernels") -> Iterator[bool]:
    """While this lasts, linear layers of the model's layers multiply whole numbers. They take and give what they did.

    Gives whether there are any. Its head stays as it is, and so do all weights.
    """
    from core.models.adapting import layer_stacks

    changed: list[Any] = []
    last = _Last(kernels)
    try:
        for stack in layer_stacks(model):
            for module in model.get_submodule(stack).modules():
                alone = is_linear(module) and "forward" not in vars(module)
                if alone and _can_multiply(kernels, module.weight):
                    vars(module).update(_products(module, kernels, last))
                    changed.append(module)
        yield bool(changed)
    finally:
        for module in changed:
            del module.forward, module.bent


def _can_multiply(kernels: "Kernels", weight: "Tensor") -> bool:
    import torch

    return kernels.can_round(weight) if weight.dtype == torch.float32 else kernels.can_multiply_int8(weight)


class _Last:
    """The tokens that were rounded last: queries, keys and values come from the same."""

    def __init__(self, kernels: "Kernels") -> None:
        import torch

        self._by = {torch.bfloat16: kernels.int8_rows, torch.float32: kernels.int16_rows}
        self._given: Any = None
        self._rows: Any = None

    def rows(self, given: "Tensor") -> Any:
        """As `Kernels.int8_rows` rounds them, or `Kernels.int16_rows` where they have 32 bits."""
        if given is not self._given:
            self._given, self._rows = given, self._by[given.dtype](given)
        return self._rows


def _products(module: Any, kernels: "Kernels", last: _Last) -> "dict[str, Callable[..., Tensor]]":
    """What a linear layer computes instead: by itself, and bent by GELU as `core.models.compiled_layers` asks for."""
    import torch

    product: Callable[..., Tensor]
    if module.weight.dtype == torch.float32:
        product = partial(kernels.int16_linear, weight=module.weight.detach(), bias=module.bias)
    else:
        product = partial(kernels.int8_linear, weights=kernels.int8_weights(module.weight, module.bias))

    def forward(input: "Tensor") -> "Tensor":
        return product(last.rows(input))

    def bent(input: "Tensor", bend: Any) -> "Tensor":
        return product(last.rows(input), bend=True)

    return {"forward": forward, "bent": bent}
