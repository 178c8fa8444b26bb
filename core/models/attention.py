"""Attention over short texts: on a processor, plain products beat the fused kernel, above all on the way back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from core.models import side_by_side
from core.models.unpadded import attended, rows_now

NAME = "plain_if_short"
# Up to here plain products were faster for each size of batch that was tried (docs/speed.md).
LONGEST = 256


@contextmanager
def short_attention(model: Any) -> Iterator[None]:
    """Let the model multiply short texts out, and use the fused kernel for longer ones.

    Raises:
        ValueError: the model's family has an attention of its own.
    """
    _register()
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not inner._can_set_attn_implementation() or inner.config._attn_implementation != "sdpa":
        raise ValueError(f"{type(inner).__name__} has an attention of its own")
    inner.set_attn_implementation(NAME)
    try:
        yield
    finally:
        inner.set_attn_implementation("sdpa")


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **more: Any,
) -> tuple[Any, None]:
    """What `transformers` asks of an attention: (rows, tokens, heads, numbers), and no probabilities.

    Args:
        query: of shape (rows, heads, tokens, numbers); `key` and `value` may have fewer heads.
        attention_mask: of shape (rows, 1, tokens, tokens): where a token may look, or what is added; None for
            everywhere, or for everywhere before it where the module reads from left to right.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    together = rows_now(query)
    plain = (together.longest if together else key.shape[2]) <= LONGEST and dropout == 0 and query.device.type == "cpu"
    plain = plain and more.get("softcap") is None and more.get("cache") is None
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    bias = more.get("position_bias")

    if together and plain and bias is None:
        usual = query.shape[-1] ** -0.5 if scaling is None else scaling
        return side_by_side.attended(together, query, key, value, usual, causal=causal), None

    def own(query: Any, key: Any, value: Any, mask: Any) -> Any:
        """Of a group of rows. Their padding comes last: who looks back never sees it."""
        mask = None if causal else mask
        if plain:
            return _products(module, query, key, value, mask, scaling, causal=causal, bias=bias)
        if causal and key.shape[2] > query.shape[2]:
            mask = _looking_back(query.shape[2], key.shape[2])[None, None]
        given = {"dropout": dropout, "scaling": scaling, "is_causal": causal and mask is None, **more}
        return sdpa_attention_forward(module, query, key, value, mask, **given)[0]

    if together:
        return attended(together, query, key, value, own), None
    if plain:
        return _products(module, query, key, value, attention_mask, scaling, causal=causal, bias=bias), None
    given = {"dropout": dropout, "scaling": scaling, "is_causal": is_causal, **more}
    return sdpa_attention_forward(module, query, key, value, attention_mask, **given)


def _products(
    module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float | None, *, causal: bool, bias: Any
) -> Any:
    import torch
    from transformers.integrations.sdpa_attention import repeat_kv

    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    scores = torch.matmul(query * (query.shape[-1] ** -0.5 if scaling is None else scaling), key.transpose(2, 3))
    if mask is not None:
        scores = scores + (_added(mask, scores.dtype) if mask.dtype == torch.bool else mask)
    elif causal and query.shape[2] > 1:
        scores = scores + _added(_looking_back(*scores.shape[-2:]), scores.dtype)
    if bias is not None:
        scores = scores + bias
    shares = torch.softmax(scores, dim=-1)
    return torch.matmul(shares, value).transpose(1, 2).contiguous()


def _looking_back(asking: int, seen: int) -> Any:
    """What each of the last tokens may see of all: itself and what is before it."""
    import torch

    return torch.ones(asking, seen, dtype=torch.bool).tril(seen - asking)


def _added(allowed: Any, dtype: Any) -> Any:
    import torch

    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, torch.finfo(dtype).min)
