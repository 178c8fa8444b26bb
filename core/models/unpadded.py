"""Rows of different length without padding: between its first layer and its last, a model computes tokens alone.

What enters the first layer is gathered into one long row of tokens; products, norms and dropout are computed for them
as for any row. Attention lays a few rows of about equal length side by side at a time, so that each token sees those of
its own text. What leaves the last layer is laid back, with zeros where there is padding.

Heads that read one token of a text, as most that classify do, leave the others of the last layer unused. Behind its
attention only that token of each text is computed then.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from threading import local
from typing import TYPE_CHECKING, Any, Literal

from core.models.side_by_side import Laid, filled_up

if TYPE_CHECKING:
    from torch import Tensor

    from core.models.kernels import Kernels

# The long row has a multiple of so many tokens: each length is another shape, for which products are set up anew.
_MULTIPLE = 32
# Rows are laid side by side whose shortest has more than this share of the tokens of the longest, where both count as
# if they were filled up (`core.models.side_by_side`).
_ALIKE = 0.5
# Tokens of the longer of two texts on which this is tried, and how far results may be from each other, as a share.
_TRIED, _ROUNDING = 12, 1e-3
# How configs call it that a layer sees a part of the text alone; Qwen's have one more number beside it.
_PART = re.compile(r"window(?!_layers)|local|sparse|chunk_size$")
# What a layer has behind its attention where it can be given some tokens alone: all from a part on that takes what
# attention found and what entered the layer; or one part, whose result is added to what entered that.
_FROM_ATTENTION, _BEHIND = "attention.output", ("mlp", "ffn")
# The long row of tokens that are handed on has a multiple of so many.
_FEW = 8
# Tokens of a text that the last layer hands on.
HandedOn = Literal["all", "first", "last"]
_now = local()


class Rows:
    """How rows that stand side by side go into the long row and back.

    Args:
        mask: of shape (rows, tokens), 1 where there is a token.
        shared: tokens with which all of these rows begin, and which are in the long row once. Every row has more.

    Attributes:
        count: of the rows.
        used, tokens: of the long row, without and with what fills it up.
        longest: tokens of the longest row.
        groups: rows for attention, in their order in the long row, behind what is shared.
        kernels: with which attention of short rows is computed, if there are any.
        asking: tokens of each row, the first, whose attention is wanted now; 0 for all. Kernels compute no other.
    """

    def __init__(self, mask: "Tensor", shared: int = 0, kernels: "Kernels | None" = None) -> None:
        import torch

        self.kernels, self.asking = kernels, 0
        self.count, self.shared, own = len(mask), shared, mask[:, shared:]
        self._shape = tuple(own.shape)
        kept, lengths = own.bool(), own.sum(1)
        order = torch.argsort(lengths, stable=True)
        numbers = torch.arange(own.numel()).view(self._shape)[order]
        self._places = numbers[kept[order]]
        used = len(self._places)
        self.used = shared + used
        self.tokens = -(-self.used // _MULTIPLE) * _MULTIPLE
        self._back = torch.full((own.numel(),), used)
        self._back[self._places] = torch.arange(used)
        self.groups = list(_groups([int(lengths[row]) for row in order], shared))
        self.longest = shared + max(group.longest for group in self.groups)
        self._laid: dict[tuple[int, int, bool, int], list[tuple[Laid, int]]] = {}
        self._short: dict[int, Short] = {}
        self._lengths = [length for group in self.groups for length in group.lengths]
        self._picked: dict[str, Tensor] = {}

    def laid(self, heads: int, key_heads: int, *, causal: bool, after: int = 0) -> "list[tuple[Laid, int]]":
        """How rows lie side by side, with the token of the long row at which those begin; what is shared comes first.

        All layers have the same heads as a rule.

        Args:
            after: groups that are left out, the first.
        """
        kind = (heads, key_heads, causal, after)
        if kind not in self._laid:
            begun = [(Group(0, [self.shared]), 0)] if self.shared else []
            parts = [*begun, *((group, self.shared) for group in self.groups[after:])]
            self._laid[kind] = [
                (Laid(group, shared, heads, key_heads, causal=causal), group.begin) for group, shared in parts
            ]
        return self._laid[kind]

    def short(self, longest: int) -> "Short":
        """The groups none of whose rows has more tokens than this."""
        if longest not in self._short:
            self._short[longest] = Short([group for group in self.groups if group.longest <= longest])
        return self._short[longest]

    def picked(self, values: "Tensor", which: HandedOn) -> "Tensor":
        """The first or last token of each row, from the long row, in its order; some come again to fill up."""
        return values.index_select(1, self._one_of_each(which))

    def spread(self, values: "Tensor", which: HandedOn) -> "Tensor":
        """What was `picked` in its places of the long row, and zeros elsewhere."""
        places = self._one_of_each(which)[: len(self._lengths)]
        row = values.new_zeros(1, self.tokens, *values.shape[2:])
        return row.index_copy(1, places, values[:, : len(places)])

    def _one_of_each(self, which: HandedOn) -> "Tensor":
        import torch

        if which not in self._picked:
            ends = self.shared + torch.tensor(self._lengths).cumsum(0)
            places = ends - 1 if which == "last" else ends - torch.tensor(self._lengths)
            filled = torch.cat([places, places[:1].expand(-len(places) % _FEW)])
            self._picked[which] = filled
        return self._picked[which]

    def together(self, values: "Tensor") -> "Tensor":
        """Values of shape (rows, tokens, …) as one long row."""
        import torch

        own = values[:, self.shared :]
        taken = _gathered(own.reshape(-1, *own.shape[2:]), self._places, self._back)
        if self.shared:
            taken = torch.cat([values[0, : self.shared], taken])
        return _filled(taken, self.tokens)[None]

    def apart(self, values: "Tensor") -> "Tensor":
        """The long row as rows again."""
        import torch

        own = values[0, self.shared : self.shared + len(self._places)]
        laid = _spread(own, self._back, self._places).view(*self._shape, *values.shape[2:])
        if not self.shared:
            return laid
        begun = values[:, : self.shared].expand(self._shape[0], *([-1] * (values.dim() - 1)))
        return torch.cat([begun, laid], dim=1)


class Group:
    """Neighbours in the long row, which attention sees as rows with padding.

    Attributes:
        begin, end: their tokens in the long row.
        lengths: tokens of each row.
        rows, longest: their shape.
        mask: of shape (rows, 1, 1, longest), True where there is a token; None where all are equally long.
    """

    def __init__(self, begin: int, lengths: list[int]) -> None:
        import torch

        self.lengths, self.rows, self.longest = lengths, len(lengths), max(lengths)
        self.begin, self.end = begin, begin + sum(lengths)
        self.mask: Any = None
        if min(lengths) < self.longest:
            there = torch.arange(self.longest) < torch.tensor(lengths)[:, None]
            self.mask = there[:, None, None]
            self._places = there.view(-1).nonzero()[:, 0]
            self._back = torch.full((there.numel(),), len(self._places))
            self._back[self._places] = torch.arange(len(self._places))

    def apart(self, values: "Tensor") -> "Tensor":
        """The tokens of the long row (1, heads, tokens, numbers) as (rows, heads, longest, numbers)."""
        own = values.transpose(1, 2)[0, self.begin : self.end]
        flat = own if self.mask is None else _spread(own, self._back, self._places)
        return flat.reshape(self.rows, self.longest, *flat.shape[1:]).transpose(1, 2)

    def together(self, values: "Tensor") -> "Tensor":
        """Values of shape (rows, longest, heads, numbers) as tokens of the long row."""
        flat = values.reshape(-1, *values.shape[2:])
        return flat if self.mask is None else _gathered(flat, self._places, self._back)


class Short:
    """The first groups of a long row, row by row.

    Attributes:
        groups: so many.
        begins, lengths: of each row: its first token in the long row and how many it has.
        longest: tokens of the longest, 0 where there are none.
    """

    def __init__(self, groups: list[Group]) -> None:
        import torch

        self.groups = len(groups)
        self.lengths = torch.tensor([length for group in groups for length in group.lengths], dtype=torch.int64)
        self.begins = self.lengths.cumsum(0) - self.lengths + (groups[0].begin if groups else 0)
        self.longest = groups[-1].longest if groups else 0


def rows_now(query: "Tensor") -> Rows | None:
    """The rows of which this query of shape (1, heads, tokens, numbers) is the long row; None if it is none."""
    rows: Rows | None = getattr(_now, "rows", None)
    return rows if rows is not None and query.shape[0] == 1 and query.shape[2] == rows.tokens else None


def attended(rows: Rows, query: "Tensor", key: "Tensor", value: "Tensor", attend: Any) -> "Tensor":
    """Attention of the long row, of shape (1, tokens, heads, numbers).

    Args:
        attend: from query, key, value and mask of a group to its attention, of shape (rows, tokens, heads, numbers).
            What is shared comes before the group's own keys and values.
    """
    import torch

    begun = [values[:, :, : rows.shared] for values in (query, key, value)]
    found = [attend(*begun, None)[0]] if rows.shared else []
    for group in rows.groups:
        asked, *seen = (group.apart(values) for values in (query, key, value))
        if rows.shared:
            before = (values.expand(group.rows, -1, -1, -1) for values in begun[1:])
            seen = [torch.cat(both, dim=2) for both in zip(before, seen, strict=True)]
        found.append(group.together(attend(asked, *seen, group.mask)))
    return _filled(torch.cat(found), rows.tokens)[None]


@contextmanager
def unpadded(
    model: Any, shared: int = 0, kernels: "Kernels | None" = None, handed_on: HandedOn = "all"
) -> Iterator[None]:
    """While this lasts, the model computes no padding. Its attention has to be that of `core.models.attention`.

    Args:
        shared: tokens with which all texts begin: they are computed once for a batch that does begin with them. For
            models that read from left to right.
        kernels: for the attention of short texts.
        handed_on: tokens of a text that the last layer has to compute (`which_handed_on`); not where some are shared.

    Raises:
        ValueError: the last layer has no part that could be given some tokens alone.
    """
    from core.models.adapting import layer_stacks

    layers = model.get_submodule(layer_stacks(model)[0])

    def look(module: Any, given: Any, named: dict[str, Any]) -> None:
        mask: Any = named.get("attention_mask")
        several = mask is not None and mask.dim() == 2 and len(mask) > 1 and bool(mask.any())
        _now.rows = None
        if several:
            begun = shared if shared and _all_begin_alike(named.get("input_ids"), mask, shared) else 0
            spared = begun or handed_on != "all" or not bool(mask.all())
            _now.rows = Rows(mask, begun, kernels) if spared else None

    def enter(module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        rows = getattr(_now, "rows", None)
        if rows is None:
            return None
        rows.asking = 1 if handed_on == "first" and module is layers[-1] else 0
        if module is layers[0]:
            given = (rows.together(given[0]), *given[1:])
        turned = named.get("position_embeddings")
        if turned is not None:
            whole = (each.expand(rows.count, *each.shape[1:]) for each in turned)
            named = named | {"position_embeddings": tuple(rows.together(each) for each in whole)}
        return given, named

    def leave(module: Any, given: Any, output: Any) -> Any:
        rows = getattr(_now, "rows", None)
        if rows is None:
            return output
        _now.rows = None  # nobody else's attention is theirs
        found = output[0] if isinstance(output, tuple) else output
        found = rows.apart(rows.spread(found, handed_on) if picked_till_the_end else found)
        return (found, *output[1:]) if isinstance(output, tuple) else found

    def pick(module: Any, given: tuple[Any, ...]) -> Any:
        rows = getattr(_now, "rows", None)
        return None if rows is None else tuple(rows.picked(each, handed_on) for each in given)

    def spread(module: Any, given: Any, output: Any) -> Any:
        rows = getattr(_now, "rows", None)
        return output if rows is None else rows.spread(output, handed_on)

    hooks = [model.register_forward_pre_hook(look, with_kwargs=True)]
    part, picked_till_the_end = _behind_attention(layers[-1]) if handed_on != "all" else (None, False)
    if part is not None:
        hooks.append(part.register_forward_pre_hook(pick))
        hooks += [] if picked_till_the_end else [part.register_forward_hook(spread)]
    hooks += [layer.register_forward_pre_hook(enter, with_kwargs=True) for layer in layers]
    hooks += [layers[-1].register_forward_hook(leave)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        _now.rows = None


def which_handed_on(model: Any) -> HandedOn:
    """Tokens of a text that the last layer of a model that goes unpadded has to compute, by the same trial."""
    from core.models.adapting import is_language_model

    if not is_language_model(model):
        ways: tuple[HandedOn, ...] = ("first", "last")
        for which in ways:
            if can_go_unpadded(model, handed_on=which):
                return which
    return "all"


def can_go_unpadded(model: Any, *, sharing: bool = False, handed_on: HandedOn = "all") -> bool:
    """Whether a model computes the same without padding: by trying it on two short texts, with 32-bit weights.

    `sharing`: and with the beginning that they share computed once; `handed_on`: with these tokens of the last layer.

    Not where layers see a part of the text alone (such a part may be longer than what is tried), or where a decoder
    asks an encoder.
    """
    was_training = model.training
    try:
        # A family that takes no part of this says so by an error.
        with suppress(ValueError, RuntimeError, TypeError, AttributeError, LookupError):
            return _sees_whole_texts(model) and _computes_the_same(model, handed_on, sharing=sharing)
    finally:
        model.train(was_training)
    return False


def _behind_attention(layer: Any) -> tuple[Any, bool]:
    """The part of a layer that can be given some tokens alone, and whether all from there on has these alone.

    Raises:
        ValueError: there is none.
    """
    parts = dict(layer.named_modules())
    if _FROM_ATTENTION in parts:
        return parts[_FROM_ATTENTION], True
    for name in _BEHIND:
        if name in parts:
            return parts[name], False
    raise ValueError(f"{type(layer).__name__} is not known")


def _sees_whole_texts(model: Any) -> bool:
    config = model.config.to_dict() | model.config.get_text_config(decoder=True).to_dict()
    parts = any(value for name, value in config.items() if _PART.search(name))
    parts = parts or any(kind != "full_attention" for kind in config.get("layer_types") or ())
    return not parts and not model.config.is_encoder_decoder


def first_layer_learns(model: Any) -> bool:
    """Whether any weight of the lowest layer is trained."""
    from core.models.adapting import layer_stacks

    first = model.get_submodule(layer_stacks(model)[0])[0]
    return any(weight.requires_grad for weight in first.parameters())


def _computes_the_same(model: Any, handed_on: HandedOn, *, sharing: bool) -> bool:
    import torch

    from core.models.attention import short_attention

    highest = min(64, model.get_input_embeddings().num_embeddings) - 1
    ids = torch.randint(1, highest, (2, _TRIED), generator=torch.Generator().manual_seed(_TRIED))
    mask, alike = torch.ones_like(ids), _TRIED // 3 if sharing else 0
    mask[0, _TRIED // 2 :] = 0
    ids[0, :alike] = ids[1, :alike]
    ids[mask == 0] = model.config.pad_token_id or 0
    found = []
    model.eval()
    with torch.no_grad(), short_attention(model):
        for how in (nullcontext(), unpadded(model, alike, handed_on=handed_on)):
            with how:
                logits = model(input_ids=ids, attention_mask=mask).logits
                found.append(logits[mask.bool()] if logits.dim() > 2 else logits)
    usual, alone = found
    return bool((alone - usual).norm() <= _ROUNDING * usual.norm())


def _all_begin_alike(ids: Any, mask: "Tensor", shared: int) -> bool:
    """Whether each row has more tokens than these and begins with them."""
    if ids is None or ids.shape != mask.shape or ids.shape[1] <= shared:
        return False
    return bool(mask[:, : shared + 1].all() and (ids[:, :shared] == ids[0, :shared]).all())


def _groups(lengths: list[int], token: int) -> Iterator[Group]:
    """Rows sorted by length, the shortest first, in groups of about equal length.

    Args:
        token: of the long row, at which the first begins.
    """
    lengths = [length for length in lengths if length]  # an empty row has no part in the long one
    begin = 0
    while begin < len(lengths):
        end = begin
        while end < len(lengths) and filled_up(lengths[begin]) > _ALIKE * filled_up(lengths[end]):
            end += 1
        yield Group(token, lengths[begin:end])
        token += sum(lengths[begin:end])
        begin = end


def _filled(values: "Tensor", tokens: int) -> "Tensor":
    import torch

    missing = tokens - len(values)
    return torch.cat([values, values.new_zeros(missing, *values.shape[1:])]) if missing else values


def _gathered(values: "Tensor", places: "Tensor", back: "Tensor") -> "Tensor":
    """The values at these places. Going back is gathering too, which is many times as fast as adding up."""
    found: Tensor = _functions()[0].apply(values, places, back)
    return found


def _spread(values: "Tensor", back: "Tensor", places: "Tensor") -> "Tensor":
    """The values at these places, and zeros elsewhere."""
    found: Tensor = _functions()[1].apply(values, back, places)
    return found


@cache
def _functions() -> tuple[Any, Any]:
    """Gathering and spreading, made when they are needed: importing torch takes seconds."""
    import torch

    def spread(values: Any, back: Any) -> Any:
        # Where there is padding, `back` names the row of zeros behind the last.
        return torch.cat([values, values.new_zeros(1, *values.shape[1:])]).index_select(0, back)

    class Gathered(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: Any, places: Any, back: Any) -> Any:
            ctx.save_for_backward(back)
            return values.index_select(0, places)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return spread(gradient, *ctx.saved_tensors), None, None

    class Spread(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: Any, back: Any, places: Any) -> Any:
            ctx.save_for_backward(places)
            return spread(values, back)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return gradient.index_select(0, *ctx.saved_tensors), None, None

    return Gathered, Spread
