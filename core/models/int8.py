"""Linear layers that multiply int8, to read many texts with: on a processor that can, twice as fast as bfloat16."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from core.models.compiled_layers import is_linear

if TYPE_CHECKING:
    from torch import Tensor

    from core.models.kernels import Int8Rows, Kernels


@contextmanager
def int8_products(model: Any, kernels: "Kernels") -> Iterator[bool]:
    """While this lasts, linear layers of the model's layers multiply int8; what they take and give is in bfloat16.

    Gives whether there are any. Its head stays as it is, and so do all weights.
    """
    from core.models.adapting import layer_stacks

    changed: list[Any] = []
    last = _Last(kernels)
    try:
        for stack in layer_stacks(model):
            for module in model.get_submodule(stack).modules():
                alone = is_linear(module) and "forward" not in vars(module)
                if alone and kernels.can_multiply_int8(module.weight):
                    vars(module).update(_products(module, kernels, last))
                    changed.append(module)
        yield bool(changed)
    finally:
        for module in changed:
            del module.forward, module.bent


class _Last:
    """The tokens that were rounded last: queries, keys and values come from the same."""

    def __init__(self, kernels: "Kernels") -> None:
        self._kernels = kernels
        self._given: Any = None
        self._rows: Any = None

    def rows(self, given: "Tensor") -> "Int8Rows":
        if given is not self._given:
            self._given, self._rows = given, self._kernels.int8_rows(given)
        rows: Int8Rows = self._rows
        return rows


def _products(module: Any, kernels: "Kernels", last: _Last) -> "dict[str, Callable[..., Tensor]]":
    """What a linear layer computes instead: by itself, and bent by GELU as `core.models.compiled_layers` asks for."""
    weights = kernels.int8_weights(module.weight, module.bias)

    def forward(input: "Tensor") -> "Tensor":
        return kernels.int8_linear(last.rows(input), weights)

    def bent(input: "Tensor", bend: Any) -> "Tensor":
        return kernels.int8_linear(last.rows(input), weights, bend=True)

    return {"forward": forward, "bent": bent}
