"""The next token of many rows at once: the likeliest, or one that is drawn; without repetition where that is asked."""

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from core.spec import Writing

# Most tokens that `top_p` usually leaves; where it leaves more, all are sorted.
_LIKELY = 256


def choose(logits: Any, said: Any, writing: "Writing") -> Any:
    """The next token of each row: the likeliest, or one that is drawn from the likely ones.

    Args:
        logits: (rows, vocabulary).
        said: tokens of each answer so far, -1 before the first one: (rows, tokens); only for the rule on repetition.
    """
    if writing.no_repeat_ngram:
        logits = logits.float()
        rows, tokens = _repeating(said, writing.no_repeat_ngram)
        logits[rows, tokens] = -torch.inf
    if not writing.temperature:
        return logits.float().argmax(dim=-1)
    logits = logits.float() / writing.temperature
    if writing.top_p == 1:
        return _drawn(logits.softmax(dim=-1))[:, 0]
    whole = logits.logsumexp(dim=-1, keepdim=True)
    scores, tokens = logits.topk(min(_LIKELY, logits.shape[1]))
    if ((scores - whole).exp().sum(dim=-1) < writing.top_p).any():
        scores, tokens = logits.sort(descending=True)
    shares = (scores - whole).exp()
    # Those before which the likelier ones already have the share asked for are left out.
    shares[shares.cumsum(dim=-1) - shares >= writing.top_p] = 0
    return tokens.gather(1, _drawn(shares))[:, 0]


def _drawn(shares: Any) -> Any:
    """A place of each row, drawn by its share: (rows, 1). `multinomial` draws a number for every place, not one."""
    sums = shares.cumsum(dim=-1)
    whole = sums[:, -1:]
    points = torch.minimum(torch.rand_like(whole) * whole, whole.nextafter(torch.zeros_like(whole)))
    return torch.searchsorted(sums, points, right=True)


def _repeating(said: Any, size: int) -> tuple[Any, Any]:
    """Rows, and tokens that would make `size` tokens of theirs come twice."""
    count = said.shape[1] - size + 1
    if count <= 0:
        return [], []
    same = said.new_ones(said.shape[0], count, dtype=torch.bool) & (said[:, :count] >= 0)
    for place in range(size - 1):
        same &= said[:, place : place + count] == said[:, count + place, None]
    rows, places = same.nonzero(as_tuple=True)
    return rows, said[rows, places + size - 1]
