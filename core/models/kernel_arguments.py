"""What compiled steps (`kernels.c`) are given: their sizes, and structures as they take them."""

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Numbers that a thread takes at a time; the squares of so many are added up in 32 bits.
PART = 4096
# Rows of a product that are computed at once where a processor multiplies pairs of bfloat16, or int8.
ROWS = 8
# Columns of such a product that are computed at once.
COLUMNS = 32
# The widest row of a norm, and the rows whose gradients of weight and bias are summed up together.
WIDEST, GROUP = 8192, 64
POINTER, LONG, INT, FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_float
_DROPOUT = (POINTER, POINTER, LONG, ctypes.c_uint64, ctypes.c_uint32, FLOAT, INT)
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "dropout16": _DROPOUT,
    "dropout32": _DROPOUT,
    "gelu16": (POINTER, POINTER, POINTER, LONG, INT),
    "gelu32": (POINTER, POINTER, POINTER, LONG, INT),
    "norm16": (POINTER, POINTER, INT),
    "norm32": (POINTER, POINTER, INT),
    "norm_back16": (*[POINTER] * 6, INT),
    "norm_back32": (*[POINTER] * 6, INT),
    "squares16": (POINTER, POINTER, LONG, POINTER, INT),
    "adamw16": (POINTER, LONG, INT),
    "adamw_rows16": (*[POINTER] * 7, LONG, LONG, POINTER, INT),
    "attention16": (*[POINTER] * 3, INT),
    "attention32": (*[POINTER] * 3, INT),
    "attention_back16": (*[POINTER] * 4, INT),
    "attention_back32": (*[POINTER] * 4, INT),
    "linear16": (POINTER, INT, INT),
    "linear_back16": (POINTER, INT),
    "linear_weights16": (POINTER, INT),
    "int8_rows16": (POINTER, LONG, INT, *[POINTER] * 4, INT),
    "int8_product16": (POINTER, INT, INT),
    "int8_linear16": (POINTER, POINTER, INT, INT),
    "int8_linear_back16": (POINTER, POINTER, INT),
    "linear32": (POINTER, INT, INT),
    "linear_back32": (POINTER, INT),
    "linear_weights32": (POINTER, INT),
    "int16_rows32": (POINTER, LONG, INT, POINTER, POINTER, INT),
    "int16_linear32": (POINTER, POINTER, INT, INT),
    "int16_linear_back32": (POINTER, POINTER, INT),
    "int16_linear_weights32": (POINTER, INT),
}


def place(values: "Tensor | None") -> int | None:
    """Where its numbers lie; None for none."""
    return None if values is None else values.data_ptr()


class Laid(ctypes.Structure):
    """Where the numbers of a first token lie, and how far from there those of other tokens and heads."""

    _fields_ = (("first", POINTER), ("token", LONG), ("head", LONG))


class Texts(ctypes.Structure):
    """Texts without padding, and what attention over them needs."""

    _fields_ = (
        ("begins", POINTER), ("lengths", POINTER), ("count", LONG), ("longest", INT), ("heads", INT),
        ("dim", INT), ("asking", INT), ("scale", FLOAT), ("room", POINTER),
    )  # fmt: skip


class CStep(ctypes.Structure):
    """`Step` as `kernels.c` takes it."""

    _fields_ = tuple((name, FLOAT) for name in ("scale", "beta1", "beta2", "keep", "rate", "root", "eps"))


class Changed(ctypes.Structure):
    """`Change` as `kernels.c` takes it."""

    _fields_ = (
        ("exact", POINTER), ("mean", POINTER), ("square", POINTER), ("gradient", POINTER), ("weight", POINTER),
        ("count", LONG), ("step", CStep),
    )  # fmt: skip


class CNorm(ctypes.Structure):
    """`Norm` as `kernels.c` takes it."""

    _fields_ = (
        ("given", POINTER), ("beside", POINTER), ("weight", POINTER), ("bias", POINTER), ("even", POINTER),
        ("scales", POINTER), ("rows", LONG), ("width", INT), ("below", ctypes.c_uint32), ("seed", ctypes.c_uint64),
        ("scale", FLOAT), ("eps", FLOAT),
    )  # fmt: skip


THREE = POINTER * 3


class Linear(ctypes.Structure):
    """Up to three linear layers of the same tokens, there and back."""

    _fields_ = (
        ("given", POINTER), ("weights", THREE), ("wanted", THREE), ("added", THREE), ("beside", POINTER),
        ("found", THREE), ("slopes", POINTER), ("sums", THREE), ("tokens", LONG), ("inner", INT), ("outer", INT),
        ("layers", INT), ("room", POINTER),
    )  # fmt: skip


