"""Matrices beside weights (LoRA), with fewer passes over what goes in and comes out of a layer."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def lean_adapters(model: Any) -> Iterator[None]:
    """While this lasts, `peft`'s linear layers compute W x + s B A x by adding B (s A x) to W x where that stands.

    `peft` scales and adds numbers as many as come out of W. And what several layers read (queries, keys and values of
    the same tokens) has its numbers dropped once for all of them, not by chances of their own for each.

    Layers that compute anything else (DoRA, several adapters, eight-bit weights) stay as they are.
    """
    from peft.tuners.lora.layer import Linear

    changed = [module for module in model.modules() if type(module) is Linear and _adapter(module) is not None]
    lean = _class()
    for module in changed:
        module.__class__ = lean
    try:
        yield
    finally:
        for module in changed:
            module.__class__ = Linear


def _adapter(module: Any) -> str | None:
    """The name of the only adapter of a layer, where it is a plain one that is in use."""
    names = [name for name in module.active_adapters if name in module.lora_A]
    if len(names) != 1 or module.disable_adapters or module.merged or names[0] in module.lora_variant:
        return None
    plain = module.lora_A[names[0]].bias is None and module.lora_B[names[0]].bias is None
    return str(names[0]) if plain else None


def _class() -> Any:
    """A class for the layers of one model. Those that read the same share what they have dropped."""
    from peft.tuners.lora.layer import Linear

    shared: list[Any] = [lambda: None, 0.0, None]  # a weak reference to what was read last, the chance, what is left

    def dropped(values: Any, chance: Any) -> Any:
        share = float(getattr(chance, "p", 0.0)) if chance.training else 0.0
        if not share:
            return values
        read, before, left = shared
        if read() is not values or before != share:
            left = chance(values)
            shared[:] = weakref.ref(values), share, left
        return left

    class Lean(Linear):
        def forward(self: Any, x: Any, *given: Any, **more: Any) -> Any:
            name = _adapter(self)
            if name is None or given or more or x.dtype != self.lora_A[name].weight.dtype:
                return Linear.forward(self, x, *given, **more)
            left = dropped(x, self.lora_dropout[name])
            found = self.base_layer(x.flatten(0, -2))
            small = self.lora_A[name](left.flatten(0, -2)) * self.scaling[name]
            return found.addmm_(small, self.lora_B[name].weight.t()).view(*x.shape[:-1], -1)

    return Lean
