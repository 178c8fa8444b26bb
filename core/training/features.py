"""What a model's last layer gets, of each text: for one batch, or for all rows at once."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from core.device import Device
from core.errors import UserError
from core.models import heads
from core.models.rounding import autocast_reading, rounded_reading
from core.spec import TrainSpec
from core.tasks._batches import batches
from core.training import checkpoints

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

# Poolings by name. `as_it_is` is what the model does; the others can be had from the output of its body.
AS_IT_IS = "as_it_is"
_FEATURES = "features.safetensors"
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
    import torch

    hidden = model.base_model(**batch)[0]
    # Pooling counts in 32 bits, which the head's own rounded weights would not take.
    with torch.autocast(hidden.device.type, torch.bfloat16, enabled=hidden.dtype == torch.bfloat16):
        return {name: heads.features(model, hidden, batch["attention_mask"], name) for name in poolings}


def read(
    model: Any,
    rows: "Dataset",
    poolings: tuple[str, ...],
    collate: Callable[[list[dict[str, Any]]], Any],
    device: Device,
    seed: int,
    tell: Callable[[int], bool],
    kept: "Kept | None" = None,
) -> Part:
    """Features of all rows, or of those that were read when `tell` (given the rows of a batch) said to end.

    Batches are of about equal length, so that little is padded, and come in random order, so that any first part of
    them is a fair one. The longest comes first: if memory does not suffice for it, this shows at once.

    Args:
        kept: where what was read is kept, so that another attempt need not read it again.

    Raises:
        UserError: `features_not_finite` where the model's numbers are damaged.
    """
    import numpy as np
    import torch

    known: Any = rows.select_columns(["input_ids", "attention_mask"])
    targets = torch.tensor(rows["labels"][:])
    first, *others = batches(rows["length"][:], _TOKENS_PER_BATCH, _ROWS_PER_BATCH)
    np.random.default_rng(seed).shuffle(others)
    order = [first, *others]
    before = kept.before(poolings) if kept else {}
    found: dict[str, list[Tensor]] = {
        name: [piece.to(device.kind) for piece in before.get(name, ())] for name in poolings
    }
    ready = sum(map(len, found[poolings[0]]))
    done: list[int] = []
    model.eval()
    model.to(device.kind)
    shortest = min(range(len(rows)), key=rows["length"][:].__getitem__)
    with _fastest(model, collate(known.__getitems__([shortest])), poolings, device):
        for places in order:
            if len(done) < ready:
                done += places
                tell(len(places))
                continue
            batch = collate(known.__getitems__(places))
            for name, values in of_batch(model, batch.to(device.kind), poolings).items():
                if not bool(values.isfinite().all()):
                    raise UserError("features_not_finite")
                found[name].append(values)
            done += places
            if kept:
                kept.keep({name: found[name][-1] for name in poolings})
            if tell(len(places)):
                break
    # A copy, because what was computed in inference mode can never have a gradient behind it.
    features = {name: torch.cat(values).clone() for name, values in found.items()}
    return Part(features, targets[done].to(device.kind))


def _fastest(model: Any, batch: Any, poolings: tuple[str, ...], device: Device) -> AbstractContextManager[Any]:
    """What makes the model ready to read: rounded weights where these are fast and its family can be read with them.

    Args:
        batch: a small one, to find out.
    """
    if device.kind == "cpu" and device.precision == "bfloat16":
        # A family that mixes formats says so by an error.
        with suppress(RuntimeError, TypeError, ValueError), rounded_reading(model):
            of_batch(model, batch, poolings)
            return rounded_reading(model)
    return autocast_reading(device)


class Kept:
    """What was read so far, on disk.

    Args:
        folder: where; it may hold what an earlier attempt read.
        seconds: how often what is new is written.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self._folder, self._seconds = folder, seconds
        self._written = monotonic()
        self._new: list[dict[str, Tensor]] = []
        self._pieces = 0

    def before(self, poolings: tuple[str, ...]) -> "dict[str, list[Tensor]]":
        """Pooling -> pieces of features in the order in which they were read, up to the first that is damaged."""
        from safetensors.torch import load_file

        found: dict[str, list[Tensor]] = {name: [] for name in poolings}
        while checkpoints.verify(piece := self._folder / f"step-{self._pieces}"):
            for name, values in load_file(piece / _FEATURES).items():
                found[name].append(values)
            self._pieces += 1
        return found

    def keep(self, batch: "dict[str, Tensor]") -> None:
        """One more batch was read.

        Raises:
            UserError: `disk_full`.
        """
        import torch
        from safetensors.torch import save_file

        self._new.append(batch)
        if monotonic() - self._written < self._seconds:
            return
        together = {name: torch.cat([new[name] for new in self._new]).cpu().contiguous() for name in batch}
        self._folder.mkdir(parents=True, exist_ok=True)
        checkpoints.place(self._folder / f"step-{self._pieces}", lambda staged: _write(staged, save_file, together))
        self._pieces, self._new, self._written = self._pieces + 1, [], monotonic()


def _write(staged: Path, save: Callable[..., None], tensors: "dict[str, Tensor]") -> None:
    staged.mkdir()
    save(tensors, staged / _FEATURES)


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
