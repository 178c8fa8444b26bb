"""Where products of a model's layers may round and it still learns the same: a trial on some rows."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core.device import Device
from core.models.compiled_layers import Int8
from core.training.logits import Guesses
from core.training.precision import Way, cards, computed, kernels_of, moved, prepared

if TYPE_CHECKING:
    from torch import Tensor

    from core.models.kernels import Kernels

# Tokens of the rows that it is tried on, at most, and those that are too few to say anything; and the share of all
# tokens of the training that the trial may take. MiniLM's gradient moved as far on 128 tokens as on 2,048.
_MOST, _LEAST, _SHARE = 512, 128, 0.02
# How far the gradient may be from that of products in bfloat16, as a share of its length. Of MiniLM it was .03 to .05,
# before a training and after it; that one itself was .01 to .05 from the exact one. Of SmolLM2 it was .2, and .05 where
# only the way back was rounded.
_FAR = 0.1
_TRIED: tuple[Int8, ...] = ("both", "back")
# The same of int16, from exact products: no further than bfloat16 is. Of MiniLM it was .009, of SmolLM2 .027.
_NEAR = 0.05


def rounded_learning(
    model: Any,
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]],
    rows: list[dict[str, Any]],
    loss: Callable[..., Any],
    way: Way,
    device: Device,
    tokens: int,
) -> Way:
    """This way, with products that round as far as the gradient on some rows stays nearly the same.

    In bfloat16 they round to int8, in 32 bits to int16. None do if the way has no compiled steps that multiply these,
    if the rows have too few tokens to say, or if the training is too short for a trial to pay. The model is left as it
    was, and no random number is drawn from those of the run.

    Args:
        rows: encoded rows of usual length.
        loss: as `core.tasks.base.Task.loss` gives it.
        tokens: that the training goes over, all passes together.
    """
    import torch

    ways, far = _ways(way, kernels_of(way, device))
    wanted = min(_MOST, int(tokens * _SHARE) // (1 + len(ways)))
    chosen = _some(rows, wanted)
    if not ways or wanted < _LEAST or sum(len(row["input_ids"]) for row in chosen) < _LEAST:
        return way
    batch = moved(collate(chosen), device)
    with suppress(ValueError, RuntimeError, TypeError, AttributeError), torch.random.fork_rng(devices=cards(device)):
        usual = _gradient(model, batch, loss, way, device)
        for tried in ways:
            found = _gradient(model, batch, loss, tried, device)
            if _length([one - other for one, other in zip(found, usual, strict=True)]) <= far * _length(usual):
                return tried
    return way


def _ways(way: Way, kernels: "Kernels | None") -> tuple[list[Way], float]:
    """What is tried, what rounds most first, and how far the gradient may be then, as a share of its length."""
    if kernels and kernels.learns_int8 and way.weights == "bfloat16":
        return [replace(way, int8=int8) for int8 in _TRIED], _FAR
    if kernels and kernels.learns_int16 and way.weights == "float32":
        return [replace(way, int16=True)], _NEAR
    return [], 0.0


def _some(rows: list[dict[str, Any]], wanted: int) -> list[dict[str, Any]]:
    chosen, tokens = 0, 0
    while chosen < len(rows) and tokens < wanted:
        tokens += len(rows[chosen]["input_ids"])
        chosen += 1
    return rows[:chosen]


def _gradient(model: Any, batch: dict[str, Any], loss: Callable[..., Any], way: Way, device: Device) -> "list[Tensor]":
    """Of all weights but those of embedding tables, without dropout."""
    guesses = Guesses(model)
    try:
        with prepared(model, way, device):
            model.eval()
            with guesses.where(batch["labels"]):
                computed(model, batch, loss, way, device).backward()
            found = [weight.grad for weight in model.parameters() if weight.grad is not None]
            return [gradient for gradient in found if not gradient.is_sparse]
    finally:
        model.zero_grad(set_to_none=True)
        guesses.close()


def _length(gradients: "list[Tensor]") -> float:
    import torch

    return float(torch.stack(torch._foreach_norm(gradients, 2, torch.float32)).norm())