class Rows8(ctypes.Structure):
    """`Int8Rows` as `kernels.c` takes them."""

    _fields_ = tuple((name, POINTER) for name in ("whole", "scales", "zeros", "sums"))


class Rows16(ctypes.Structure):
    """`Int16Rows` as `kernels.c` takes them."""

    _fields_ = (("whole", POINTER), ("scales", POINTER))


class Int8(ctypes.Structure):
    """A linear layer of int8 whose weights were rounded before."""

    _fields_ = (
        ("given", Rows8), ("weights", POINTER), ("widths", POINTER), ("zeros", POINTER), ("added", POINTER),
        ("found", POINTER), ("tokens", LONG), ("inner", INT), ("outer", INT),
    )  # fmt: skip


@dataclass(frozen=True)
class Int8Weights:
    """Weights of a linear layer as int8, laid out for the processor (`Kernels.int8_weights`).

    Attributes:
        laid: of shape (outer / 32, inner / 4, 32, 4), 128 too high.
        widths, zeros, added: of shape (outer,): of each row of the weights the scale, the sum times it, and the bias.
    """

    laid: "Tensor"
    widths: "Tensor"
    zeros: "Tensor"
    added: "Tensor"


@dataclass(frozen=True)
class Int8Rows:
    """Tokens as int8 (`Kernels.int8_rows`).

    Attributes:
        shape: of the tokens, (…, inner).
        whole: of shape (tokens, inner), with room for a multiple of as many tokens as are multiplied at once.
        scales, zeros, sums: of shape (tokens,): for each how far one number is from the next, which stands for 0, and
            their sum.
    """

    shape: "torch.Size"
    whole: "Tensor"
    scales: "Tensor"
    zeros: "Tensor"
    sums: "Tensor"

    def given(self) -> Rows8:
        """As the compiled steps take it."""
        return Rows8(*(each.data_ptr() for each in (self.whole, self.scales, self.zeros, self.sums)))


@dataclass(frozen=True)
class Int16Rows:
    """Tokens as int16 (`Kernels.int16_rows`).

    Attributes:
        shape: of the tokens, (…, inner).
        whole: of shape (tokens, inner), with room for as many tokens as are multiplied at once.
        scales: of shape (tokens,), alike: for each how far one number is from the next.
    """

    shape: "torch.Size"
    whole: "Tensor"
    scales: "Tensor"

    def given(self) -> Rows16:
        """As the compiled steps take it."""
        return Rows16(self.whole.data_ptr(), self.scales.data_ptr())


@dataclass(frozen=True)
class Step:
    """A step of AdamW.

    Attributes:
        number: of the step, from 1.
        lr, betas, eps, weight_decay: as `torch.optim.AdamW` calls them.
        scale: of the gradient.
    """

    number: int
    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    scale: float = 1.0

    def given(self) -> CStep:
        """As the compiled steps take it."""
        first, second = self.betas
        rate, root = self.lr / (1 - first**self.number), (1 - second**self.number) ** -0.5
        return CStep(self.scale, first, second, 1 - self.lr * self.weight_decay, rate, root, self.eps)


@dataclass(frozen=True)
class Change:
    """A weight that `Kernels.adamw` changes.

    Attributes:
        weight: with its gradient, see `Kernels.can_step`.
        exact: its numbers as they are trained.
        means: of the gradient and of its square, which go on.
        step: what is done.
    """

    weight: "Tensor"
    exact: "Tensor"
    means: "tuple[Tensor, Tensor]"
    step: Step

    def given(self, step: CStep) -> Changed:
        """As the compiled steps take it, with the step as they take that."""
        places = (self.exact, *self.means, self.weight.grad, self.weight)
        return Changed(*map(place, places), self.weight.numel(), step)


class Norm:
    """A norm over rows, of what is left of some numbers, added to others.

    Args:
        weight, bias: of shape (width,), in the format of what is normed.
        eps: what is added to the variance of a row.
        seed, share: of what is dropped, as `Kernels.dropped` takes them; nothing is where the share is 0.
    """

    def __init__(self, weight: "Tensor", bias: "Tensor", eps: float, seed: int = 0, share: float = 0.0) -> None:
        self.seed, self.share, self._eps = seed, share, eps
        self._weight, self._bias = weight.detach().contiguous(), bias.detach().contiguous()

    def told(self, rows: int, even: "Tensor | None", scales: "Tensor | None") -> CNorm:
        """As the compiled steps take it."""
        weights = (self._weight.data_ptr(), self._bias.data_ptr())
        bound = round(self.share * 2**32)
        return CNorm(
            None, None, *weights, place(even), place(scales), rows, len(self._weight), bound, self.seed,
            1 / (1 - self.share), self._eps,
        )  # fmt: skip
