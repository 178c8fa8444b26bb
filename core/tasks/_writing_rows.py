"""Answers of a decoder-only model to many prompts: a row that has ended makes room for the next prompt at once.

Rows of a batch end at the same column of the key/value cache and begin at columns of their own, as with padding on the
left. So a step writes one column and reads as many as the longest row has. Ended rows are overwritten by others
(continuous batching; Yu et al., 2022, "Orca").
"""

from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from core.tasks._writing_cache import Window, layers_of, read
from core.tasks._writing_choice import choose

if TYPE_CHECKING:
    from core.spec import Writing

# Rows of a batch at most. Beyond this the products are no faster per row on two cores, and the cache is read slower.
_ROWS = 64
# Tokens of prompts that are read at once, with their padding. On a CPU what lies between layers shall fit its cache.
_READ = {"cpu": 512, "cuda": 16384, "mps": 4096}
# Columns beside those that are needed: the cache is moved to its beginning once in so many tokens.
_SPARE = 64
# Rows join when so many of them can be read at once, as a share of all: 1 / 8.
_REFILL = 8
# Fewer tokens than this at the beginning of all prompts are not worth reading apart.
_PREFIX = 8
# How far logits may be from those of the plain way, as a share of their spread: wrong masks or positions give far more.
_ROUNDING = {torch.float32: 1e-3, torch.bfloat16: 0.1}


def can_write(model: Any, prompts: Sequence[Sequence[int]], config: Any) -> bool:
    """Whether `answers` knows how to write with this model and GenerationConfig, and finds what the plain way finds.

    Not those that keep something else than all keys and values (sliding windows, states), and not those that do not
    take masks and positions of their own. It tries with a few tokens, as families differ in more than they tell.
    """
    unknown = config.num_beams > 1 or config.bad_words_ids or config.forced_bos_token_id or config.forced_eos_token_id
    if unknown or not all(prompts):
        return False
    layers = DynamicCache(config=model.config).layers
    plain = bool(layers) and all(type(layer) is DynamicLayer for layer in layers)
    if not plain or model.config._attn_implementation not in ("sdpa", "eager"):
        return False
    try:
        return _error(model, (max(map(list, prompts), key=len) * 8)[:8]) < _ROUNDING.get(
            next(model.parameters()).dtype, 0
        )
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return False  # whatever a family makes of inputs that it was not written for


def _error(model: Any, ids: list[int]) -> float:
    """How far the logits of two rows, one of which joins later, are from those of eight tokens read at once."""
    batch, found = _Batch(model, ids[:2], 2), []
    batch.resize(2, 9)
    for count, token in ((7, ids[7]), (4, 0)):
        batch.join([0], [ids[:count]], [2])
        found.append(batch.logits().float())
        batch.add(torch.full((batch.window.rows,), token, device=model.device))
    plain = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0].float()
    wanted = plain[[6, 7, 3]]
    error = (torch.cat(found) - wanted).square().mean(dim=-1) / wanted.var(dim=-1)
    return float(error.max().sqrt())


