"""Steps of a model in C (`kernels.c`), as `core.models.kernel_building` has compiled them.

PyTorch goes over memory for each part of such a step, and that takes longer than the numbers do. Where nothing can be
compiled, all is computed by PyTorch, as before.
"""

import ctypes
import math
from typing import TYPE_CHECKING, Any

from core.models.kernel_arguments import (
    ARGUMENTS,
    COLUMNS,
    GROUP,
    INT,
    LONG,
    PART,
    POINTER,
    ROWS,
    THREE,
    WIDEST,
    Change,
    Changed,
    Int8,
    Int8Rows,
    Int8Weights,
    Int16Rows,
    Laid,
    Linear,
    Norm,
    Rows8,
    Rows16,
    Step,
    Texts,
    place,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

# Below this, rounding weights to int8 takes as long as it saves.
_NARROW = 4 * COLUMNS
# Numbers that are summed up in 32 bits as products of int16, at most: so many of them have 9 bits each.
_MOST_SUMMED = 8192


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

        for name, arguments in ARGUMENTS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, None
        for name in ("longest16", "knows_int8", "knows_int16", "knows_pairs"):
            getattr(library, name).restype = INT
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
        return alike and self.knows(given) and 0 < given.shape[-1] <= WIDEST and weight.shape == given.shape[-1:]

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
        places = (wanted.data_ptr(), to_given.data_ptr(), to_beside.data_ptr(), place(sums), place(to_norm))
        self._named("norm_back", wanted)(ctypes.byref(told), *places, self._threads())
        return to_given, to_beside, to_norm

    def can_square(self, gradient: "Tensor") -> bool:
        """Whether `squares` knows such a tensor."""
        return gradient.dtype == self._half and gradient.is_contiguous() and gradient.device.type == "cpu"

    def squares(self, gradients: "Sequence[Tensor]") -> float:
        """The sum of the squares of all numbers in these tensors, see `can_square`."""
        import torch

        many, counts = len(gradients), [gradient.numel() for gradient in gradients]
        sums = torch.empty(sum(-(-count // PART) for count in counts))
        places = (POINTER * many)(*map(place, gradients))
        self._library.squares16(places, (LONG * many)(*counts), many, sums.data_ptr(), self._threads())
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
        all_of_them = (Changed * len(changes))(*(change.given(told[change.step]) for change in changes))
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
        into = (POINTER * 3)(*(each.data_ptr() for each in found))
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
        fits = outer % COLUMNS == 0 and inner % COLUMNS == 0 and given.numel() >= ROWS * inner
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
        layers.added = THREE(*map(place, biases))
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
        layers.added, layers.slopes = THREE(place(bias)), place(slopes)
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
        layers.wanted = THREE(*map(place, wanted))
        layers.slopes, layers.beside = place(slopes), place(beside)
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
        columns = min(outer, inner) if given.dtype == self._half else outer + ROWS
        room = self._room(given, given.numel() // inner + 1, columns)
        layers = _layers(given, found, found, room)
        layers.wanted, layers.sums = THREE(*map(place, wanted)), THREE(*map(place, sums))
        name = "int16_linear_weights" if whole else "linear_weights"
        self._named(name, given)(ctypes.byref(layers), self._threads())
        return list(zip(found, sums, strict=True))

    def _multiply(self, name: str, layers: Linear, tokens: "Sequence[Tensor]", *more: Any, whole: bool) -> None:
        if not whole:
            self._named(name, tokens[0])(ctypes.byref(layers), *more, self._threads())
            return
        short = tokens[0].dtype == self._half
        rows: list[Any] = [self.int8_rows(each) if short else self.int16_rows(each) for each in tokens]
        given = ((Rows8 if short else Rows16) * len(rows))(*(each.given() for each in rows))
        function = self._named(("int8_" if short else "int16_") + name, tokens[0])
        function(ctypes.byref(layers), given, *more, self._threads())

    def _room(self, given: "Tensor", numbers: int, columns: int = 0) -> "Tensor":
        """For each thread 32 columns of so many numbers in the format of these, and such columns for all of them."""
        return given.new_empty((numbers + 1) * (self._threads() * COLUMNS + columns))

    def can_round(self, weight: "Tensor") -> bool:
        """Whether `linear` and `linear_back` round such weights (outer, inner) first, see `can_multiply`.

        In bfloat16 narrow layers don't: it would take as long as it saves.
        """
        if weight.dtype == self._half:
            return self.learns_int8 and weight.shape[1] % (2 * COLUMNS) == 0 and min(weight.shape) >= _NARROW
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
        whole = torch.empty(-(-tokens // ROWS) * ROWS, inner, dtype=torch.int8)
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
        many, made = max(tokens, ROWS), torch.empty if tokens >= ROWS else torch.zeros
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
        layers.added, layers.tokens = THREE(place(bias)), many
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
        product = Int8(given.given(), *places, len(given.scales), inner, outer)
        self._library.int8_product16(ctypes.byref(product), bend, self._threads())
        return found

    def _given(
        self, parts: "Sequence[Tensor]", begins: "Tensor", lengths: "Tensor", longest: int, scale: float, asking: int
    ) -> tuple[Any, Texts, "Tensor"]:
        import torch

        _, heads, _, dim = parts[0].shape
        filled = -(-longest // 32) * 32
        room = torch.empty(self._threads() * filled * (5 * dim + 2 * filled))
        laid = (Laid * 3)(*(Laid(each.data_ptr(), each.stride(2), each.stride(1)) for each in parts))
        places = (begins.data_ptr(), lengths.data_ptr(), len(begins))
        return laid, Texts(*places, longest, heads, dim, asking, scale, room.data_ptr()), room

    def _named(self, name: str, values: "Tensor") -> Any:
        return getattr(self._library, name + ("16" if values.dtype == self._half else "32"))


def drawn_seed() -> int:
    """A seed of 64 bits, from PyTorch's random numbers."""
    import torch

    # Without bounds, the highest bit would stay 0.
    return int(torch.empty((), dtype=torch.int64).random_(-(2**63), None)) % 2**64


def _layers(given: "Tensor", weights: "Sequence[Tensor]", found: "Sequence[Tensor]", room: "Tensor") -> Linear:
    """As the compiled steps take it. It keeps none of these: whoever calls has to."""
    outer, inner = weights[0].shape
    layers = Linear(given=given.data_ptr(), tokens=given.numel() // inner, inner=inner, outer=outer)
    layers.weights, layers.found = THREE(*map(place, weights)), THREE(*map(place, found))
    layers.layers, layers.room = len(weights), room.data_ptr()
    return layers


def _beside(given: "Tensor", weight: "Tensor") -> "Tensor":
    """Room for what a linear layer makes of these tokens."""
    return given.new_empty(*given.shape[:-1], len(weight))
