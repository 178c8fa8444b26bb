"""Steps between a model's matrix products in C (`kernels.c`), compiled by each process where it has a compiler.

PyTorch goes over memory for each part of such a step, and that takes longer than the numbers do. Where nothing can be
compiled, all is computed by PyTorch, as before.
"""

import ctypes
import math
import os
import platform
import shutil
import stat
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

_SOURCE, _PROCESSOR = Path(__file__).with_name("kernels.c"), Path("/proc/cpuinfo")
# Numbers that a thread takes at a time; the squares of so many are added up in 32 bits.
_PART = 4096
# Rows of a product that are computed at once where a processor multiplies pairs of bfloat16, or int8.
_ROWS = 8
# Columns of such a product that are computed at once.
_COLUMNS = 32
# Below this, rounding weights to int8 takes as long as it saves.
_NARROW = 4 * _COLUMNS
# Numbers that are summed up in 32 bits as products of int16, at most: so many of them have 9 bits each.
_MOST_SUMMED = 8192
# The widest row of a norm, and the rows whose gradients of weight and bias are summed up together.
_WIDEST, GROUP = 8192, 64
# No promise is given up but those of errno and of traps, which nobody asks about: sums of lanes are written as such.
_FLAGS = (
    "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC", f"-DPART={_PART}",
    f"-DROWS={_ROWS}", f"-DWIDEST={_WIDEST}", f"-DGROUP={GROUP}",
)  # fmt: skip
_X86_FLAGS = ("-mprefer-vector-width=512",)
# Compiling takes some three seconds on a machine that has nothing else to do.
_LONGEST_WAIT = 60.0
_POINTER, _LONG, _INT, _FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_float
_DROPOUT = (_POINTER, _POINTER, _LONG, ctypes.c_uint64, ctypes.c_uint32, _FLOAT, _INT)
_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "dropout16": _DROPOUT,
    "dropout32": _DROPOUT,
    "gelu16": (_POINTER, _POINTER, _POINTER, _LONG, _INT),
    "gelu32": (_POINTER, _POINTER, _POINTER, _LONG, _INT),
    "norm16": (_POINTER, _POINTER, _INT),
    "norm32": (_POINTER, _POINTER, _INT),
    "norm_back16": (*[_POINTER] * 6, _INT),
    "norm_back32": (*[_POINTER] * 6, _INT),
    "squares16": (_POINTER, _POINTER, _LONG, _POINTER, _INT),
    "adamw16": (_POINTER, _LONG, _INT),
    "adamw_rows16": (*[_POINTER] * 7, _LONG, _LONG, _POINTER, _INT),
    "attention16": (*[_POINTER] * 3, _INT),
    "attention32": (*[_POINTER] * 3, _INT),
    "attention_back16": (*[_POINTER] * 4, _INT),
    "attention_back32": (*[_POINTER] * 4, _INT),
    "linear16": (_POINTER, _INT, _INT),
    "linear_back16": (_POINTER, _INT),
    "linear_weights16": (_POINTER, _INT),
    "int8_rows16": (_POINTER, _LONG, _INT, *[_POINTER] * 4, _INT),
    "int8_product16": (_POINTER, _INT, _INT),
    "int8_linear16": (_POINTER, _POINTER, _INT, _INT),
    "int8_linear_back16": (_POINTER, _POINTER, _INT),
    "linear32": (_POINTER, _INT, _INT),
    "linear_back32": (_POINTER, _INT),
    "linear_weights32": (_POINTER, _INT),
    "int16_rows32": (_POINTER, _LONG, _INT, _POINTER, _POINTER, _INT),
    "int16_linear32": (_POINTER, _POINTER, _INT, _INT),
    "int16_linear_back32": (_POINTER, _POINTER, _INT),
    "int16_linear_weights32": (_POINTER, _INT),
}


class _Laid(ctypes.Structure):
    _fields_ = (("first", _POINTER), ("token", _LONG), ("head", _LONG))


class _Texts(ctypes.Structure):
    _fields_ = (
        ("begins", _POINTER), ("lengths", _POINTER), ("count", _LONG), ("longest", _INT), ("heads", _INT),
        ("dim", _INT), ("asking", _INT), ("scale", _FLOAT), ("room", _POINTER),
    )  # fmt: skip