def answers(
    model: Any,
    prompts: Sequence[Sequence[int]],
    config: Any,
    writing: "Writing",
    *,
    tokens: int,
    limit: int = 0,
    seconds: float | None = None,
    stops: Callable[[list[int]], bool] | None = None,
) -> Iterator[list[tuple[int, list[int]]]]:
    """The answers as they end: (place of the prompt, tokens of the answer with its end token).

    Args:
        config: a GenerationConfig with the end tokens.
        tokens: that the cache may hold, of all rows together; a longer row is alone.
        limit: tokens of prompt and answer together at most; 0 for no such limit.
        seconds: after which an answer ends with what is there.
        stops: whether an answer ends with these tokens, beside the end tokens.
    """
    most = writing.max_new_tokens
    limits = [min(most, limit - len(prompt)) if limit else most for prompt in prompts]
    waiting = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    batch = _Batch(model, _shared(prompts), most)
    ends = torch.tensor(config.eos_token_id, device=model.device)
    while waiting or batch.places:
        while waiting and (free := batch.room(len(waiting), len(prompts[waiting[-1]]) + most, tokens)):
            count = min(free, max(1, _READ[model.device.type] // len(prompts[waiting[-1]])))
            places, waiting = waiting[: -count - 1 : -1], waiting[:-count]
            batch.join(places, [prompts[place] for place in places], [limits[place] for place in places])
        said = choose(batch.logits(), batch.answers() if writing.no_repeat_ngram else None, writing)
        ended = batch.add(said) | torch.isin(said, ends)
        if stops:
            ended |= torch.tensor([stops(row) for row in batch.rows()], device=ended.device)
        if seconds is not None:
            ended |= torch.tensor([monotonic() - start > seconds for start in batch.started], device=ended.device)
        if ended.any():
            yield batch.leave(ended.nonzero()[:, 0].tolist())


class _Batch:
    """Rows that are being written, with their cache: the first `window.rows` of every tensor.

    Attributes:
        size: rows and columns that there is room for.
        places: of the prompts of the rows; `started`: when they began to be read, in seconds of the monotonic clock.
        starts: columns where rows begin; `counts`: tokens that they have; `limits`: that they may have.
        said: the last token of the prompt, then those of the answer: (rows, 1 + longest answer).
    """

    def __init__(self, model: Any, prefix: Sequence[int], longest: int) -> None:
        self.model, self.window, self.size = model, Window(), (0, 0)
        self.prefix = read(model, [[*prefix, 0]]) if prefix else None
        self.layers = layers_of(model, self.window)
        self.cache = Cache(layers=[*self.layers])
        self.places: list[int] = []
        self.started: list[float] = []
        self.starts, self.counts, self.limits = torch.zeros(3, 0, dtype=torch.long, device=model.device)
        self.said = torch.zeros(0, 1 + longest, dtype=torch.long, device=model.device)

    def room(self, waiting: int, length: int, tokens: int) -> int:
        """How many rows may join now; 0 while too few have left to be worth a reading.

        Args:
            waiting: prompts that are not begun.
            length: of the longest of them with its answer.
            tokens: that the cache may hold.
        """
        held = self.window.rows
        if held:
            begun = self.window.end + 1 - self.starts[:held] - self.counts[:held]
            length = max(length, int((begun + self.limits[:held]).max()))
        rows = max(1, min(_ROWS, tokens // length, held + waiting))
        if 2 * rows >= 3 * self.size[0]:
            self.resize(rows, length + _SPARE)
        free = self.size[0] - held
        return min(free, waiting) if free >= self.size[0] // _REFILL or free >= waiting else 0

    def answers(self) -> Any:
        """Tokens of the answers so far, which all end at the last column, and -1 before: (rows, longest)."""
        counts = self.counts[: self.window.rows, None]
        places = counts + torch.arange(-int(counts.max()), 0, device=counts.device)
        said = self.said[: self.window.rows].gather(1, 1 + places.clamp(min=0))
        return said.masked_fill(places < 0, -1)

    def resize(self, rows: int, columns: int) -> None:
        """Make room for more rows, or for so many columns, and keep those that are there."""
        self._to_the_left()
        held, self.size = self.window.rows, (rows, columns)
        for layer in self.layers:
            layer.resize(rows, columns)
        for name in ("starts", "counts", "limits", "said"):
            old = getattr(self, name)
            new = old.new_zeros(rows, *old.shape[1:])
            new[:held] = old[:held]
            setattr(self, name, new)

    def join(self, places: Sequence[int], prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> None:
        """Read prompts but for their last tokens, which are the first that the next step reads."""
        begun, window = monotonic(), self.window
        fresh = read(self.model, prompts, self.prefix)
        if not window.rows:
            window.first = window.end = max(map(len, prompts)) - 1
        for row, prompt in enumerate(prompts):
            known = len(prompt) - 1
            for layer, other in zip(self.layers, fresh, strict=True):
                layer.put(window.rows + row, other, row, known)
            window.first = min(window.first, window.end - known)
        rows = slice(window.rows, window.rows + len(prompts))
        for tensor, values in (
            (self.starts, [window.end + 1 - len(prompt) for prompt in prompts]),
            (self.limits, limits),
            (self.said[:, 0], [prompt[-1] for prompt in prompts]),
        ):
            tensor[rows] = torch.tensor(values, device=tensor.device)
        self.counts[rows] = 0
        window.rows = rows.stop
        self.places += places
        self.started += [begun] * len(prompts)

    def logits(self) -> Any:
        """Of each row's next token: (rows, vocabulary). The token before is read with it."""
        window, device = self.window, self.model.device
        rows = torch.arange(window.rows, device=device)
        starts = self.starts[: window.rows, None]
        mask = (torch.arange(window.first, window.end + 1, device=device) >= starts)[:, None, None]
        if self.model.config._attn_implementation == "eager":  # which adds it
            mask = torch.zeros_like(mask, dtype=torch.float32).masked_fill(~mask, torch.finfo(torch.float32).min)
        found = self.model(
            input_ids=self.said[rows, self.counts[: window.rows]][:, None],
            attention_mask=mask,
            position_ids=window.end - starts,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        window.end += 1
        if window.end == self.size[1]:
            self._to_the_left()
        return found

    def add(self, tokens: Any) -> Any:
        """Put a token to each row; returns which rows have as many as they may."""
        rows = self.window.rows
        self.counts[:rows] += 1
        self.said[torch.arange(rows, device=tokens.device), self.counts[:rows]] = tokens
        return self.counts[:rows] >= self.limits[:rows]

    def rows(self) -> list[list[int]]:
        """The tokens of the answers so far."""
        counts = self.counts[: self.window.rows].tolist()
        said = self.said[: self.window.rows, 1 : 1 + max(counts)].tolist()
        return [row[:count] for row, count in zip(said, counts, strict=True)]

    def leave(self, gone: Sequence[int]) -> list[tuple[int, list[int]]]:
        """Take rows out, with their answers; the last rows move to their places."""
        said = self.rows()
        found = [(self.places[row], said[row]) for row in gone]
        window, left = self.window, self.window.rows - len(gone)
        kept, movers = list(range(left)), sorted(set(range(left, window.rows)) - set(gone))
        holes = [row for row in gone if row < left]
        if holes:
            for tensor in (self.starts, self.counts, self.limits, self.said):
                tensor[holes] = tensor[movers]
            for layer in self.layers:
                layer.move(holes, movers)
        for hole, mover in zip(holes, movers, strict=True):
            kept[hole] = mover
        self.places, self.started = [self.places[row] for row in kept], [self.started[row] for row in kept]
        window.rows = left
        window.first = int(self.starts[:left].min()) if left else window.end
        return found

    def _to_the_left(self) -> None:
        """Give the columns before the window back."""
        for layer in self.layers:
            layer.shift()
        self.starts -= self.window.first
        self.window.end -= self.window.first
        self.window.first = 0


def _shared(prompts: Sequence[Sequence[int]]) -> Sequence[int]:
    """The tokens that all prompts begin with, where they are worth reading apart; never a whole prompt."""
    first, last = min(prompts, key=list), max(prompts, key=list)
    most = min(map(len, prompts)) - 1
    count = next((place for place in range(most) if first[place] != last[place]), most)
    return first[:count] if count >= _PREFIX else []
