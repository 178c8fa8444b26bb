"""Frozen lower layers: what the last of them gives is computed once for each text, epochs run over the layers above.

That is done without dropout: the same text then gives the same states in each epoch. Dropout is there so that what is
learned relies on no single number; in layers that learn nothing it has that use for the layers above alone, which
drop numbers of their own.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TYPE_CHECKING, Any

from core import files
from core.device import Device
from core.errors import UserError
from core.models.adapting import layer_stacks
from core.tasks._batches import IGNORED, batches
from core.training import checkpoints
from core.training.hidden_states import HiddenStates
from core.training.precision import Way

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

FOLDER = "frozen"
_TOKENS = 2048
_MOST_ROWS = 256
# Rows whose tokens are counted among the origin at once.
_BLOCK = 1_000
# Tokens that the frozen layers have to be spared at least: the trial of MiniLM takes about as long as one of its layers
# takes for 10,000 tokens.
_LEAST_SPARED = 20_000
# Rows of the trial, of usual length and shorter.
_ROWS_TRIED = 4
# How far results may be from the model's own, as a share of them: rounding to 8 bits moves them by about 1 %.
_ROUNDING, _COARSE_ROUNDING = 1e-3, 5e-2


@dataclass(frozen=True)
class Reading:
    """How rows are read once.

    Attributes:
        passes: encoded rows, training rows first, and how often each is given to the model.
        collate: from rows to a batch.
        parts: a batch has so many times fewer tokens, where memory ran out before.
        seconds: how often what was computed is noted, so that another attempt need not compute it again.
        tell: called with (rows done, rows in all); an exception that it raises ends the work.
        stop: whether the person asked to end: then the usual way is gone, which hears it at its first step.
    """

    passes: "Sequence[tuple[Dataset, int]]"
    collate: Callable[[list[dict[str, Any]]], Any]
    parts: int
    seconds: float
    tell: Callable[[int, int], None]
    stop: Callable[[], bool]


@contextmanager
def replayed(
    model: Any, way: Way, device: Device, folder: Path, reading: Reading, *, wanted: bool = True
) -> Iterator[int]:
    """While this lasts, the frozen lower layers give what was kept of them below `folder`; the model stays whole.

    Gives the number of those layers: 0 where nothing is kept and the model computes as ever, because nothing is
    frozen, the disk does not suffice, it would not pay, or the family's layers hand on more than hidden states.
    Texts are known by their tokens: none but those of `reading.passes` can be read. On a processor alone.

    Args:
        model: made ready to be trained in this `way`, as `core.training.precision.prepared` does.
        wanted: whether that is to be tried: a run that began in the usual way goes on in it.

    Raises:
        What `reading.tell` raises; what was computed by then stays.
    """
    lower, states = _Lower(model, way), None
    if wanted and device.kind == "cpu" and lower.layers and _pays(reading.passes):
        states = _kept(lower, folder, reading)
    if states is None:
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        yield 0
        return
    with lower.replaying(states):
        yield len(lower.layers)


class _EnoughError(Exception):
    """The layers above need not be computed."""


class _Lower:
    """The first layers, of an encoder-decoder its encoder's, in which nothing is learned.

    Attributes:
        layers: none where whole layers are left out at random.
    """

    def __init__(self, model: Any, way: Way) -> None:
        self.model, self.way = model, way
        at_random = any(share for name, share in model.config.to_dict().items() if "layerdrop" in name)
        layers = [] if at_random else model.get_submodule(layer_stacks(model)[0])
        self.layers = list(takewhile(lambda layer: not any(w.requires_grad for w in layer.parameters()), layers))
        # What a layer gives beside states: an empty place for attention probabilities in some families.
        self._beside: tuple[None, ...] | None = None

    def results(self, batch: dict[str, Any]) -> "list[Tensor]":
        """The model's logits, where something is learned from them, and what an encoder hands to its decoder."""
        import torch

        with torch.inference_mode(), self._rounding():
            outputs = self.model(**_without_labels(batch))
        logits = outputs.logits[batch["labels"] != IGNORED] if outputs.logits.dim() > 2 else outputs.logits
        read = getattr(outputs, "encoder_last_hidden_state", None)
        return [logits.float()] if read is None else [logits.float(), read[batch["attention_mask"].bool()].float()]

    def output(self, batch: dict[str, Any]) -> "Tensor":
        """What the last of the layers gives, of shape (rows, tokens, width).

        Raises:
            TypeError: it gives more than that.
        """
        import torch

        found: Any = None

        def end(module: Any, given: Any, output: Any) -> None:
            nonlocal found
            found = output
            raise _EnoughError

        hook = self.layers[-1].register_forward_hook(end)
        try:
            with suppress(_EnoughError), self._rounding():
                self.model(**_without_labels(batch))
        finally:
            hook.remove()
        if isinstance(found, tuple):
            found, *beside = found
            self._beside = tuple(beside)
        alone = all(other is None for other in self._beside or ())
        if not isinstance(found, torch.Tensor) or found.shape[:2] != batch["input_ids"].shape or not alone:
            raise TypeError("not only hidden states")
        return found

    @contextmanager
    def replaying(self, states: HiddenStates) -> Iterator[None]:
        """The layers compute nothing, and the last one gives the states of the texts that the model is given."""
        now: Any = None

        def look_up(module: Any, given: Any, named: dict[str, Any]) -> None:
            nonlocal now
            now = states.of(named["input_ids"], named["attention_mask"])

        def give(*given: Any, **more: Any) -> Any:
            return now if self._beside is None else (now, *self._beside)

        hook = self.model.register_forward_pre_hook(look_up, with_kwargs=True)
        for layer in self.layers:
            # Beside the method of its class: weights, names and files of the model stay as they are.
            layer.forward = give
        try:
            yield
        finally:
            hook.remove()
            for layer in self.layers:
                del layer.forward

    def _rounding(self) -> Any:
        import torch

        return torch.autocast("cpu", torch.bfloat16, enabled=self.way.weights == "autocast")


