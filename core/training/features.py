"""What a model's last layer gets, of each text: for one batch, or for all rows at once."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.device import Device
from core.errors import UserError
from core.models import heads
from core.spec import TrainSpec
from core.tasks._batches import batches

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

# Poolings by name. `as_it_is` is what the model does; the others can be had from the output of its body.
AS_IT_IS = "as_it_is"
_TOKENS_PER_BATCH = 4096
_ROWS_PER_BATCH = 256


@dataclass(frozen=True)
class Part:
    """Some rows: pooling -> features (rows, width) in float32, and what the loss compares logits with."""

    features: "dict[str, Tensor]"
    targets: "Tensor"


def choices(model: Any, spec: TrainSpec) -> tuple[str, ...]:
    """The poolings to choose from, at least one. What the spec asks for is done to the model here.

    Raises:
        UserError: `head_unsupported`, `pooling_unsupported`.
    """
    if spec.pooling == "own" and spec.head_layers != "two":
        return heads.poolings(model) or (AS_IT_IS,)
    heads.reshape(model, spec.head_layers if spec.head_layers == "two" else one_layer(model), spec.pooling)
    return (AS_IT_IS,)


def one_layer(model: Any) -> str:
    """The head with as few layers as the family allows, as `heads.reshape` calls it."""
    return "one" if "one" in heads.offers(model.config.to_dict())["head_layers"] else "own"


def of_batch(model: Any, batch: Mapping[str, Any], poolings: tuple[str, ...]) -> "dict[str, Tensor]":
    """Pooling -> (rows, width) for one padded batch on the model's device."""
    if poolings == (AS_IT_IS,):
        with _without_last_layer(model):
            return {AS_IT_IS: model(**batch).logits.float()}
    hidden = model.base_model(**batch)[0]
    return {name: heads.features(model, hidden, batch["attention_mask"], name) for name in poolings}


def read(
    model: Any,
    rows: "Dataset",
    poolings: tuple[str, ...],
    collate: Callable[[list[dict[str, Any]]], Any],
    device: Device,
    seed: int,
    tell: Callable[[int], bool],
) -> Part:
    """Features of all rows, or of those that were read when `tell` (given the rows of a batch) said to end.

    Batches are of about equal length, so that little is padded, and come in random order, so that any first part of
    them is a fair one. The longest comes first: if memory does not suffice for it, this shows at once.

    Raises:
        UserError: `features_not_finite` where the model's numbers are damaged.
    """
    import numpy as np
    import torch

    ids, targets = rows["input_ids"][:], torch.tensor(rows["labels"][:])
    first, *others = batches(list(map(len, ids)), _TOKENS_PER_BATCH, _ROWS_PER_BATCH)
    np.random.default_rng(seed).shuffle(others)
    found: dict[str, list[Tensor]] = {name: [] for name in poolings}
    done: list[int] = []
    model.eval()
    model.to(device.kind)
    for places in [first, *others]:
        batch = collate([{"input_ids": ids[place], "attention_mask": [1] * len(ids[place])} for place in places])
        autocast = torch.autocast(device.kind, torch.bfloat16, enabled=device.precision == "bfloat16")
        with torch.inference_mode(), autocast:
            for name, values in of_batch(model, batch.to(device.kind), poolings).items():
                if not bool(values.isfinite().all()):
                    raise UserError("features_not_finite")
                found[name].append(values)
        done += places
        if tell(len(places)):
            break
    # A copy, because what was computed in inference mode can never have a gradient behind it.
    features = {name: torch.cat(values).clone() for name, values in found.items()}
    return Part(features, targets[done].to(device.kind))


@contextmanager
def _without_last_layer(model: Any) -> Iterator[None]:
    """The model hands out what its last layer would get, pooled as it pools logits."""
    from torch.nn import Identity

    name, layer = heads.last_layer(model)
    model.set_submodule(name, Identity())
    try:
        yield
    finally:
        model.set_submodule(name, layer)
