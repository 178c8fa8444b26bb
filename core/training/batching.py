"""Which rows are learned from together, and in which pieces a batch of them is computed.

Batches are drawn at random, whatever the lengths of their texts. Batches of texts of equal length would need no
padding, but such texts are alike in other ways, too, and a model that sees few batches learns less from them
(docs/speed.md). So a batch is cut into pieces of about equal length, and its weights change after the last of them.
"""

from collections.abc import Iterator, Sequence

from core.models.sizing import PIECE_TOKENS

# What a piece takes beside its tokens, in tokens: of MiniLM on two cores about 25 ms, as much as so many of them. On a
# processor it is not measured anew, so that equal runs are computed alike; elsewhere it is, where memory suffices.
_FIXED = {"cpu": 96, "mps": 1024, "cuda": 8192}
# Tokens of a piece, with its padding. On a processor, more at once are hardly faster, and need more memory.
_MOST = {"cpu": PIECE_TOKENS}


class Batches:
    """The batches of an epoch, as a data loader asks for them: they follow from seed and epoch alone.

    The order is random, but the batch with the longest text comes first: where it does not fit into the memory, that
    shows at once.

    Args:
        lengths: tokens of each row.
        together: rows of a batch, at most.
        seed: of the run.
        kind: of the device, as `core.device.Device.kind`.
        parts: a piece has so many times fewer tokens than a usual batch, or than it may have, where memory ran out.
        beside: what a piece takes beside its tokens, in tokens, where that was measured; 0 for what is usual.
        padded: whether all rows of a piece take as many tokens as its longest.
        shared: where they don't, tokens with which all rows begin, which a piece takes once.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        together: int,
        seed: int,
        kind: str,
        parts: int = 1,
        beside: int = 0,
        *,
        padded: bool = True,
        shared: int = 0,
    ) -> None:
        self._lengths, self._seed, self.epoch = lengths, seed, 0
        self._padded, self._shared = padded, shared
        self._count = -(-len(lengths) // together)
        self._fixed, self._most = beside or _FIXED[kind], _MOST.get(kind, together * max(lengths))
        if parts > 1:
            usual = sum(lengths) / self._count
            self._most = max(1, int(min(self._most, usual) / parts))

    def set_epoch(self, epoch: int) -> None:
        """Which pass over the rows comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self._count

    def __iter__(self) -> Iterator[list[int]]:
        """Places of the rows of each batch; every row comes once."""
        import torch

        chance, rows = torch.Generator().manual_seed(self._seed * 1_000 + self.epoch), len(self._lengths)
        order = torch.randperm(rows, generator=chance).tolist()
        found = [order[rows * n // self._count : rows * (n + 1) // self._count] for n in range(self._count)]
        longest = max(range(len(found)), key=lambda number: max(self._lengths[row] for row in found[number]))
        yield from (found[longest], *found[:longest], *found[longest + 1 :])

    def pieces(self, batch: Sequence[int]) -> list[list[int]]:
        """The rows of a batch as pieces, the longest texts first."""
        order = sorted(batch, key=self._lengths.__getitem__)
        ends = self._ends(order)
        return [order[begin:end] for begin, end in zip([0, *ends], ends, strict=False)][::-1]

    def cost(self, batch: Sequence[int]) -> int:
        """What a batch takes, in tokens: those of its pieces with their padding, and what a piece takes beside them."""
        lengths = [[self._lengths[row] for row in piece] for piece in self.pieces(batch)]
        return sum(self._fixed + self._tokens(piece) for piece in lengths)

    def _tokens(self, lengths: list[int]) -> int:
        """Of a piece, the longest row last."""
        if self._padded:
            return len(lengths) * lengths[-1]
        return sum(lengths) - (len(lengths) - 1) * self._shared

    def _ends(self, order: list[int]) -> list[int]:
        """Where to cut rows that are sorted by length, such that all pieces together cost the least."""
        least, begins = [0], [0]
        lengths = [max(1, self._lengths[row]) for row in order]
        for end in range(1, len(order) + 1):
            found: list[tuple[int, int]] = []
            tokens = 0 if self._padded else self._shared
            for begin in range(end - 1, -1, -1):
                tokens += lengths[end - 1] if self._padded else lengths[begin] - self._shared
                # A piece that ends here has no more tokens than it may have.
                if found and tokens > self._most:
                    break
                found.append((least[begin] + self._fixed + tokens, begin))
            cost, begin = min(found)
            least.append(cost)
            begins.append(begin)
        ends = [len(order)]
        while begins[ends[0]]:
            ends.insert(0, begins[ends[0]])
        return ends
