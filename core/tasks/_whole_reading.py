"""Many texts read by products of whole numbers, tried on some of them; those that are not clear are read again."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from core.models.kernel_building import ready
from core.models.whole_products import whole_products

if TYPE_CHECKING:
    import numpy as np

# Tokens of all texts from which on it pays, the share of the texts on which it is tried, and how many at least and at
# most. With twice the share hardly fewer answers were other ones in the end: 1.2 of 400 instead of 1.4.
_WORTH, _TRIED, _FEWEST_TRIED, _MOST_TRIED = 32_768, 1 / 64, 4, 64
# How far probabilities may move on average: on fine-tuned models it was .004 to .005, and rounding to bfloat16 is .001.
_FAR = 0.02
# A text is clear whose probabilities are so many times further from those of another answer than they move on average.
_CLEAR = 4.0


class _Labels(Protocol):
    def probabilities(self, logits: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]": ...

    def margins(self, model: Any, probabilities: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]": ...


def whole_reading(
    task: _Labels, model: Any, lengths: Sequence[int], read: Callable[[Sequence[int]], "np.ndarray[Any, Any]"]
) -> "np.ndarray[Any, Any]":
    """The logits of texts, of shape (texts, labels), by products of int8 or int16 where that pays and agrees.

    Args:
        model: on a processor, with weights in bfloat16 or in 32 bits.
        lengths: of the texts, in tokens.
        read: from places of texts to their logits, as the model computes them now.
    """
    import numpy as np

    kernels, everything = ready() if sum(lengths) >= _WORTH else None, range(len(lengths))
    if kernels is None:
        return read(everything)
    order = np.argsort(lengths, kind="stable")
    many = min(len(order), _MOST_TRIED, max(_FEWEST_TRIED, round(_TRIED * len(order))))
    tried = [int(order[place]) for place in np.linspace(0, len(order) - 1, many).round().astype(int)]
    usual = read(tried)
    with whole_products(model, kernels) as some:
        shift = abs(task.probabilities(read(tried)) - task.probabilities(usual)).max(axis=1).mean() if some else np.inf
        rest = sorted({*everything} - {*tried}) if shift <= _FAR else []
        quick = read(rest) if rest else usual[:0]
    found = np.empty((len(lengths), usual.shape[1]), dtype=usual.dtype)
    found[tried], found[rest] = usual, quick
    clear = task.margins(model, task.probabilities(quick)) >= _CLEAR * shift
    again = sorted({*everything} - {*tried} - {place for place, sure in zip(rest, clear, strict=True) if sure})
    if again:
        found[again] = read(again)
    return found
