"""Which rows are read together: texts of about equal length, about equally many tokens in every batch."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

# So many batches are sorted by length together: more would leave less to chance, fewer would pad more.
_WINDOW = 50
# A short text counts as so much of the average one at least, so that no batch has many more rows than others.
_LEAST_SHARE = 0.25


class Batches:
    """The batches of an epoch, as a data loader asks for them: they follow from seed and epoch alone.

    Each has about the same number of tokens, so that none takes much longer or needs much more memory than another;
    `together` rows are in one on average. The order is random, but the one with the longest text comes first: where
    it does not fit into the memory, that shows at once.

    Args:
        lengths: tokens of each row.
        together: rows of a batch, on average.
        seed: of the run.
        parts: each batch is given in so many pieces, one after another, of which each has a row at least.
    """

    def __init__(self, lengths: Sequence[int], together: int, seed: int, parts: int = 1) -> None:
        self._lengths, self._seed, self.epoch = lengths, seed, 0
        self._parts = max(1, min(parts, len(lengths)))
        self._count = max(1, min(-(-len(lengths) // together), len(lengths) // self._parts))
        self._window = _WINDOW * together

    def set_epoch(self, epoch: int) -> None:
        """Which pass over the rows comes next."""
        self.epoch = epoch

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return self._count

    def __len__(self) -> int:
        """Pieces of an epoch."""
        return self._count * self._parts

    def __iter__(self) -> Iterator[list[int]]:
        """Places of the rows of each piece; every row comes once."""
        import torch

        chance = torch.Generator().manual_seed(self._seed * 1_000 + self.epoch)
        order = torch.randperm(len(self._lengths), generator=chance).tolist()
        found = self._cut(self._sorted(order))
        longest = max(range(len(found)), key=lambda number: max(self._lengths[row] for row in found[number]))
        following = [n for n in torch.randperm(len(found), generator=chance).tolist() if n != longest]
        for number in (longest, *following):
            yield from _pieces(found[number], self._parts)

    def _sorted(self, order: list[int]) -> list[int]:
        """Rows by length within each window, up and down in turn, so that neighbours are alike across windows too."""
        found: list[int] = []
        for number, start in enumerate(range(0, len(order), self._window)):
            window = order[start : start + self._window]
            found += sorted(window, key=self._lengths.__getitem__, reverse=number % 2 == 0)
        return found

    def _cut(self, rows: list[int]) -> list[list[int]]:
        """As many batches as there are to be, of neighbours, with about the same number of tokens in each."""
        least = _LEAST_SHARE * sum(self._lengths) / len(self._lengths)
        until = list(accumulate(max(least, self._lengths[row]) for row in rows))
        cuts = [0]
        for number in range(1, self._count):
            place = bisect_left(until, until[-1] * number / self._count)
            # A row at least for each piece, here and in the batches that follow.
            most = len(rows) - (self._count - number) * self._parts
            cuts.append(min(max(place, cuts[-1] + self._parts), most))
        return [rows[begin:end] for begin, end in zip(cuts, [*cuts[1:], len(rows)], strict=True)]


def _pieces(rows: list[int], parts: int) -> Iterator[list[int]]:
    for part in range(parts):
        yield rows[part * len(rows) // parts : (part + 1) * len(rows) // parts]
