"""Weights in bfloat16 to compute with, beside exact ones that are trained.

Source: mixed precision with a master copy of the weights (Micikevicius et al., 2018, section 3.1).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from core.models.adapting import is_adapted
from core.models.attention import short_attention
from core.models.compiled_layers import compiled_layers
from core.models.kernel_building import ready
from core.models.unpadded import can_go_unpadded, unpadded, which_handed_on

if TYPE_CHECKING:
    from torch import Tensor

    from core.device import Device

# Tokens from which on it pays to try whether padding can be left out.
WORTH_A_TRIAL = 8192


class Rounded:
    """A model whose 32-bit weights are rounded to bfloat16 while this lasts.

    Steps are far smaller than what bfloat16 tells apart, so they are taken on the exact weights, which are kept beside
    the rounded ones.

    Args:
        forget: whether the exact frozen weights of an adapted model are given up, as nobody saves them.
    """

    def __init__(self, model: Any, *, forget: bool = False) -> None:
        import torch

        kept = not (forget and is_adapted(model))
        self._exact: dict[Any, Tensor] = {}
        for weight in model.parameters():
            if weight.dtype != torch.float32:
                continue
            if kept or weight.requires_grad:
                self._exact[weight] = weight.data
            weight.data = weight.data.to(torch.bfloat16)

    def exact(self, weight: Any) -> "Tensor":
        """The numbers of a weight as they are trained: of the same shape, in 32 bits."""
        numbers: Tensor = self._exact.get(weight, weight.data)
        return numbers

    def move(self, kind: str) -> None:
        """Take the exact weights where the model is, a device as torch calls it: there they are trained."""
        for weight, numbers in self._exact.items():
            self._exact[weight] = numbers.to(kind)

    @contextmanager
    def made_exact(self) -> Iterator[None]:
        """The model with its exact weights, to be saved or to be given other ones."""
        import torch

        for weight, numbers in self._exact.items():
            weight.data = numbers
        try:
            yield
        finally:
            for weight in self._exact:
                weight.data = weight.data.to(torch.bfloat16)

    def end(self) -> None:
        """Leave the model with its exact weights."""
        for weight, numbers in self._exact.items():
            weight.data = numbers
        self._exact.clear()


class Unrounded:
    """The same for a model that computes with its weights as they are."""

    def exact(self, weight: Any) -> "Tensor":
        """The weight itself."""
        numbers: Tensor = weight.data
        return numbers

    def move(self, kind: str) -> None:
        """Nothing but the model is there to be moved."""

    @contextmanager
    def made_exact(self) -> Iterator[None]:
        """Nothing changes."""
        yield

    def end(self) -> None:
        """Nothing changes."""


@contextmanager
def rounded_reading(model: Any, tokens: int = 0, *, rounded: bool = True) -> Iterator[bool]:
    """The model with rounded weights, to read many texts with on a processor; afterwards it is as it was.

    Gives whether its layers hand on nothing but tokens, by compiled steps: then large batches need little memory.

    Args:
        tokens: of all texts. Where they are many, a trial says whether padding can be left out: then only what leaves
            the model is laid out as usual, not what its layers hand on.
        rounded: whether weights are: else all is as exact as it was.
    """
    import torch

    many = tokens >= WORTH_A_TRIAL
    alone, kernels = many and can_go_unpadded(model), ready() if many else None
    handed_on = which_handed_on(model) if alone else "all"
    weights = Rounded(model) if rounded else Unrounded()
    try:
        with ExitStack() as stack:
            stack.enter_context(compiled_layers(model, kernels))
            with suppress(ValueError):  # a family with an attention of its own
                stack.enter_context(short_attention(model))
                if alone:
                    stack.enter_context(unpadded(model, kernels=kernels, handed_on=handed_on))
            with torch.inference_mode():
                yield alone and kernels is not None
    finally:
        weights.end()


@contextmanager
def autocast_reading(device: "Device") -> Iterator[None]:
    """Exact weights, which are rounded whenever a product needs them where that is faster on this device."""
    import torch

    autocast = torch.autocast(device.kind, torch.bfloat16, enabled=device.precision == "bfloat16")
    with torch.inference_mode(), autocast:
        yield
