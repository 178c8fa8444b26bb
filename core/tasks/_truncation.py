"""Texts that are longer than a model reads: which part of their tokens is kept."""

from collections.abc import Sequence
from typing import Any

from core.spec import Truncation

# Encodings hold far more than the numbers that are kept of them, so that not all texts are encoded at once.
_BLOCK = 1_000


def cut(ids: Sequence[int], limit: int, how: Truncation) -> list[int]:
    """At most `limit` of a text's token numbers: its first, its last, or its first quarter and the rest from its end.

    Source: of what C. Sun et al., "How to Fine-Tune BERT for Text Classification?", 2019 (section 5.3.1) compare, the
    first 128 and the last 382 of 510 tokens did best: the same proportion is kept here.
    """
    if len(ids) <= limit:
        return list(ids)
    first = {"head": limit, "tail": 0, "both": round(limit * 128 / 510)}[how]
    return [*ids[:first], *ids[len(ids) - (limit - first) :]]


def read(tokenizer: Any, texts: Sequence[str], limit: int, how: Truncation) -> list[list[int]]:
    """Token numbers of each text, at most `limit`: what the tokenizer gives, and of longer texts the part to keep.

    The special tokens around a text are always there. No text is without any token.
    """
    before, after = _specials(tokenizer)
    most = max(1, limit - before - after)
    fallback = next((i for i in (tokenizer.unk_token_id, tokenizer.eos_token_id) if i is not None), 0)
    found: list[list[int]] = []
    for start in range(0, len(texts), _BLOCK):
        block = list(texts[start : start + _BLOCK])
        # Not "verbose": it would warn of every text that is cut here in a moment.
        for ids in tokenizer(block, return_attention_mask=False, return_token_type_ids=False, verbose=False)[
            "input_ids"
        ]:
            if len(ids) > most + before + after:
                end = len(ids) - after
                ids = [*ids[:before], *cut(ids[before:end], most, how), *ids[end:]]
            found.append(ids or [fallback])
    return found


def _specials(tokenizer: Any) -> tuple[int, int]:
    """How many special tokens the tokenizer puts before and after a text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    before = next(i for i in range(len(whole) + 1) if whole[i : i + len(bare)] == bare)
    return before, len(whole) - before - len(bare)