def _pays(passes: "Sequence[tuple[Dataset, int]]") -> bool:
    """Whether texts are read again often enough."""
    counted = [(sum(rows["length"][:]), times) for rows, times in passes]
    once, spared = sum(tokens for tokens, _ in counted), sum(tokens * (times - 1) for tokens, times in counted)
    return bool(spared >= max(_LEAST_SPARED, once / 2))


def _kept(lower: _Lower, folder: Path, reading: Reading) -> HiddenStates | None:
    """The states of all rows, or None where they cannot be had."""
    lower.model.eval()
    tokens = sum(sum(rows["length"][:]) for rows, _ in reading.passes)
    most = max(1, _TOKENS // reading.parts)
    try:
        with files.disk_full_is_a_user_error():
            shape = _tried(lower, folder, reading)
            # Half of what is free: others write here, too.
            if shape is None or 2 * tokens * shape[0] * shape[1].itemsize > checkpoints.spare(folder, lower.model):
                return None
            with closing(HiddenStates(folder / FOLDER, _origin(lower, most, reading), *shape)) as states:
                return states if _filled(states, lower, reading, most) else None
    except UserError as error:
        if error.code != "disk_full":
            raise
        return None


def _tried(lower: _Lower, folder: Path, reading: Reading) -> tuple[int, Any] | None:
    """Width and format of the states; None where what is computed from kept ones is not the model's own."""
    import torch

    rows = reading.passes[0][0]
    order = sorted(range(len(rows)), key=rows["length"][:].__getitem__)
    chosen = [rows[order[len(order) // 2 * place // _ROWS_TRIED]] for place in range(1, _ROWS_TRIED + 1)]
    # A family that takes no part of this says so by an error.
    with (
        suppress(ValueError, RuntimeError, TypeError, AttributeError, LookupError),
        TemporaryDirectory(dir=folder) as place,
    ):
        batch = _batch(reading.collate, chosen)
        output = lower.output(batch)
        if output.requires_grad:
            return None  # something is learned below
        states = HiddenStates(Path(place), "", output.shape[-1], output.dtype)
        with closing(states):
            for row in chosen:
                _add(states, lower, _batch(reading.collate, [row]))
        wanted = lower.results(batch)
        with lower.replaying(states):
            found = lower.results(batch)
        exact = lower.way.weights == "float32" and output.dtype == torch.float32
        rounding = _ROUNDING if exact else _COARSE_ROUNDING
        if all((a - b).norm() <= rounding * b.norm() for a, b in zip(found, wanted, strict=True)):
            return output.shape[-1], output.dtype
    return None


def _filled(states: HiddenStates, lower: _Lower, reading: Reading, most: int) -> bool:
    """Compute what is not there yet; whether it came to an end."""
    total, done, noted = sum(len(rows) for rows, _ in reading.passes), 0, monotonic()
    for rows, _ in reading.passes:
        for places in batches(rows["length"][:], most, _MOST_ROWS):
            if reading.stop():
                return False
            _add(states, lower, _batch(reading.collate, rows.__getitems__(places)))
            done += len(places)
            if monotonic() - noted >= reading.seconds:
                states.note()
                noted = monotonic()
            reading.tell(done, total)
    return True


def _add(states: HiddenStates, lower: _Lower, batch: dict[str, Any]) -> None:
    import torch

    if not states.place(batch["input_ids"], batch["attention_mask"]):
        with torch.inference_mode():
            states.add(lower.output(batch)[batch["attention_mask"].bool()])


def _origin(lower: _Lower, most: int, reading: Reading) -> str:
    """What all states follow from: the frozen weights, the texts in their order, and how they are computed."""
    import torch

    way = lower.way
    digest = hashlib.sha256(repr((way.weights, way.attention, len(lower.layers), most)).encode())
    for name, weight in lower.model.named_parameters():
        if not weight.requires_grad:
            digest.update(name.encode())
            digest.update(memoryview(weight.detach().contiguous().view(-1).view(torch.uint8).numpy()))
    for rows, _ in reading.passes:
        for start in range(0, len(rows), _BLOCK):
            digest.update(repr(rows[start : start + _BLOCK]["input_ids"]).encode())
    return digest.hexdigest()


def _batch(collate: Callable[[list[dict[str, Any]]], Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    return dict(collate([{name: value for name, value in row.items() if name != "length"} for row in rows]))


def _without_labels(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name != "labels"}