class _Step(ctypes.Structure):
    _fields_ = tuple((name, _FLOAT) for name in ("scale", "beta1", "beta2", "keep", "rate", "root", "eps"))


class _Changed(ctypes.Structure):
    _fields_ = (
        ("exact", _POINTER), ("mean", _POINTER), ("square", _POINTER), ("gradient", _POINTER), ("weight", _POINTER),
        ("count", _LONG), ("step", _Step),
    )  # fmt: skip


class _Norm(ctypes.Structure):
    _fields_ = (
        ("given", _POINTER), ("beside", _POINTER), ("weight", _POINTER), ("bias", _POINTER), ("even", _POINTER),
        ("scales", _POINTER), ("rows", _LONG), ("width", _INT), ("below", ctypes.c_uint32), ("seed", ctypes.c_uint64),
        ("scale", _FLOAT), ("eps", _FLOAT),
    )  # fmt: skip


_THREE = _POINTER * 3


class _Linear(ctypes.Structure):
    _fields_ = (
        ("given", _POINTER), ("weights", _THREE), ("wanted", _THREE), ("added", _THREE), ("beside", _POINTER),
        ("found", _THREE), ("slopes", _POINTER), ("sums", _THREE), ("tokens", _LONG), ("inner", _INT), ("outer", _INT),
        ("layers", _INT), ("room", _POINTER),
    )  # fmt: skip


class _Rows8(ctypes.Structure):
    _fields_ = tuple((name, _POINTER) for name in ("whole", "scales", "zeros", "sums"))


class _Rows16(ctypes.Structure):
    _fields_ = (("whole", _POINTER), ("scales", _POINTER))


