"""Short examples that share a row of tokens without seeing one another."""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from core.tasks._batches import IGNORED

if TYPE_CHECKING:
    from datasets import Dataset

# A packed example differs from the same one by itself by rounding alone: about 1e-7 in float32. A leak is 1e-2 and up.
_ROUNDING = {"torch.float32": 1e-4}
_COARSE_ROUNDING = 5e-2

Row = dict[str, list[int]]


def packable(model: Any) -> bool:
    """Whether this model keeps examples of one row apart, by trying it on two short ones.

    `transformers` tells them by positions that start anew (`masking_utils.find_packed_sequence_indices`), which needs
    a model that takes positions and no cache. Families that count positions by the attention mask (OPT) fail here.
    """
    import torch

    highest = min(64, model.get_input_embeddings().num_embeddings) - 1
    pair = [torch.randint(1, highest, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in (7, 5)]
    alone = [_logits(model, {"input_ids": [ids]}) for ids in pair]
    row = joined([{"input_ids": ids, "labels": ids} for ids in pair])
    try:
        found = _logits(model, {name: [row[name]] for name in ("input_ids", "position_ids")})
    except (TypeError, ValueError, RuntimeError, IndexError):
        return False
    wanted = torch.cat(alone, dim=1)
    rounding = _ROUNDING.get(str(wanted.dtype), _COARSE_ROUNDING)
    return bool((found - wanted).abs().max() <= rounding * max(1.0, float(wanted.abs().max())))


def _logits(model: Any, batch: dict[str, list[list[int]]]) -> Any:
    import torch

    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            tensors = {name: torch.tensor(rows, device=model.device) for name, rows in batch.items()}
            return model(**tensors, use_cache=False).logits
    finally:
        model.train(was_training)


def packed(rows: "Dataset", capacity: int) -> Iterator[Row]:
    """Rows of `input_ids` and `labels` joined to rows of at most `capacity` tokens, by `joined`. None is divided."""
    read: Any = rows
    for places in bins(rows["length"][:], capacity):
        yield joined(read.__getitems__(places))


def joined(rows: Sequence[Row]) -> Row:
    """Examples as one row, with `position_ids` that start anew at each and no guess from one at the next."""
    return {
        "input_ids": [token for row in rows for token in row["input_ids"]],
        "labels": [label for row in rows for label in (IGNORED, *row["labels"][1:])],
        "position_ids": [position for row in rows for position in range(len(row["input_ids"]))],
    }


def bins(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Places of `lengths` by the bin that each is put into: the longest first, into the fullest bin that it fits.

    A length above the capacity has a bin of its own. Source: best-fit decreasing, which needs at most 11/9 of the
    fewest possible bins and a constant (Johnson et al., 1974, SIAM J. Comput. 3).
    """
    found: list[list[int]] = []
    spaces: list[tuple[int, int]] = []
    for place in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[place]
        at = bisect_left(spaces, (length, -1))
        if at < len(spaces):
            space, number = spaces.pop(at)
            found[number].append(place)
        else:
            space, number = capacity, len(found)
            found.append([place])
        insort(spaces, (space - length, number))
    return found


def padded(rows: Sequence[Row], pad: int) -> dict[str, Any]:
    """Packed rows as one batch: `input_ids`, `labels` and `position_ids` of shape (rows, longest).

    Labels stand where the model predicts them, as in `core.tasks._batches.training_batch`.

    There is no attention mask: with one, positions would not tell examples apart. The padding is an example of its own
    that nothing is learned from. Nor is there a cache, with which `transformers` lets examples see one another.
    """
    import torch

    longest = max(len(row["input_ids"]) for row in rows)
    columns: dict[str, list[list[int]]] = {"input_ids": [], "labels": [], "position_ids": []}
    for row in rows:
        missing = longest - len(row["input_ids"])
        columns["input_ids"].append([*row["input_ids"], *[pad] * missing])
        columns["labels"].append([*row["labels"][1:], *[IGNORED] * (missing + 1)])
        columns["position_ids"].append([*row["position_ids"], *range(missing)])
    return {name: torch.tensor(column) for name, column in columns.items()} | {"use_cache": False}
