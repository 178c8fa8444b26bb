"""In which formats a model is trained and how it attends: the fastest way here that computes the same loss."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import Any, Literal

from core.device import Device
from core.models.adapting import is_adapted
from core.models.attention import short_attention
from core.models.compiled_layers import Int8, compiled_layers
from core.models.kernel_building import compiled
from core.models.kernels import Kernels
from core.models.rounding import Rounded, Unrounded
from core.models.unpadded import HandedOn, unpadded
from core.training.activations import quick_gelu
from core.training.dropout import cheap_dropout
from core.training.lean_adapters import lean_adapters
from core.training.logits import Guesses
from core.training.optimizer import large_tables

# What a trial step may cost, in multiplications and additions: about a third of a second on two cores.
_TRIAL_OPERATIONS = 5e10
# A large model's step on a single row may cost more. From here on ways are not timed, as that would take minutes.
_TOO_COSTLY = 2e11
_STEPS_TIMED = 2
# Another way has to be so much faster than the one that usually is, so that equal runs are computed alike although
# times vary; and steps of tiny models take about as long in every way.
_FASTER, _TINY = 1.25, 0.05
# One step that took so much longer than it had to is no outlier.
_FAR = 1.15
# How far a loss may be from the exact one: rounding to 8 bits moves it by well below 1 %, a wrong mask by much more.
_NEAR_ENOUGH = 0.02


@dataclass(frozen=True)
class Way:
    """How steps are computed.

    Attributes:
        weights: `float32`; `autocast`: exact weights that are rounded whenever a product needs them; `bfloat16`:
            rounded weights beside exact ones.
        attention: `fused`, or `plain` for short texts.
        seconds: of a trial step; 0 where none was made.
        tried: so many ways were tried.
        kept_layers: so many frozen lower layers were computed once, see `core.training.frozen`.
        rows: of a batch, see `core.training.batch_size`; 0 for as many as were asked for.
        beside: tokens that take as long as a piece takes beside its own (`core.training.batching`), where that was
            measured; 0 for what is usual on the device.
        compiled: whether `torch.compile` computes the model, see `core.training.compiling`.
        recomputed: whether each layer is computed once more when it is learned from, instead of being remembered.
        unpadded: whether texts of different length are computed without padding, see `core.models.unpadded`.
        shared: tokens with which all texts begin, where those are computed once for a piece.
        kernels: whether some steps between products were compiled for this processor, see `core.models.kernels`.
        int8: whether products of those steps round to int8, on the way back to what a layer reads or there too, see
            `core.models.compiled_layers` and `core.training.rounding_trial`.
        int16: whether those in 32 bits round to int16, in all three directions.
        handed_on: tokens of a text that the last layer computes behind its attention, see `core.models.unpadded`.
    """

    weights: Literal["float32", "autocast", "bfloat16"] = "float32"
    attention: Literal["fused", "plain"] = "fused"
    seconds: float = 0.0
    tried: int = 0
    kept_layers: int = 0
    rows: int = 0
    beside: int = 0
    compiled: bool = False
    recomputed: bool = False
    unpadded: bool = False
    shared: int = 0
    kernels: bool = False
    int8: Int8 = "none"
    int16: bool = False
    handed_on: HandedOn = "all"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def without_trial(device: Device) -> Way:
    """The way that works for every model."""
    return Way("autocast" if device.precision == "bfloat16" else "float32")


def choose(
    model: Any,
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]],
    rows: list[dict[str, Any]],
    loss: Callable[..., Any],
    device: Device,
) -> Way:
    """Try a step on some rows in each way, and take the fastest whose loss is that of exact numbers.

    On a CUDA card that knows bfloat16, rounded weights are the fastest and are only checked, against exact numbers on
    the processor: there may be no room for these on the card. The model is left as it was, on the processor, and no
    random number is drawn from those of the run.

    Args:
        rows: encoded rows of usual length, the shortest first.
        loss: as `core.tasks.base.Task.loss` gives it.
    """
    if getattr(model, "is_quantized", False):
        return without_trial(device)
    kernels = device.kind == "cpu" and compiled() is not None
    usual, ways = replace(without_trial(device), kernels=kernels), _ways(device)
    if not ways:
        return usual
    import torch

    affordable = _affordable(model, rows)
    batch, timed = collate(affordable), device.kind == "cpu" and _operations(model, affordable) < _TOO_COSTLY
    best, least, tried = usual, float("inf"), 0
    with torch.random.fork_rng(devices=cards(device)):
        wanted = _loss(model, batch, loss, Way(), replace(device, kind="cpu"))
        for way in (replace(way, kernels=kernels) for way in ways):
            # Rounding once a step is less work than rounding for every product: there is nothing to time.
            if least < _TINY or (way.weights == "autocast" and least < float("inf")):
                break
            tried += 1
            # A family that takes no other attention, or mixes formats, says so by an error.
            with suppress(ValueError, RuntimeError, TypeError, AttributeError):
                found = _loss(model, batch, loss, way, device)
                if abs(found - wanted) > _NEAR_ENOUGH * max(1.0, abs(wanted)):
                    continue
                seconds = _seconds(model, batch, loss, way, device, least / _FASTER) if timed else 0.0
                if seconds * _FASTER < least < float("inf"):
                    # Something else may have kept the machine busy then: the other way is timed once more.
                    least = min(least, _seconds(model, batch, loss, best, device, seconds * _FASTER))
                if seconds * _FASTER < least:
                    best, least = way, seconds
    model.to("cpu")
    return replace(best, seconds=round(least, 4) if least < float("inf") else 0.0, tried=tried)


def _ways(device: Device) -> list[Way]:
    """What is tried on a device, the fastest as a rule first; nothing where there is nothing to choose from."""
    usual = without_trial(device)
    if device.kind == "cpu":
        if device.precision == "bfloat16":
            return [Way("bfloat16", "plain"), Way("bfloat16", "fused"), usual]
        return [Way("float32", "plain"), usual]
    return [Way("bfloat16"), usual] if device.kind == "cuda" and device.precision == "bfloat16" else []


def kernels_of(way: Way, device: Device) -> Kernels | None:
    """What was compiled for this processor, where the way wants it and the machine has a compiler."""
    return compiled() if way.kernels and device.kind == "cpu" else None


@contextmanager
def prepared(model: Any, way: Way, device: Device, *, forget: bool = False) -> Iterator[Rounded | Unrounded]:
    """The model made ready to be trained in this way, on the device; afterwards its weights are exact again.

    Args:
        forget: whether this is for all of a training: then frozen weights of an adapted model may stay rounded, which
            saves their memory, and the exact ones are where the model is. Without, they stay where they were.
    """
    tables = large_tables(model) if device.kind == "cpu" else []
    kernels = kernels_of(way, device)
    with ExitStack() as until_then:
        if device.kind == "cpu":
            until_then.enter_context(cheap_dropout(model, kernels))
            until_then.enter_context(quick_gelu(model, kernels))
            until_then.enter_context(compiled_layers(model, kernels, int8=way.int8, int16=way.int16))
            if is_adapted(model):
                until_then.enter_context(lean_adapters(model))
        if way.attention == "plain":
            until_then.enter_context(short_attention(model))
        if way.unpadded:
            until_then.enter_context(unpadded(model, way.shared, kernels, way.handed_on))
        rounded = Rounded(model, forget=forget) if way.weights == "bfloat16" else Unrounded()
        until_then.callback(rounded.end)
        if not getattr(model, "is_quantized", False):
            # Rounded first: a card need never hold the exact weights of what is frozen.
            model.to(device.kind)
            if forget:
                rounded.move(device.kind)
        if way.recomputed:
            until_then.enter_context(recomputed(model))
        for table in tables:
            table.sparse = True
        try:
            yield rounded
        finally:
            for table in tables:
                table.sparse = False


@contextmanager
def recomputed(model: Any) -> Iterator[None]:
    """While this lasts, only what enters a layer is remembered, and the layer is computed once more going back.

    A third more work, for a fraction of the memory. A family that can't do it stays as it is.
    """
    if not getattr(model, "supports_gradient_checkpointing", False):
        yield
        return
    model.activation_checkpointing_enable({"use_reentrant": False})
    try:
        yield
    finally:
        model.activation_checkpointing_disable()


def step_seconds(
    model: Any, batch: dict[str, Any], loss: Callable[..., Any], way: Way, device: Device, timed: int = _STEPS_TIMED
) -> float:
    """The fastest of some steps after one that sets things up, without what changes the weights.

    The optimizer is left out, as it takes the same time for any batch.

    Args:
        model: `prepared` for this way, on the device.
        batch: rows laid out, with `labels`, wherever they are.
        timed: steps of which the fastest counts.
    """
    import torch

    batch, best, guesses = moved(batch, device), float("inf"), Guesses(model)
    model.train()
    try:
        for number in range(1 + timed):
            begin = perf_counter()
            with guesses.where(batch["labels"]):
                computed(model, batch, loss, way, device).backward()
            if device.kind == "cuda":
                torch.cuda.synchronize()
            model.zero_grad(set_to_none=True)
            if number:
                best = min(best, perf_counter() - begin)
    finally:
        guesses.close()
    return best


def _affordable(model: Any, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    tokens = _TRIAL_OPERATIONS / 6 / max(1, sum(weight.numel() for weight in model.parameters()))
    chosen: list[dict[str, Any]] = []
    for row in rows:
        if chosen and (len(chosen) + 1) * len(row["input_ids"]) > tokens:
            break
        chosen.append(row)
    return chosen


def _operations(model: Any, rows: list[dict[str, Any]]) -> float:
    weights: int = sum(weight.numel() for weight in model.parameters())
    return 6.0 * weights * sum(len(row["input_ids"]) for row in rows)


def _loss(model: Any, batch: dict[str, Any], loss: Callable[..., Any], way: Way, device: Device) -> float:
    import torch

    with prepared(model, way, device), torch.no_grad():
        model.eval()
        return float(computed(model, moved(batch, device), loss, way, device))


def _seconds(
    model: Any, batch: dict[str, Any], loss: Callable[..., Any], way: Way, device: Device, wanted: float
) -> float:
    """The fastest of some steps after one that sets things up, without what changes the weights.

    Args:
        wanted: seconds in which a step is to be done; a way that is far from it is not timed again.
    """
    best = float("inf")
    with prepared(model, way, device):
        model.train()
        for number in range(1 + _STEPS_TIMED):
            begin = perf_counter()
            computed(model, batch, loss, way, device).backward()
            best = min(best, perf_counter() - begin)
            model.zero_grad(set_to_none=True)
            if number and best > _FAR * wanted:
                break
    return best


def cards(device: Device) -> list[int]:
    """Cards whose random numbers are to be kept while something is tried, as `torch.random.fork_rng` takes them."""
    import torch

    return [torch.cuda.current_device()] if device.kind == "cuda" else []


def moved(batch: dict[str, Any], device: Device) -> dict[str, Any]:
    """A batch with its tensors on the device."""
    import torch

    return {name: value.to(device.kind) if torch.is_tensor(value) else value for name, value in batch.items()}


def computed(model: Any, batch: dict[str, Any], loss: Callable[..., Any], way: Way, device: Device) -> Any:
    """The loss of a batch, with `labels` in it, as this way computes it."""
    import torch

    given = {name: value for name, value in batch.items() if name != "labels"}
    with torch.autocast(device.kind, torch.bfloat16, enabled=way.weights == "autocast"):
        outputs = model(**given)
    return loss(outputs, batch["labels"])