class _Int8(ctypes.Structure):
    _fields_ = (
        ("given", _Rows8), ("weights", _POINTER), ("widths", _POINTER), ("zeros", _POINTER), ("added", _POINTER),
        ("found", _POINTER), ("tokens", _LONG), ("inner", _INT), ("outer", _INT),
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

    def given(self) -> _Rows8:
        """As the compiled steps take it."""
        return _Rows8(*(each.data_ptr() for each in (self.whole, self.scales, self.zeros, self.sums)))


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

    def given(self) -> _Rows16:
        """As the compiled steps take it."""
        return _Rows16(self.whole.data_ptr(), self.scales.data_ptr())


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

    def given(self) -> _Step:
        """As the compiled steps take it."""
        first, second = self.betas
        rate, root = self.lr / (1 - first**self.number), (1 - second**self.number) ** -0.5
        return _Step(self.scale, first, second, 1 - self.lr * self.weight_decay, rate, root, self.eps)


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

    def given(self, step: _Step) -> _Changed:
        """As the compiled steps take it, with the step as they take that."""
        places = (self.exact, *self.means, self.weight.grad, self.weight)
        return _Changed(*map(_place, places), self.weight.numel(), step)


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

    def told(self, rows: int, even: "Tensor | None", scales: "Tensor | None") -> _Norm:
        """As the compiled steps take it."""
        weights = (self._weight.data_ptr(), self._bias.data_ptr())
        bound = round(self.share * 2**32)
        return _Norm(
            None, None, *weights, _place(even), _place(scales), rows, len(self._weight), bound, self.seed,
            1 / (1 - self.share), self._eps,
        )  # fmt: skip


class Kernels:
    """The compiled steps, for tensors on the processor.

    Args:
        library: with all of their functions.

    Attributes:
        multiplies: whether linear layers in bfloat16 are among them: where the processor multiplies pairs of these.
        multiplies_exactly: whether those in 32 bits are.
        fours: whether the processor multiplies fours of int8, twice as many numbers at once as pairs of bfloat16.
        int16: whether it multiplies pairs of int16, more numbers at once than in 32 bits.
    """

    def __init__(self, library: Any) -> None:
        import torch

        for name, arguments in _ARGUMENTS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, None
        for name in ("longest16", "knows_int8", "knows_int16", "knows_pairs"):
            getattr(library, name).restype = _INT
        self._library, self._half, self._threads = library, torch.bfloat16, torch.get_num_threads
        self.multiplies = bool(library.knows_pairs())
        self.multiplies_exactly = True
        self.fours, self.int16 = bool(library.knows_int8()), bool(library.knows_int16())

    @property
    def learns_int8(self) -> bool:
        """Whether linear layers in bfloat16 round to int8 where they are asked to."""
        return self.multiplies and self.fours

    @property
    def learns_int16(self) -> bool:
        """Whether linear layers in 32 bits round to int16 where they are asked to."""
        return self.multiplies_exactly and self.int16

    def knows(self, values: "Tensor") -> bool:
        """Whether `dropped` and `gelu` know their format, and have a number for each of their places."""
        import torch

        known = values.dtype in (torch.bfloat16, torch.float32) and values.device.type == "cpu"
        return known and values.numel() < 2**32

    def dropped(self, values: "Tensor", seed: int, share: float) -> "Tensor":
        """Values with zeros in this share of their places, which follow from the seed, the others scaled up for it.

        Args:
            values: of any shape, in bfloat16 or 32 bits.
            seed: of 64 bits. The way back is the same with the gradient.
            share: below 1.
        """
        import torch

        given = values.contiguous()
        found = torch.empty_like(given)
        dropout = self._named("dropout", given)
        bound = round(share * 2**32)
        dropout(given.data_ptr(), found.data_ptr(), given.numel(), seed, bound, 1 / (1 - share), self._threads())
        return found

    def gelu(self, values: "Tensor") -> "tuple[Tensor, Tensor]":
        """`torch.nn.functional.gelu` of these values, see `knows`, and its slope there."""
        import torch

        given = values.contiguous()
        found, slopes = torch.empty_like(given), torch.empty_like(given)
        gelu = self._named("gelu", given)
        gelu(given.data_ptr(), found.data_ptr(), slopes.data_ptr(), given.numel(), self._threads())
        return found, slopes

    def can_norm(self, given: "Tensor", beside: "Tensor", weight: "Tensor") -> bool:
        """Whether `norm` knows these: tokens (…, width) twice, in a format that `knows`, and a weight in the same."""
        alike = given.shape == beside.shape and given.dtype == beside.dtype == weight.dtype
        return alike and self.knows(given) and 0 < given.shape[-1] <= _WIDEST and weight.shape == given.shape[-1:]

    def norm(
        self,
        given: "Tensor",
        beside: "Tensor",
        norm: "Norm",
        even: "Tensor | None" = None,
        scales: "Tensor | None" = None,
    ) -> "Tensor":
        """A norm over each row of `given`, dropped as `dropped` does, plus `beside`; see `can_norm`.

        Args:
            even, scales: where what `norm_back` needs is written: as `given`, and of shape (rows,) in 32 bits.
        """
        import torch

        given, beside = given.contiguous(), beside.contiguous()
        found = torch.empty_like(given)
        told = norm.told(given.numel() // given.shape[-1], even, scales)
        told.given, told.beside = given.data_ptr(), beside.data_ptr()
        self._named("norm", given)(ctypes.byref(told), found.data_ptr(), self._threads())
        return found

    def norm_back(
        self, wanted: "Tensor", norm: "Norm", even: "Tensor", scales: "Tensor", *, learned: bool
    ) -> "tuple[Tensor, Tensor, Tensor | None]":
        """From the gradient of `norm` to those of what was given, of what was beside it, and of weight and bias.

        Args:
            even, scales: as `norm` left them.
            learned: whether the last is wanted: of shape (2, width).
        """
        import torch

        wanted = wanted.contiguous()
        width = wanted.shape[-1]
        rows = wanted.numel() // width
        to_beside = torch.empty_like(wanted)
        to_given = torch.empty_like(wanted) if norm.share else to_beside
        to_norm = wanted.new_empty(2, width) if learned else None
        sums = torch.zeros(-(-rows // GROUP), 2, width) if learned else None
        told = norm.told(rows, even, scales)
        places = (wanted.data_ptr(), to_given.data_ptr(), to_beside.data_ptr(), _place(sums), _place(to_norm))
        self._named("norm_back", wanted)(ctypes.byref(told), *places, self._threads())
        return to_given, to_beside, to_norm

    def can_square(self, gradient: "Tensor") -> bool:
        """Whether `squares` knows such a tensor."""
        return gradient.dtype == self._half and gradient.is_contiguous() and gradient.device.type == "cpu"

    def squares(self, gradients: "Sequence[Tensor]") -> float:
        """The sum of the squares of all numbers in these tensors, see `can_square`."""
        import torch

        many, counts = len(gradients), [gradient.numel() for gradient in gradients]
        sums = torch.empty(sum(-(-count // _PART) for count in counts))
        places = (_POINTER * many)(*map(_place, gradients))
        self._library.squares16(places, (_LONG * many)(*counts), many, sums.data_ptr(), self._threads())
        return float(sums.sum(dtype=torch.float64))

    def can_step(self, weight: "Tensor", exact: "Tensor", means: "Sequence[Tensor]") -> bool:
        """Whether a step of AdamW knows these formats: `weight` and its gradient in bfloat16, the others in 32 bits."""
        import torch

        gradient, numbers, whole = weight.grad, weight.numel(), (exact, *means)
        if gradient is None or not weight.dtype == gradient.dtype == torch.bfloat16:
            return False
        known = all(some.dtype == torch.float32 for some in whole)
        return known and all(
            some.is_cpu and some.is_contiguous() and some.numel() == numbers for some in (weight, gradient, *whole)
        )

    def adamw(self, changes: "Sequence[Change]") -> None:
        """A step of AdamW on the exact numbers of each of these weights, which are set to them, rounded."""
        told = {step: step.given() for step in {change.step for change in changes}}
        all_of_them = (_Changed * len(changes))(*(change.given(told[change.step]) for change in changes))
        self._library.adamw16(all_of_them, len(changes), self._threads())

    def can_step_rows(self, weight: "Tensor", exact: "Tensor", means: "Sequence[Tensor]") -> bool:
        """Whether `adamw_rows` knows a table: in bfloat16 beside exact numbers and means in 32 bits."""
        import torch

        whole = (exact, *means)
        known = weight.dtype == torch.bfloat16 and all(some.dtype == torch.float32 for some in whole)
        return known and all(some.is_contiguous() and some.device.type == "cpu" for some in (weight.data, *whole))

    def adamw_rows(
        self,
        weight: "Tensor",
        exact: "Tensor",
        means: "Sequence[Tensor]",
        rows: "Tensor",
        gradient: "Tensor",
        slopes: "Tensor",
        step: Step,
    ) -> None:
        """The same for some rows of a table, see `can_step_rows`.

        Args:
            means: row by row in the order of `rows`.
            rows: numbers of rows of the table, each once.
            gradient: of some of them, in 32 bits.
            slopes: for each of `rows` which row of the gradient is its own; -1 for those that have none now.
        """
        places = (exact, *means, gradient, weight.data, rows, slopes)
        self._library.adamw_rows16(
            *(place.data_ptr() for place in places),
            len(rows),
            exact.shape[1],
            ctypes.byref(step.given()),
            self._threads(),
        )

    def can_attend(self, query: "Tensor", key: "Tensor", value: "Tensor") -> bool:
        """Whether attention knows these (1, heads, tokens, numbers): as many heads of each, numbers in sixteens."""
        import torch

        alike = query.shape == key.shape == value.shape and query.dtype == key.dtype == value.dtype
        known = query.dtype in (torch.bfloat16, torch.float32) and query.shape[-1] % 16 == 0
        return alike and known and all(each.stride(-1) == 1 for each in (query, key, value))

    def longest(self, values: "Tensor") -> int:
        """Tokens of the longest text for which attention is faster than PyTorch's products of parts in this format.

        Measured on texts of up to 256 tokens: all of them where numbers have 32 bits, or where the processor multiplies
        pairs of bfloat16.
        """
        found: int = self._library.longest16() if values.dtype == self._half else 2**30
        return found

    def attention(self, parts: "Sequence[Tensor]", begins: "Tensor", lengths: "Tensor", longest: int, scale: float,
                  found: "Tensor", asking: int = 0) -> None:  # fmt: skip
        """Attention within each text of a long row.

        Args:
            parts: queries, keys and values, each of shape (1, heads, tokens, numbers).
            begins, lengths: of the texts: their first token in the row and how many they have, in 64 bits.
            longest: of the lengths.
            scale: of the products of queries and keys.
            found: of shape (tokens * heads, numbers), where the attention of these texts is written.
            asking: tokens of a text, the first, that attend; the others find zeros. All do where it is 0.
        """
        laid, texts, room = self._given(parts, begins, lengths, longest, scale, asking)
        self._named("attention", found)(laid, ctypes.byref(texts), found.data_ptr(), self._threads())
        del room  # it had to be there until now

    def attention_back(self, parts: "Sequence[Tensor]", begins: "Tensor", lengths: "Tensor", longest: int,
                       scale: float, wanted: "Tensor", found: "Sequence[Tensor]", asking: int = 0) -> None:  # fmt: skip
        """From the gradient of `attention`, of shape (tokens * heads, numbers), to those of its parts, alike."""
        laid, texts, room = self._given(parts, begins, lengths, longest, scale, asking)
        into = (_POINTER * 3)(*(each.data_ptr() for each in found))
        back = self._named("attention_back", wanted)
        back(laid, ctypes.byref(texts), wanted.data_ptr(), into, self._threads())
        del room

    def can_multiply(self, given: "Tensor", weight: "Tensor") -> bool:
        """Whether the products of a linear layer know these tokens (…, inner) and weights (outer, inner)."""
        import torch

        outer, inner = weight.shape
        alike = given.dtype == weight.dtype and given.device.type == weight.device.type == "cpu"
        known = self.multiplies if given.dtype == self._half else self.multiplies_exactly
        known = known and given.dtype in (self._half, torch.float32)
        fits = outer % _COLUMNS == 0 and inner % _COLUMNS == 0 and given.numel() >= _ROWS * inner
        return alike and known and fits and weight.is_contiguous()

    def linear(
        self, given: "Tensor", weights: "Sequence[Tensor]", biases: "Sequence[Tensor | None]", *, whole: bool = False
    ) -> "list[Tensor]":
        """Up to three linear layers of the same tokens: from (…, inner) to (…, outer) for each.

        Args:
            weights: all of one shape, see `can_multiply`.
            whole: whether tokens and weights are rounded first, to int8 or, in 32 bits, to int16: each token and each
                row of the weights with a scale of its own, see `can_round`.
        """
        given, found = given.contiguous(), [_beside(given, weights[0]) for _ in weights]
        room = self._room(given, given.shape[-1])
        layers = _layers(given, weights, found, room)
        layers.added = _THREE(*map(_place, biases))
        self._multiply("linear", layers, [given], False, whole=whole)
        return found

    def bent_linear(
        self, given: "Tensor", weight: "Tensor", bias: "Tensor | None", slopes: "Tensor | None", *, whole: bool = False
    ) -> "Tensor":
        """GELU of a linear layer.

        Args:
            slopes: where its slopes are written, of the shape of the result.
            whole: as for `linear`.
        """
        given, found = given.contiguous(), _beside(given, weight)
        room = self._room(given, given.shape[-1])
        layers = _layers(given, [weight], [found], room)
        layers.added, layers.slopes = _THREE(_place(bias)), _place(slopes)
        self._multiply("linear", layers, [given], True, whole=whole)
        return found

    def linear_back(
        self, wanted: "Sequence[Tensor]", weights: "Sequence[Tensor]", slopes: "Tensor | None" = None,
        beside: "Tensor | None" = None, *, whole: bool = False,
    ) -> "Tensor":  # fmt: skip
        """From the gradients of `linear`, each (…, outer), to that of the tokens, (…, inner).

        Args:
            slopes: what that is multiplied by, of its shape.
            beside: what is added then.
            whole: whether gradients and weights are rounded first, as for `linear`: each token of a gradient and each
                column of the weights with a scale of its own.
        """
        wanted = [each.contiguous() for each in wanted]
        found = wanted[0].new_empty(*wanted[0].shape[:-1], weights[0].shape[1])
        room = self._room(found, len(weights) * len(weights[0]))
        layers = _layers(found, weights, [found], room)
        layers.wanted = _THREE(*map(_place, wanted))
        layers.slopes, layers.beside = _place(slopes), _place(beside)
        self._multiply("linear_back", layers, wanted, whole=whole)
        return found

    def linear_weights(
        self, wanted: "Sequence[Tensor]", given: "Tensor", *, whole: bool = False
    ) -> "list[tuple[Tensor, Tensor]]":
        """From the gradients of `linear`, each (…, outer), and its tokens (…, inner) to those of weights and biases.

        Args:
            whole: whether both are rounded to int16 first, each column with a scale of its own; in 32 bits alone.
        """
        wanted, given = [each.contiguous() for each in wanted], given.contiguous()
        outer, inner = wanted[0].shape[-1], given.shape[-1]
        found = [given.new_empty(outer, inner) for _ in wanted]
        sums = [given.new_empty(outer) for _ in wanted]
        columns = min(outer, inner) if given.dtype == self._half else outer + _ROWS
        room = self._room(given, given.numel() // inner + 1, columns)
        layers = _layers(given, found, found, room)
        layers.wanted, layers.sums = _THREE(*map(_place, wanted)), _THREE(*map(_place, sums))
        name = "int16_linear_weights" if whole else "linear_weights"
        self._named(name, given)(ctypes.byref(layers), self._threads())
        return list(zip(found, sums, strict=True))

    def _multiply(self, name: str, layers: _Linear, tokens: "Sequence[Tensor]", *more: Any, whole: bool) -> None:
        if not whole:
            self._named(name, tokens[0])(ctypes.byref(layers), *more, self._threads())
            return
        short = tokens[0].dtype == self._half
        rows: list[Any] = [self.int8_rows(each) if short else self.int16_rows(each) for each in tokens]
        given = ((_Rows8 if short else _Rows16) * len(rows))(*(each.given() for each in rows))
        function = self._named(("int8_" if short else "int16_") + name, tokens[0])
        function(ctypes.byref(layers), given, *more, self._threads())

    def _room(self, given: "Tensor", numbers: int, columns: int = 0) -> "Tensor":
        """For each thread 32 columns of so many numbers in the format of these, and such columns for all of them."""
        return given.new_empty((numbers + 1) * (self._threads() * _COLUMNS + columns))

    def can_round(self, weight: "Tensor") -> bool:
        """Whether `linear` and `linear_back` round such weights (outer, inner) first, see `can_multiply`.

        In bfloat16 narrow layers don't: it would take as long as it saves.
        """
        if weight.dtype == self._half:
            return self.learns_int8 and weight.shape[1] % (2 * _COLUMNS) == 0 and min(weight.shape) >= _NARROW
        return self.learns_int16 and min(weight.shape) >= _NARROW and max(weight.shape) <= _MOST_SUMMED

    def can_multiply_int8(self, weight: "Tensor") -> bool:
        """Whether this processor multiplies int8, and the shape (outer, inner) of these weights is one for it."""
        return self.fours and weight.shape[0] % 32 == 0 and weight.shape[1] % 16 == 0

    def int8_weights(self, weight: "Tensor", bias: "Tensor | None") -> Int8Weights:
        """Weights of shape (outer, inner), see `can_multiply_int8`, each row with a scale of its own."""
        import torch

        outer, inner = weight.shape
        whole = weight.detach().to(torch.float32, copy=True)
        low, high = torch.aminmax(whole, dim=1)
        widths = torch.maximum(high, -low).clamp_(min=torch.finfo(torch.float32).tiny) / 127
        whole.div_(widths[:, None]).round_()
        zeros = whole.sum(1) * widths
        fours = whole.add_(128).to(torch.uint8).view(torch.int32).view(outer // 32, 32, inner // 4)
        laid = fours.transpose(1, 2).contiguous().view(torch.uint8).view(outer // 32, inner // 4, 32, 4)
        added = torch.zeros(outer) if bias is None else bias.detach().float().contiguous()
        return Int8Weights(laid, widths, zeros, added)

    def int8_rows(self, given: "Tensor") -> "Int8Rows":
        """Tokens of shape (…, inner), in bfloat16, each rounded to int8 with a scale and a zero of its own.

        Source: vector-wise quantization (Dettmers et al., 2022, section 2), without outliers apart.
        """
        import torch

        flat = given.reshape(-1, given.shape[-1]).contiguous()
        tokens, inner = flat.shape
        whole = torch.empty(-(-tokens // _ROWS) * _ROWS, inner, dtype=torch.int8)
        scales, zeros, sums = torch.empty(tokens), *(torch.empty(tokens, dtype=torch.int32) for _ in range(2))
        found = Int8Rows(given.shape, whole, scales, zeros, sums)
        places = (each.data_ptr() for each in (whole, scales, zeros, sums))
        self._library.int8_rows16(flat.data_ptr(), tokens, inner, *places, self._threads())
        return found

    def int16_rows(self, given: "Tensor") -> "Int16Rows":
        """Tokens of shape (…, inner), in 32 bits, each rounded to int16 with a scale of its own.

        Their numbers have as many bits as sums of products with others like them leave: 12 where they are 384.
        """
        import torch

        flat = given.reshape(-1, given.shape[-1]).contiguous()
        tokens, inner = flat.shape
        many, made = max(tokens, _ROWS), torch.empty if tokens >= _ROWS else torch.zeros
        found = Int16Rows(given.shape, made(many, inner, dtype=torch.int16), made(many))
        places = (found.whole.data_ptr(), found.scales.data_ptr())
        self._library.int16_rows32(flat.data_ptr(), tokens, inner, *places, self._threads())
        return found

    def int16_linear(
        self, given: "Int16Rows", weight: "Tensor", bias: "Tensor | None", *, bend: bool = False
    ) -> "Tensor":
        """A linear layer that multiplies int16: from tokens of shape (…, inner) to (…, outer), in 32 bits.

        `weight`: of shape (outer, inner), see `can_round`; `bend`: and GELU of that.
        """
        (*shape, inner), (many, outer) = given.shape, (len(given.scales), len(weight))
        found = weight.new_empty(many, outer)
        room = self._room(found, inner)
        layers = _layers(found, [weight], [found], room)
        layers.added, layers.tokens = _THREE(_place(bias)), many
        self._library.int16_linear32(ctypes.byref(layers), ctypes.byref(given.given()), bend, self._threads())
        return found[: math.prod(shape)].view(*shape, outer)

    def int8_linear(self, given: "Int8Rows", weights: Int8Weights, *, bend: bool = False) -> "Tensor":
        """A linear layer that multiplies int8: from tokens of shape (…, inner) to (…, outer), in bfloat16.

        `bend`: and GELU of that.
        """
        import torch

        (*shape, inner), outer = given.shape, len(weights.widths)
        found = torch.empty(*shape, outer, dtype=self._half)
        laid = (weights.laid, weights.widths, weights.zeros, weights.added)
        places = (*(each.data_ptr() for each in laid), found.data_ptr())
        product = _Int8(given.given(), *places, len(given.scales), inner, outer)
        self._library.int8_product16(ctypes.byref(product), bend, self._threads())
        return found

    def _given(
        self, parts: "Sequence[Tensor]", begins: "Tensor", lengths: "Tensor", longest: int, scale: float, asking: int
    ) -> tuple[Any, _Texts, "Tensor"]:
        import torch

        _, heads, _, dim = parts[0].shape
        filled = -(-longest // 32) * 32
        room = torch.empty(self._threads() * filled * (5 * dim + 2 * filled))
        laid = (_Laid * 3)(*(_Laid(each.data_ptr(), each.stride(2), each.stride(1)) for each in parts))
        places = (begins.data_ptr(), lengths.data_ptr(), len(begins))
        return laid, _Texts(*places, longest, heads, dim, asking, scale, room.data_ptr()), room

    def _named(self, name: str, values: "Tensor") -> Any:
        return getattr(self._library, name + ("16" if values.dtype == self._half else "32"))


def drawn_seed() -> int:
    """A seed of 64 bits, from PyTorch's random numbers."""
    import torch

    # Without bounds, the highest bit would stay 0.
    return int(torch.empty((), dtype=torch.int64).random_(-(2**63), None)) % 2**64


def _place(values: "Tensor | None") -> int | None:
    return None if values is None else values.data_ptr()


def _layers(given: "Tensor", weights: "Sequence[Tensor]", found: "Sequence[Tensor]", room: "Tensor") -> _Linear:
    """As the compiled steps take it. It keeps none of these: whoever calls has to."""
    outer, inner = weights[0].shape
    layers = _Linear(given=given.data_ptr(), tokens=given.numel() // inner, inner=inner, outer=outer)
    layers.weights, layers.found = _THREE(*map(_place, weights)), _THREE(*map(_place, found))
    layers.layers, layers.room = len(weights), room.data_ptr()
    return layers


def _beside(given: "Tensor", weight: "Tensor") -> "Tensor":
    """Room for what a linear layer makes of these tokens."""
    return given.new_empty(*given.shape[:-1], len(weight))


@cache
def begin() -> "tuple[subprocess.Popen[bytes], str, TemporaryDirectory[str]] | None":
    """Begin to compile, beside what this process does meanwhile; None without a compiler. Once in a process.

    What an earlier process of this user compiled on this machine is taken from where it was kept.
    """
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    folder = TemporaryDirectory(prefix="kernels-")
    built = Path(folder.name) / "kernels.o"
    command: tuple[str, ...] = (compiler, *_flags(), "-c", str(_SOURCE), "-o", str(built))
    kept = _kept(compiler)
    if kept and kept.is_file():
        with suppress(OSError):
            shutil.copyfile(kept, built)
            command = (compiler, "--version")
    quiet: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    try:
        return subprocess.Popen(command, **quiet), compiler, folder
    except OSError:
        folder.cleanup()
        return None


@cache
def compiled() -> Kernels | None:
    """The steps, ready to be used and tried; None where they can't be compiled, or compute something else.

    Waits for the compiler, which takes some four seconds where it did not begin before, and nothing was kept.
    """
    begun = begin()
    if begun is None:
        return None
    process, compiler, folder = begun
    with folder, suppress(OSError, AttributeError, subprocess.SubprocessError):
        try:
            done = process.wait(_LONGEST_WAIT) == 0
        finally:
            process.kill()
        if not done:
            return None
        built, library = Path(folder.name) / "kernels.o", Path(folder.name) / "kernels.so"
        # Without libraries: what runs in parallel has to find PyTorch's threads, not others beside them.
        link = (compiler, "-shared", "-nostdlib", str(built), "-o", str(library))
        subprocess.run(link, check=True, timeout=_LONGEST_WAIT, stdin=subprocess.DEVNULL, capture_output=True)
        # Only now: these know what is defined above, and import torch with its threads.
        import torch

        from core.models.kernel_checks import agree, products_pay

        found = Kernels(ctypes.CDLL(str(library)))
        if agree(found):
            _keep(built, compiler)
            found.multiplies = found.multiplies and products_pay(found, torch.bfloat16)
            found.multiplies_exactly = products_pay(found, torch.float32)
            return found
    with suppress(OSError):  # what was kept may be damaged
        kept = _kept(compiler)
        if kept:
            kept.unlink(missing_ok=True)
    return None


def _flags() -> tuple[str, ...]:
    return (*_FLAGS, *(_X86_FLAGS if platform.machine() in ("x86_64", "AMD64") else ()))


def _kept(compiler: str) -> Path | None:
    """Where what this compiler makes of this source for this processor is kept; None where nothing may be.

    A folder of this user among temporary files, that nobody else can write to or read.
    """
    with suppress(OSError, AttributeError):
        folder = Path(gettempdir()) / f"tuning-fork-{os.geteuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        seen, made = folder.lstat(), Path(compiler).resolve().stat()
        if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid() or seen.st_mode & 0o077:
            return None
        # What a processor says of itself, but for what differs between its cores and from moment to moment.
        told = _PROCESSOR.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
        processor = [
            line for line in told if line.startswith(("flags", "Features", "model", "cpu family", "vendor_id"))
        ]
        parts = (*_flags(), compiler, str(made.st_size), str(made.st_mtime_ns), *processor)
        return folder / (sha256(_SOURCE.read_bytes() + "\0".join(parts).encode()).hexdigest() + ".o")
    return None


def _keep(built: Path, compiler: str) -> None:
    """Keep what was compiled, whole or not at all."""
    kept = _kept(compiler)
    with suppress(OSError, UserError):
        if kept and not kept.exists():
            write_bytes(kept, built.read_bytes())


def ready() -> Kernels | None:
    """The same in a process that began to compile; None in others, which have too little to do for it."""
    return compiled() if begin.cache_info().currsize else None
