"""Keys and values of rows that are written together: each row in a place that another row may have after it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from core.tasks._batches import padded


@dataclass
class Window:
    """The part of the cache in use: its first rows, and columns `first` to `end` of them."""

    rows: int = 0
    first: int = 0
    end: int = 0


class Layer(CacheLayerMixin):
    """Keys and values of a layer: tensors (rows, heads, columns, dimension) of which a window is in use."""

    is_sliding = False
    keys: Any
    values: Any

    def __init__(self, window: Window, rows: int = 0, columns: int = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.window, self.size = window, (rows, columns)

    def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
        """Room for rows like these."""
        rows, columns = self.size
        self.keys, self.values = (
            states.new_zeros(rows, states.shape[1], columns, states.shape[3]) for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Set the columns after the window; returns the window with them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, first, end = self.window.rows, self.window.first, self.window.end
        after = end + key_states.shape[2]
        self.keys[:rows, :, end:after] = key_states
        self.values[:rows, :, end:after] = value_states
        return self.keys[:rows, :, first:after], self.values[:rows, :, first:after]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that so many new tokens see, and how many are left out before."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Columns in use."""
        return self.window.end - self.window.first

    def get_max_length(self) -> int:
        """Columns that there is room for."""
        return self.size[1]

    def tensors(self) -> tuple[Any, Any]:
        """Keys and values, whole."""
        return self.keys, self.values

    def put(self, row: int, other: "Layer", its: int, count: int) -> None:
        """Copy the first columns of another layer's row to the end of the window."""
        if not count:
            return
        if not self.is_initialized:
            self.lazy_initialization(*other.tensors())
        for mine, theirs in zip(self.tensors(), other.tensors(), strict=True):
            mine[row, :, self.window.end - count : self.window.end] = theirs[its, :, :count]

    def move(self, to: list[int], rows: list[int]) -> None:
        """Copy rows over others."""
        columns = slice(self.window.first, self.window.end)
        for tensor in self.tensors():
            tensor[to, :, columns] = tensor[rows, :, columns]

    def shift(self) -> None:
        """Move the window to the first columns."""
        rows, first, end = self.window.rows, self.window.first, self.window.end
        for tensor in self.tensors() if self.is_initialized and first else ():
            tensor[:rows, :, : end - first] = tensor[:rows, :, first:end].clone()

    def resize(self, rows: int, columns: int) -> None:
        """Make room; what is in the window, which begins at the first column, stays."""
        held, end, old = self.window.rows, self.window.end, self.tensors()
        self.size = (rows, columns)
        if self.is_initialized:
            self.lazy_initialization(*old)
            for new, before in zip(self.tensors(), old, strict=True):
                new[:held, :, :end] = before[:held, :, :end]


def layers_of(model: Any, window: Window, rows: int = 0, columns: int = 0) -> list[Layer]:
    """As many as the model has, with one window."""
    return [Layer(window, rows, columns) for _ in DynamicCache(config=model.config).layers]


def read(model: Any, prompts: Sequence[Sequence[int]], before: list[Layer] | None = None) -> list[Layer]:
    """Keys and values of all tokens of prompts but their last; rows are filled up on the right.

    Args:
        before: those of the tokens that all begin with, which are not read again.
    """
    known = before[0].window.end if before else 0
    longest = max(map(len, prompts)) - 1
    window = Window(len(prompts), 0, known)
    layers = layers_of(model, window, len(prompts), longest)
    for layer, old in zip(layers, before or [], strict=False):
        layer.lazy_initialization(*old.tensors())
        for new, same in zip(layer.tensors(), old.tensors(), strict=True):
            new[:, :, :known] = same
    if longest > known:
        ids, _ = padded([prompt[known:-1] for prompt in prompts], 0)
        model(
            input_ids=ids.to(model.device),
            attention_mask=torch.ones(len(prompts), longest, dtype=torch.long, device=model.device),
            position_ids=torch.arange(known, longest, device=model.device).expand(len(prompts), -1),
            past_key_values=Cache(layers=[*layers]),
            use_cache=True,
            logits_to_keep=1,
        )
        window.end = longest
    return layers
