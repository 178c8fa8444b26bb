"""Attention of the long row, by plain products or kernels: one step of autograd, whose way back is written out here.

Texts of about equal length are laid side by side, heads apart, straight from the long row and back into it. Autograd
would fill and copy the whole row for each part that is taken from it, and keep more.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from core.models.unpadded import Group, Rows, Short

# A softmax over a multiple of so many bfloat16 numbers was 2 to 5 times as fast as over some numbers fewer, and going
# back 9 times; products have fewer shapes to be set up for.
_MULTIPLE = 32


def filled_up(tokens: int) -> int:
    """How many of a row are computed where it has so many."""
    return -(-tokens // _MULTIPLE) * _MULTIPLE


class Laid:
    """Where the tokens of some rows stand while attention is computed, for so many heads.

    All places are those of a head of a token: token * heads + head in the long row, (row * heads + head) * tokens +
    token where rows lie side by side. What fills a row up asks and is seen as its first token, and has no part in what
    comes back.

    Args:
        group: the rows.
        shared: tokens at the beginning of the long row that each of these rows sees, too.
        heads, key_heads: of queries, and of keys and values.
        causal: whether a token sees none that come after it.

    Attributes:
        asking, seen: tokens of a row that ask and that are seen, with what fills it up.
        asked: for each place side by side its place in the long row; `keys` the same of what is seen.
        back: for each place of these rows in the long row its place side by side; `keys_back` the same of keys, whose
            heads count once.
        filled: places side by side that only fill up and ask.
        hidden: of shape (rows * heads or 1, asking or 1, seen), True where nothing may be looked at.
    """

    def __init__(self, group: "Group", shared: int, heads: int, key_heads: int, *, causal: bool) -> None:
        import torch

        rows, self.heads, self.key_heads, self.shared = group.rows, heads, key_heads, shared
        self.seen = filled_up(shared + group.longest)
        self.asking = self.seen - shared
        lengths, place = torch.tensor(group.lengths)[:, None], torch.arange(self.asking)
        there, first = place < lengths, group.begin + lengths.cumsum(0) - lengths
        own = torch.where(there, first + place, first)
        looked_at = torch.cat([torch.arange(shared).expand(rows, -1), own], dim=1)
        every = torch.arange(heads)[:, None]
        self.asked = (own[:, None] * heads + every).view(-1)
        self.keys = (looked_at[:, None] * key_heads + every // (heads // key_heads)).view(-1)
        row, token = there.nonzero(as_tuple=True)
        self.back = ((row * heads)[:, None] + every.T) * self.asking + token[:, None]
        self.keys_back = ((row * key_heads)[:, None] + every[:key_heads].T) * self.seen + token[:, None] + shared
        self.back, self.keys_back = self.back.view(-1), self.keys_back.view(-1)
        self.filled = (~there)[:, None].expand(-1, heads, -1).reshape(-1).nonzero()[:, 0]
        if causal:
            self.hidden = torch.ones(1, self.asking, self.seen, dtype=torch.bool).triu(shared + 1)
        else:
            self.hidden = (torch.arange(self.seen) >= shared + lengths).repeat_interleave(heads, dim=0)[:, None]


def attended(
    rows: "Rows", query: "Tensor", key: "Tensor", value: "Tensor", scaling: float, *, causal: bool
) -> "Tensor":
    """Attention of the long row, of shape (1, tokens, heads, numbers), on a processor.

    Args:
        query: of shape (1, heads, tokens, numbers); `key` and `value` may have fewer heads.
        scaling: of the products of queries and keys.
    """
    found: Tensor = _function().apply(query, key, value, rows, scaling, causal)
    return found


@cache
def _function() -> Any:
    """Made when it is needed: importing torch takes seconds."""
    import torch

    def flat(values: Any) -> Any:
        """(1, heads, tokens, numbers) as (tokens * heads, numbers)."""
        return values.transpose(1, 2).reshape(-1, values.shape[-1])

    def unflat(values: Any, heads: int) -> Any:
        return values.view(1, -1, heads, values.shape[-1]).transpose(1, 2)

    def taken(values: Any, places: Any, tokens: int) -> Any:
        """(rows * heads, tokens, numbers) from the long row."""
        return values.index_select(0, places).view(-1, tokens, values.shape[-1])

    def long_row(like: Any, heads: int, rows: Any, numbers: int) -> Any:
        """Room for (tokens * heads, numbers); what fills the row up is 0 already."""
        made = like.new_empty(rows.tokens * heads, numbers)
        made[rows.used * heads :] = 0
        return made

    def laid_back(values: Any, places: Any, into: Any, laid_first: int, heads: int) -> None:
        begin = laid_first * heads
        torch.index_select(values.reshape(-1, values.shape[-1]), 0, places, out=into[begin : begin + len(places)])

    def short(rows: Any, parts: Any, causal: bool) -> "Short | None":
        """Rows that are left to kernels."""
        able = rows.kernels is not None and not causal and not rows.shared and rows.kernels.can_attend(*parts)
        found: Short | None = rows.short(rows.kernels.longest(parts[0])) if able else None
        return found if found and found.groups else None

    class SideBySide(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, query: Any, key: Any, value: Any, rows: Any, scaling: float, causal: bool) -> Any:
            heads, key_heads, parts = query.shape[1], key.shape[1], (query, key, value)
            found = long_row(value, heads, rows, value.shape[-1])
            kept: list[Any] = []
            few = short(rows, parts, causal)
            if few:
                laid_out = (few.begins, few.lengths, few.longest, scaling)
                rows.kernels.attention(parts, *laid_out, found, rows.asking)
                kept += parts
            more = rows.laid(heads, key_heads, causal=causal, after=few.groups if few else 0)
            if more:
                asked, seen, told = flat(query) * scaling, flat(key), flat(value)
            for laid, begin in more:
                queries = taken(asked, laid.asked, laid.asking)
                keys, values = (taken(each, laid.keys, laid.seen) for each in (seen, told))
                lowest = torch.finfo(queries.dtype).min
                hidden = queries.new_zeros(laid.hidden.shape).masked_fill_(laid.hidden, lowest)
                shares = torch.baddbmm(hidden, queries, keys.transpose(1, 2)).softmax(-1)
                laid_back(shares @ values, laid.back, found, begin, heads)
                kept += [queries, keys, values, shares]
            ctx.save_for_backward(*kept)
            ctx.rows, ctx.few, ctx.more, ctx.scaling = rows, few, more, scaling
            ctx.heads, ctx.key_heads, ctx.asking = heads, key_heads, rows.asking
            return found.view(1, rows.tokens, heads, -1)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            heads, key_heads, rows, kept = ctx.heads, ctx.key_heads, ctx.rows, list(ctx.saved_tensors)
            wanted, few = gradient.reshape(-1, gradient.shape[-1]).contiguous(), ctx.few
            to_query = long_row(wanted, heads, rows, kept[0].shape[-1])
            to_key = long_row(wanted, key_heads, rows, kept[1].shape[-1])
            to_value = long_row(wanted, key_heads, rows, kept[2].shape[-1])
            if few:
                into = (to_query, to_key, to_value)
                laid_out = (few.begins, few.lengths, few.longest, ctx.scaling)
                rows.kernels.attention_back(kept[:3], *laid_out, wanted, into, ctx.asking)
                del kept[:3]
            for laid, begin in ctx.more:
                queries, keys, values, shares = kept[:4]
                del kept[:4]
                own = taken(wanted, laid.asked, laid.asking)
                own.view(-1, own.shape[-1]).index_fill_(0, laid.filled, 0)
                found = torch._softmax_backward_data(own @ values.transpose(1, 2), shares, -1, shares.dtype)
                laid_back(found @ keys, laid.back, to_query, begin, heads)
                for into, each in ((to_key, found.transpose(1, 2) @ queries), (to_value, shares.transpose(1, 2) @ own)):
                    once = each.view(-1, heads // key_heads, laid.seen, each.shape[-1])
                    once = once.sum(1) if once.shape[1] > 1 else once
                    laid_back(once, laid.keys_back, into, begin, key_heads)
                    if laid.shared:
                        begun = once.view(-1, key_heads, laid.seen, each.shape[-1])[:, :, : laid.shared].sum(0)
                        into[: laid.shared * key_heads] += begun.transpose(0, 1).reshape(-1, each.shape[-1])
            done = int(few.lengths.sum()) * heads if few else 0  # kernels have scaled theirs
            to_query[done:] *= ctx.scaling
            parts = ((to_query, heads), (to_key, key_heads), (to_value, key_heads))
            return *(unflat(each, many) for each, many in parts), None, None, None

    return SideBySide
