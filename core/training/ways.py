"""In which way a run computes its steps: all that is chosen by trials, put together."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.device import Device
from core.models.unpadded import can_go_unpadded, first_layer_learns, which_handed_on
from core.spec import TrainSpec
from core.training import checkpoints
from core.training.batch_size import Asked, beside_tokens, pieces_of, rows_together, usual_rows
from core.training.compiling import pays
from core.training.logits import guesses_everywhere
from core.training.precision import Way, choose, without_trial
from core.training.rounding_trial import rounded_learning

# Rows that a trial of the ways to compute may use.
_ROWS_TRIED = 64
# Tokens with which all texts begin, from which on it is worth computing them once.
_WORTH_SHARING = 8


def chosen_way(
    model: Any, collate: Callable[..., Any], train: Any, loss: Callable[..., Any], device: Device, spec: TrainSpec,
    parts: int = 1,
) -> Way:  # fmt: skip
    """How these encoded rows are best learned from here: by trials of a few steps.

    Args:
        parts: of a batch, as memory ran out before; then there are no other trials, and batches are not enlarged.
    """
    longer = _longer_rows(train)
    way = choose(model, collate, longer, loss, device)
    tokens = sum(train["length"][:]) * spec.epochs
    way = rounded_learning(model, collate, longer, loss, way, device, tokens)
    # Rows that hold several texts already have no mask. Scores of a vocabulary at each place of a short text that lies
    # beside a long one would take far more memory than a piece may.
    if way.attention == "plain" and "attention_mask" in train.column_names and not guesses_everywhere(model):
        # Where the first layer learns nothing, `core.training.frozen` spares more.
        way = replace(way, unpadded=can_go_unpadded(model) and first_layer_learns(model))
        begun = common_start(train) if way.unpadded else 0
        if begun >= _WORTH_SHARING and can_go_unpadded(model, sharing=True):
            way = replace(way, shared=begun)
        elif way.unpadded:
            way = replace(way, handed_on=which_handed_on(model))
    if parts > 1:
        return _sparing(way, device, parts)
    if spec.larger_batches:
        asked = Asked(spec.batch_size, spec.epochs)
        way = replace(way, rows=rows_together(model, collate, train, loss, way, device, asked))
    if device.kind == "cpu":
        return way
    rows = way.rows or spec.batch_size
    way = replace(way, beside=beside_tokens(model, collate, train, loss, way, device, rows))
    if device.kind != "cuda":
        return way
    steps = math.ceil(len(train) / rows) * spec.epochs
    (piece,) = pieces_of(usual_rows(train, rows), device, way)[:1]
    return replace(way, compiled=pays(model, collate(piece), loss, way, device, steps))


def way_of(state: Path, device: Device, parts: int = 1) -> Way:
    """As an earlier attempt computed, as far as this device knows that way: another would lead to other weights.

    Args:
        parts: of a batch, more than one where memory ran out since.
    """
    told, usual = checkpoints.facts_of(state).get("way"), without_trial(device)
    known = Way(**told) if told else usual
    if device.kind == "cpu":
        return replace(known, beside=0, compiled=False, recomputed=False)
    weights = known.weights if device.kind == "cuda" and usual.weights == "autocast" else usual.weights
    way = Way(weights, rows=known.rows, beside=known.beside, compiled=known.compiled)
    return _sparing(way, device, parts)


def _sparing(way: Way, device: Device, parts: int) -> Way:
    """A card on which memory ran out computes layers once more rather than remember them.

    On a processor, smaller parts have to do: there, working them out again takes long.
    """
    if parts == 1 or device.kind != "cuda":
        return way
    return replace(way, compiled=False, recomputed=True)


def common_start(train: Any) -> int:
    """Tokens with which all encoded rows begin; each row has more than those."""
    import numpy as np

    chunks = [chunk for chunk in train.data.column("input_ids").chunks if len(chunk)]
    offsets = [chunk.offsets.to_numpy() for chunk in chunks]
    values = [chunk.values.to_numpy() for chunk in chunks]
    shortest, found = min(int(np.diff(each).min()) for each in offsets), 0
    while found < shortest - 1:
        first = values[0][offsets[0][0] + found]
        if not all((some[each[:-1] + found] == first).all() for some, each in zip(values, offsets, strict=True)):
            break
        found += 1
    return found


def _longer_rows(train: Any) -> list[dict[str, Any]]:
    """Some rows of usual length and longer, the shortest first, without what models are not given."""
    lengths = train["length"][:]
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    rows: list[dict[str, Any]] = [train[place] for place in order[len(order) // 2 :][:_ROWS_TRIED]]
    return [{name: value for name, value in row.items() if name != "length"} for row in rows]
