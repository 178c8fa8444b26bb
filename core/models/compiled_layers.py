"""Layers computed by compiled steps: products on a processor that multiplies pairs of bfloat16, with what follows them.

What follows is GELU, or dropout, the sum with what entered a block, and a norm over that, as BERT and its relatives
have it. PyTorch writes and reads all numbers for each of these.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from core.models.kernel_arguments import Norm
from core.models.kernels import drawn_seed

if TYPE_CHECKING:
    from torch import Tensor

    from core.models.kernels import Kernels

Int8 = Literal["none", "back", "both"]
# Names of the parts of a block that bends, of one that ends in a norm, and of a layer that has both of them behind its
# attention. A trial says whether they are put together as these names promise.
_BENT, _NORMED, _BOTH = {"dense", "intermediate_act_fn"}, {"dense", "dropout", "LayerNorm"}, ("intermediate", "output")
_BEHIND = "feed_forward_chunk"
# And of linear layers that read the same tokens.
_READING = ("query", "key", "value")
# Tokens from which on rounding to int8 pays: weights are rounded each time.
_LEAST_ROUNDED = 64
# Rows of numbers on which a block is tried, and how far results may be from its own, as a share, by bits of a number.
_TRIED, _ROUNDING = 8, {32: 1e-4, 16: 2**-6}


@contextmanager
def compiled_layers(
    model: Any, kernels: "Kernels | None", *, int8: Int8 = "none", int16: bool = False
) -> Iterator[None]:
    """While this lasts, the model's layers compute by these steps what they can, there and back.

    A kind of block is left as it is where it computes anything else, as some random numbers show.

    Args:
        int8: whether what products take is rounded to int8 while something is learned: on the way back to the tokens,
            or also on the way there. Gradients of weights, and whatever is only read, have all digits of bfloat16.
        int16: the same of products in 32 bits, there, back and of the gradients of weights.

    Source of these: SwitchBack (Wortsman et al., "Stable and low-precision training for large-scale
    vision-language models", 2023, section 2.2), with a scale for each row and column of the weights.
    """
    from torch.nn import Linear

    from core.models.adapting import layer_stacks

    with ExitStack() as undo:
        if kernels:
            steps = _Steps(kernels, _Rounds(kernels, int8, int16=int16))
            modules = [module for stack in layer_stacks(model) for module in model.get_submodule(stack).modules()]
            for module in modules:
                if type(module) is Linear:
                    module.__class__ = steps.linear
                    undo.callback(setattr, module, "__class__", Linear)
            for module in modules:
                for changed, name, instead in steps.instead(module):
                    vars(changed)[name] = instead
                    undo.callback(vars(changed).pop, name)
        yield


def is_linear(module: Any) -> bool:
    """Whether a module is a plain linear layer, also while these steps compute it."""
    from torch.nn import Linear

    return type(module) is Linear or bool(getattr(type(module), "compiled", False))


class _Steps:
    """How layers of one model are computed.

    Attributes:
        linear: the class of its linear layers.
    """

    def __init__(self, kernels: "Kernels", rounds: "_Rounds") -> None:
        self._kernels, self._products = kernels, _products_function(kernels, rounds)
        self._normed = _normed_function(kernels)
        self._both = _both_function(kernels, self._normed, rounds)
        self.linear = _linear_class(kernels, self._products, _bent_function(kernels, rounds))
        self._same: dict[tuple[type, Any], bool] = {}

    def instead(self, module: Any) -> Iterator[tuple[Any, str, Any]]:
        """What is computed otherwise now: a module, the name of what it has, and what it gets instead."""
        reading: list[Any] = [getattr(module, name, None) for name in _READING]
        if all(isinstance(each, self.linear) for each in reading) and len({each.weight.shape for each in reading}) == 1:
            together = _Together(reading, self._products)
            yield from ((each, "together", together) for each in reading)
        for name, kind in (("forward", self._block), (_BEHIND, self._behind)):
            instead = kind(module)
            if instead and self._computes_the_same(module, name, kind):
                yield module, name, instead

    def _computes_the_same(self, module: Any, name: str, kind: Any) -> bool:
        key = (type(module), kind)
        if key not in self._same:
            self._same[key] = all(_alike(module, name, kind, bits) for bits in _ROUNDING)
        return self._same[key]

    def _block(self, module: Any) -> "Callable[..., Tensor] | None":
        from torch.nn import Dropout, LayerNorm
        from transformers.activations import GELUActivation

        parts = dict(module.named_children())
        if set(parts) == _BENT and isinstance(parts["intermediate_act_fn"], GELUActivation):
            return self._bends(module) if isinstance(module.dense, self.linear) else None
        normed = set(parts) == _NORMED and type(parts["LayerNorm"]) is LayerNorm
        whole = normed and parts["LayerNorm"].bias is not None and isinstance(parts["dropout"], Dropout)
        return self._norms(module) if whole else None

    def _bends(self, module: Any) -> "Callable[..., Tensor]":
        def forward(hidden_states: "Tensor") -> "Tensor":
            found: Tensor = module.dense.bent(hidden_states, module.intermediate_act_fn)
            return found

        return forward

    def _norms(self, module: Any) -> "Callable[..., Tensor]":
        def forward(hidden_states: "Tensor", input_tensor: "Tensor") -> "Tensor":
            given, norm, chance = module.dense(hidden_states), module.LayerNorm, module.dropout
            if _share(chance) >= 1 or not self._can_norm(given, input_tensor, norm):
                usual: Tensor = norm(chance(given) + input_tensor)
                return usual
            found: Tensor = self._normed(given, input_tensor, norm.weight, norm.bias, norm.eps, _share(chance))
            return found

        return forward

    def _behind(self, module: Any) -> "Callable[..., Tensor] | None":
        first, last = (getattr(module, name, None) for name in _BOTH)
        if not hasattr(module, _BEHIND) or first is None or last is None or not self._block(first):
            return None
        if not self._block(last) or not all(isinstance(part.dense, self.linear) for part in (first, last)):
            return None

        def forward(attention_output: "Tensor") -> "Tensor":
            one, other, norm = first.dense, last.dense, last.LayerNorm
            able = one.is_now_compiled(attention_output) and other.is_plain() and other.weight.dtype == one.weight.dtype
            able = able and other.weight.shape == one.weight.shape[::-1] and _share(last.dropout) < 1
            if not able or not self._can_norm(attention_output, attention_output, norm):
                usual: Tensor = last(first(attention_output), attention_output)
                return usual
            numbers = (one.weight, one.bias, other.weight, other.bias, norm.weight, norm.bias)
            found: Tensor = self._both(attention_output, *numbers, norm.eps, _share(last.dropout))
            return found

        return forward

    def _can_norm(self, given: "Tensor", beside: "Tensor", norm: Any) -> bool:
        return norm.weight.dtype == norm.bias.dtype and self._kernels.can_norm(given, beside, norm.weight)


def _share(dropout: Any) -> float:
    return float(dropout.p) if dropout.training else 0.0


def _alike(module: Any, name: str, kind: Any, bits: int) -> bool:
    """Whether a block computes the same by what it is to get instead, in numbers of so many bits."""
    import torch

    dtype = {32: torch.float32, 16: torch.bfloat16}[bits]
    # What can't be copied, or computed like this, says so by an error.
    try:
        own = deepcopy(module).to(dtype).eval()
        dense = getattr(own, "dense", None) or own.intermediate.dense
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            given = [torch.randn(1, _TRIED, dense.weight.shape[1], dtype=dtype)]
            if "LayerNorm" in dict(own.named_children()):
                given.append(torch.randn(1, _TRIED, dense.weight.shape[0], dtype=dtype))
            wanted, found = getattr(own, name)(*given).float(), kind(own)(*given).float()
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return False
    return bool((found - wanted).norm() <= _ROUNDING[bits] * wanted.norm())


@dataclass(frozen=True)
class _Rounded:
    """Which products of a linear layer round what they take: there, back to what it read, and to its weights."""

    there: bool = False
    back: bool = False
    weights: bool = False


class _Rounds:
    """Which products round while something is learned."""

    def __init__(self, kernels: "Kernels", int8: Int8, *, int16: bool) -> None:
        self._kernels = kernels
        self._short = _Rounded(there=int8 == "both", back=int8 != "none")
        self._exact = _Rounded(int16, int16, int16)

    def these(self, given: "Tensor", *weights: "Tensor") -> _Rounded:
        """Those of such tokens (…, inner), which are to be many enough."""
        import torch

        asked = self._exact if given.dtype == torch.float32 else self._short
        few = given.numel() < _LEAST_ROUNDED * given.shape[-1]
        if not asked.back or few or not all(self._kernels.can_round(weight) for weight in weights):
            return _Rounded()
        return asked


class _Together:
    """Linear layers that read the same tokens: the first that is asked computes all of them.

    Where another is asked for something else next, they are computed one by one from then on.
    """

    def __init__(self, layers: list[Any], products: Any) -> None:
        self._layers, self._products, self._apart = layers, products, False
        self._given: Any = None
        self._left: dict[int, Any] = {}

    def found(self, layer: Any, given: "Tensor") -> "Tensor":
        """What this one of them makes of these tokens."""
        if self._left and not (given is self._given and id(layer) in self._left):
            self._apart, self._left = True, {}
        if not self._left and not self._apart:
            weights, biases = ([getattr(each, name) for each in self._layers] for name in ("weight", "bias"))
            made = self._products(given, len(self._layers), *weights, *biases)
            self._given, self._left = given, dict(zip(map(id, self._layers), made, strict=True))
        if self._apart:
            self._given = None
            alone: Tensor = self._products(given, 1, layer.weight, layer.bias)[0]
            return alone
        found: Tensor = self._left.pop(id(layer))
        if not self._left:
            self._given = None
        return found


def _products_function(kernels: "Kernels", rounds: _Rounds) -> Any:
    import torch

    class Products(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, given: Any, count: int, rounded: _Rounded, *numbers: Any) -> Any:
            weights, biases = numbers[:count], numbers[count:]
            ctx.rounded = rounded
            ctx.save_for_backward(given if any(ctx.needs_input_grad[3:]) else None, *weights)
            return tuple(kernels.linear(given, weights, biases, whole=rounded.there))

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            given, *weights = ctx.saved_tensors
            needed, _, _, *learned = ctx.needs_input_grad
            to_given = kernels.linear_back(gradients, weights, whole=ctx.rounded.back) if needed else None
            if not any(learned):
                return to_given, None, None, *(None for _ in learned)
            to_weights, to_biases = zip(
                *kernels.linear_weights(gradients, given, whole=ctx.rounded.weights), strict=True
            )
            found = zip((*to_weights, *to_biases), learned, strict=True)
            return to_given, None, None, *(each if wanted else None for each, wanted in found)

    apply: Any = Products.apply

    def products(given: Any, count: int, *numbers: Any) -> Any:
        if not torch.is_grad_enabled():
            return kernels.linear(given, numbers[:count], numbers[count:])
        return apply(given, count, rounds.these(given, numbers[0]), *numbers)

    return products


def _bent_function(kernels: "Kernels", rounds: _Rounds) -> Any:
    import torch

    class Bent(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, given: Any, rounded: _Rounded, weight: Any, bias: Any) -> Any:
            needed, _, *learned = ctx.needs_input_grad
            slopes = _slopes(given, weight) if needed or any(learned) else None
            ctx.rounded = rounded
            ctx.save_for_backward(given if any(learned) else None, weight, slopes)
            return kernels.bent_linear(given, weight, bias, slopes, whole=rounded.there)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            given, weight, slopes = ctx.saved_tensors
            gradient = gradient * slopes
            needed, rounded = ctx.needs_input_grad, ctx.rounded
            to_given = kernels.linear_back([gradient], [weight], whole=rounded.back) if needed[0] else None
            return to_given, None, *_learned(kernels, gradient, given, needed[2:], rounded)

    apply: Any = Bent.apply

    def bent(given: Any, weight: Any, bias: Any) -> Any:
        if not torch.is_grad_enabled():
            return kernels.bent_linear(given, weight, bias, None)
        return apply(given, rounds.these(given, weight), weight, bias)

    return bent


def _normed_function(kernels: "Kernels") -> Any:
    import torch

    class Normed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, given: Any, beside: Any, weight: Any, bias: Any, eps: float, share: float) -> Any:
            ctx.norm = Norm(weight, bias, eps, drawn_seed() if share else 0, share)
            kept = _kept(given) if any(ctx.needs_input_grad) else (None, None)
            ctx.save_for_backward(*kept)
            return kernels.norm(given, beside, ctx.norm, *kept)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            learned = any(ctx.needs_input_grad[2:])
            to_given, to_beside, to_norm = kernels.norm_back(gradient, ctx.norm, *ctx.saved_tensors, learned=learned)
            return to_given, to_beside, *((None, None) if to_norm is None else to_norm.unbind()), None, None

    apply: Any = Normed.apply

    def normed(given: Any, beside: Any, weight: Any, bias: Any, eps: float, share: float) -> Any:
        if not torch.is_grad_enabled():
            return kernels.norm(given, beside, Norm(weight, bias, eps, drawn_seed() if share else 0, share))
        return apply(given, beside, weight, bias, eps, share)

    return normed


def _both_function(kernels: "Kernels", normed: Any, rounds: _Rounds) -> Any:
    """A linear layer, GELU, another linear layer, dropout, the sum with what came, and a norm."""
    import torch

    class Both(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: Any, given: Any, one: Any, one_bias: Any, other: Any, other_bias: Any, weight: Any, bias: Any,
            eps: float, share: float, rounded: _Rounded,
        ) -> Any:  # fmt: skip
            needs = ctx.needs_input_grad
            slopes = _slopes(given, one) if any(needs) else None
            bent = kernels.bent_linear(given, one, one_bias, slopes, whole=rounded.there)
            (made,) = kernels.linear(bent, [other], [other_bias], whole=rounded.there)
            ctx.rounded = rounded
            ctx.norm = Norm(weight, bias, eps, drawn_seed() if share else 0, share)
            kept = _kept(given) if any(needs) else (None, None)
            read = (given if any(needs[1:3]) else None, bent if any(needs[3:5]) else None)
            ctx.save_for_backward(*read, one, other, slopes, *kept)
            return kernels.norm(made, given, ctx.norm, *kept)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            given, bent, one, other, slopes, *kept = ctx.saved_tensors
            needs, learned, rounded = ctx.needs_input_grad, any(ctx.needs_input_grad[5:7]), ctx.rounded
            to_made, to_given, to_norm = kernels.norm_back(gradient, ctx.norm, *kept, learned=learned)
            to_other = _learned(kernels, to_made, bent, needs[3:5], rounded)
            to_bent = kernels.linear_back([to_made], [other], slopes=slopes, whole=rounded.back)
            to_one = _learned(kernels, to_bent, given, needs[1:3], rounded)
            back = kernels.linear_back([to_bent], [one], beside=to_given, whole=rounded.back) if needs[0] else None
            to_both = (None, None) if to_norm is None else to_norm.unbind()
            return back, *to_one, *to_other, *to_both, None, None, None

    apply: Any = Both.apply

    def both(
        given: Any,
        one: Any,
        one_bias: Any,
        other: Any,
        other_bias: Any,
        weight: Any,
        bias: Any,
        eps: float,
        share: float,
    ) -> Any:
        if not torch.is_grad_enabled():
            bent = kernels.bent_linear(given, one, one_bias, None)
            return normed(kernels.linear(bent, [other], [other_bias])[0], given, weight, bias, eps, share)
        rounded = rounds.these(given, one, other)
        return apply(given, one, one_bias, other, other_bias, weight, bias, eps, share, rounded)

    return both


def _slopes(given: "Tensor", weight: "Tensor") -> "Tensor":
    return given.new_empty(*given.shape[:-1], len(weight))


def _kept(given: "Tensor") -> "tuple[Tensor, Tensor]":
    """Room for what a norm of numbers of this shape needs on the way back."""
    import torch

    return given.new_empty(given.shape), torch.empty(given.shape[:-1])


def _learned(
    kernels: "Kernels", gradient: "Tensor", given: "Tensor", wanted: Any, rounded: _Rounded
) -> "tuple[Any, Any]":
    """Gradients of the weight and the bias of a linear layer, as far as they are wanted."""
    if not any(wanted):
        return None, None
    ((to_weight, to_bias),) = kernels.linear_weights([gradient], given, whole=rounded.weights)
    return to_weight if wanted[0] else None, to_bias if wanted[1] else None


def _linear_class(kernels: "Kernels", products: Any, bent: Any) -> Any:
    import torch

    class CompiledLinear(torch.nn.Linear):
        compiled = True

        def is_plain(self) -> bool:
            """Whether it is in one format, and nothing else computes it now."""
            alike = self.bias is None or self.bias.dtype == self.weight.dtype
            return alike and self.weight.is_contiguous() and "forward" not in vars(self)

        def is_now_compiled(self, input: Any) -> bool:
            """Whether these steps compute it for such tokens."""
            exact = input.dtype == torch.float32
            other = exact and torch.is_autocast_enabled("cpu")  # it is to be rounded to bfloat16 then
            return self.is_plain() and not other and kernels.can_multiply(input, self.weight)

        def forward(self, input: Any) -> Any:
            if not self.is_now_compiled(input):
                return super().forward(input)
            together = vars(self).get("together")
            return together.found(self, input) if together else products(input, 1, self.weight, self.bias)[0]

        def bent(self, input: Any, bend: Any) -> Any:
            """Bent by GELU; `bend` does it where these steps can't."""
            return bent(input, self.weight, self.bias) if self.is_now_compiled(input) else bend(self(input))

    return CompiledLinear
