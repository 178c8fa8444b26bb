"""How many rows are learned from together: more than asked for where a trial shows that it is faster."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from core.device import Device
from core.training.batching import Batches
from core.training.optimizer import large_tables
from core.training.precision import Way, cards, prepared, step_seconds

if TYPE_CHECKING:
    from datasets import Dataset

# Fewer steps than about this many learn less: on docstrings cut to 12 words, 64 rows a batch at twice the rate of 16
# came to an accuracy of .770 (against .773, 4,354 rows, 204 steps) and .738 (against .763, 2,750 rows, 129 steps).
_LEAST_STEPS = 200
_MOST_ROWS = 128
# Tokens of a batch beyond which a step is not faster per token, or needs much memory.
_MOST_TOKENS = {"cpu": 1536, "cuda": 16384, "mps": 4096}
# The smallest batch is taken whose rows take at most so many times as long as those of the best; less may be chance.
_FASTER = 1.1
# Sizes are tried in turn, so often: what disturbs the machine for a moment disturbs one of them once. With two rounds,
# a noisy machine chose 16 rows instead of 32 in two of five runs, which then took 1.4 times as long.
_ROUNDS = 3
# Numbers on which the optimizer is tried: far more than a cache holds.
_UPDATED = 4_000_000
_UPDATES_TIMED = 5


@dataclass(frozen=True)
class Asked:
    """What the person asked for.

    Attributes:
        rows: of a batch.
        epochs: passes over all rows.
    """

    rows: int
    epochs: int


def rows_together(
    model: Any,
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]],
    train: "Dataset",
    loss: Callable[..., Any],
    way: Way,
    device: Device,
    asked: Asked,
) -> int:
    """Rows of a batch: those asked for, doubled once or more where that makes a row more than a tenth cheaper.

    Steps are tried on rows that stand for all, in pieces as in the run. The model is left as it was, and no random
    number is drawn from those of the run. Where fewer than about 200 steps would be left, batches are not enlarged,
    and nothing is tried.
    """
    import torch

    lengths = train["length"][:]
    sizes = _sizes(lengths, asked, device)
    if len(sizes) < 2:
        return asked.rows
    fixed, least = _updating_seconds(model, device), dict.fromkeys(sizes, float("inf"))
    with torch.random.fork_rng(devices=cards(device)), prepared(model, way, device):
        for rows in sizes * _ROUNDS:
            tried = pieces_of(usual_rows(train, rows), device, way)
            seconds = sum(step_seconds(model, collate(piece), loss, way, device, timed=1) for piece in tried)
            least[rows] = min(least[rows], (fixed + seconds) / rows)
    return next(rows for rows in sizes if least[rows] <= _FASTER * min(least.values()))


def _updating_seconds(model: Any, device: Device) -> float:
    """What the optimizer takes for a step, whatever its rows: measured on some numbers that are not the model's.

    On a card this is little beside a step.
    """
    import torch

    if device.kind != "cpu":
        return 0.0
    tables = {table.weight for table in large_tables(model)}
    changed = [weight for weight in model.parameters() if weight.requires_grad and weight not in tables]
    places, held = [], 0
    for weight in changed:
        if held and held + weight.numel() > _UPDATED:
            break
        places.append(torch.zeros(weight.shape, requires_grad=True))
        held += weight.numel()
    if not places:
        return 0.0
    optimizer, best = torch.optim.AdamW(places, fused=True), float("inf")
    rounded = [torch.ones_like(place, dtype=torch.bfloat16, requires_grad=False) for place in places]
    for place in places:
        place.grad = torch.ones_like(place)
    for _ in range(1 + _UPDATES_TIMED):
        begin = perf_counter()
        torch.stack([torch.linalg.vector_norm(gradient, dtype=torch.float32) for gradient in rounded])
        optimizer.step()
        torch._foreach_copy_(rounded, [place.detach() for place in places])
        best = min(best, perf_counter() - begin)
    all_numbers: int = sum(weight.numel() for weight in changed)
    return best * (all_numbers / held)


def beside_tokens(
    model: Any,
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]],
    train: "Dataset",
    loss: Callable[..., Any],
    way: Way,
    device: Device,
    rows: int,
) -> int:
    """What a piece takes beside its tokens, in tokens, from a step on one row and one on the first piece of so many.

    1 at least. Where a step on many takes no longer, it is all of their tokens: then nothing is gained by cutting.
    """
    import torch

    tried: list[tuple[int, float]] = []
    with torch.random.fork_rng(devices=cards(device)), prepared(model, way, device):
        for some in (usual_rows(train, 1), usual_rows(train, rows)):
            (piece,) = pieces_of(some, device, way)[:1]
            seconds = step_seconds(model, collate(piece), loss, way, device)
            tried.append((len(piece) * max(len(row["input_ids"]) for row in piece), seconds))
    (few, fast), (many, slow) = tried
    if slow <= fast or many <= few:
        return max(1, many)
    token = (slow - fast) / (many - few)
    return max(1, min(many, round(fast / token - few)))


def rate_factor(rows: int, asked: int) -> float:
    """By how much steps are larger where they are fewer: by the square root, as suits Adam.

    Source: Granziol, Zohren and Roberts, "Learning Rates as a Function of Batch Size", 2022.
    """
    return float((rows / asked) ** 0.5)


def _sizes(lengths: Sequence[int], asked: Asked, device: Device) -> list[int]:
    most = min(
        _MOST_ROWS,
        len(lengths) * asked.epochs // _LEAST_STEPS,
        int(_MOST_TOKENS[device.kind] * len(lengths) / sum(lengths)),
    )
    sizes = [asked.rows]
    while 2 * sizes[-1] <= most:
        sizes.append(2 * sizes[-1])
    return sizes


def usual_rows(train: "Dataset", rows: int) -> list[dict[str, Any]]:
    """So many encoded rows, or all, of all lengths, the shortest first."""
    lengths = train["length"][:]
    order, rows = sorted(range(len(lengths)), key=lengths.__getitem__), min(rows, len(lengths))
    return [train[order[(2 * place + 1) * len(order) // (2 * rows)]] for place in range(rows)]


def pieces_of(rows: Sequence[dict[str, Any]], device: Device, way: Way) -> list[list[dict[str, Any]]]:
    """Encoded rows in the pieces in which a run computes them as a batch, without what models are not given."""
    lengths = [row["length"] for row in rows]
    together = Batches(lengths, len(rows), 0, device.kind, padded=not way.unpadded, shared=way.shared)
    bare = [{name: value for name, value in row.items() if name != "length"} for row in rows]
    return [[bare[place] for place in piece] for piece in together.pieces(range(len(rows)))]
