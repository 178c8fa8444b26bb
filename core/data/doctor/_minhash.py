"""Texts that are nearly the same, found without comparing each with each.

Broder 1997, "On the resemblance and containment of documents": two texts resemble each other as much as the sets of
their character 5-grams overlap (Jaccard), and the share of equal minima under random orders of all 5-grams estimates
that. Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3: texts that agree on a whole band of minima
are worth a comparison. What is reported was compared exactly.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Words = NDArray[np.uint32]

SIMILARITY = 0.85
SHINGLE = 5
# Two texts of similarity s agree on at least one band with probability 1 - (1 - s^5)^12: 99.9 % at 0.85, 2.9 % at 0.3.
BANDS = 12
_BAND_ROWS = 5
_SEED = 20_110_907
# Below this estimate the exact comparison is spared; an estimate from 60 minima is off by 0.046 (one sigma) at 0.85.
_ESTIMATE = 0.7
# Of a bucket of many texts that are not the same, only so many are held against all others.
_ROUNDS = 12
_PASSES = 3
# Characters hashed in one piece: small enough for a processor's cache.
_PIECE = 2**17
_COMPARED_AT_ONCE = 2**17
_CHARACTERS_IN_ALL = 60_000_000
_CHARACTERS_AT_LEAST = 400
_COMPARED_EXACTLY = 20_000
# Exact comparisons that are spent in all: so many, and so many for each text.
_COMPARISONS = 200_000
_COMPARISONS_EACH = 6


@dataclass
class Near:
    """Which texts nearly repeat an earlier one.

    Attributes:
        repeats: for each text the position of the earlier text that it nearly repeats, -1 where there is none. What is
            repeated does not itself repeat something, so that one text of each kind is left.
        other: position of an earlier text that is near but of another group, -1 where there is none.
    """

    repeats: "Ints"
    other: "Ints"


def near_repeats(
    texts: Sequence[str], groups: Sequence[int] | None = None, references: int = 0, similarity: float = SIMILARITY
) -> Near:
    """Find for each text an earlier one that it nearly repeats.

    Args:
        texts: normalised, all different, each of at least 5 characters.
        groups: only texts of the same group repeat each other; None for one group.
        references: if not 0, so many texts at the beginning are what the others are held against, and nothing else is.
        similarity: least Jaccard similarity of the sets of character 5-grams.
    """
    import numpy as np

    near = Near(np.full(len(texts), -1, dtype=np.int64), np.full(len(texts), -1, dtype=np.int64))
    if len(texts) < 2:
        return near
    group = np.zeros(len(texts), dtype=np.int64) if groups is None else np.asarray(groups, dtype=np.int64)
    left = max(_COMPARISONS, _COMPARISONS_EACH * len(texts))
    nothing = np.array([np.iinfo(np.int64).max])  # an end, so that a search for any pair comes to something
    search = _Search(texts, group, references, similarity, near, signatures(texts), nothing, left)
    for _ in range(_PASSES):
        if not search.walk():
            break
    if groups is not None:
        search.walk(across=True)
    return near


def signatures(texts: Sequence[str]) -> "Words":
    """The minima of each text's hashed 5-grams under 60 random orders, shape (texts, 60)."""
    import numpy as np

    rng = np.random.default_rng(_SEED)
    orders = BANDS * _BAND_ROWS
    factors = rng.integers(0, 2**32, orders, dtype=np.uint32) | np.uint32(1)
    offsets = rng.integers(0, 2**32, orders, dtype=np.uint32)
    most = max(_CHARACTERS_AT_LEAST, _CHARACTERS_IN_ALL // max(1, len(texts)))
    signed = np.empty((len(texts), orders), dtype=np.uint32)
    for begin, end in _pieces(texts, most):
        hashes, starts = _shingles([text[:most] for text in texts[begin:end]])
        for i in range(orders):
            signed[begin:end, i] = np.minimum.reduceat(hashes * factors[i] + offsets[i], starts)
    return signed


def _pieces(texts: Sequence[str], most: int) -> Iterator[tuple[int, int]]:
    begin = size = 0
    for i, text in enumerate(texts):
        size += min(len(text), most)
        if size >= _PIECE:
            yield begin, i + 1
            begin, size = i + 1, 0
    if begin < len(texts):
        yield begin, len(texts)


def _shingles(texts: Sequence[str]) -> tuple["Words", "Ints"]:
    """Hashes of the 5-grams of all texts one after the other, and where those of each text begin."""
    import numpy as np

    joined = "".join(texts).encode("utf-32-le", "surrogatepass")
    points = np.frombuffer(joined, dtype=np.uint32).astype(np.uint64)
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    mixed = np.zeros(len(points) - SHINGLE + 1, dtype=np.uint64)
    for i in range(SHINGLE):
        # A polynomial of the code points modulo 2^64, times a number of no meaning (Knuth's from 2^64 / golden ratio).
        mixed *= np.uint64(0x9E3779B97F4A7C15)
        mixed += points[i : len(points) - SHINGLE + 1 + i] + np.uint64(1)
    # The finish of MurmurHash3: without it, neighbours in the alphabet stay neighbours.
    mixed ^= mixed >> np.uint64(33)
    mixed *= np.uint64(0xFF51AFD7ED558CCD)
    mixed ^= mixed >> np.uint64(33)
    ends = np.cumsum(lengths)
    inside = np.ones(len(points), dtype=bool)
    for back in range(1, SHINGLE):
        inside[ends - back] = False
    counts = lengths - (SHINGLE - 1)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    return mixed[inside[: len(mixed)]].astype(np.uint32), starts


@dataclass
class _Search:
    """One search: what is known so far, which pairs were refused, and how many exact comparisons are left."""

    texts: Sequence[str]
    group: "Ints"
    references: int
    similarity: float
    near: Near
    signed: "Words"
    refused: "Ints"
    left: int

    def walk(self, across: bool = False) -> bool:
        """Go through all bands once; whether anything was found. `across`: at pairs of different groups instead."""
        import numpy as np

        before = self.near.repeats.copy()
        for band in range(BANDS):
            part = self.signed[:, band * _BAND_ROWS : (band + 1) * _BAND_ROWS].astype(np.uint64)
            weights = np.random.default_rng(_SEED + band).integers(0, 2**64, _BAND_ROWS + 1, dtype=np.uint64)
            keys = (part * (weights[1:] | np.uint64(1))).sum(axis=1, dtype=np.uint64)
            self._buckets(keys if across else keys + self.group.astype(np.uint64) * weights[0], across)
        self._settle()
        return not np.array_equal(before, self.near.repeats)

    def _buckets(self, keys: "NDArray[np.uint64]", across: bool) -> None:
        """Hold the first text of each bucket against the others, then the first of those that are left, and so on."""
        import numpy as np

        rows = np.flatnonzero(self.near.repeats < 0)
        rows = rows[np.argsort(keys[rows], kind="stable")]
        keys = keys[rows]
        for _ in range(_ROUNDS):
            fresh = np.ones(len(keys), dtype=bool)
            fresh[1:] = keys[1:] != keys[:-1]
            leaders = rows[np.flatnonzero(fresh)[np.cumsum(fresh) - 1]]
            pairs = ~fresh
            if self.references:
                pairs &= (leaders < self.references) & (rows >= self.references)
            if across:
                pairs &= (self.group[leaders] != self.group[rows]) & (self.near.other[rows] < 0)
            if not pairs.any():
                return
            claimed = np.zeros(len(rows), dtype=bool)
            claimed[pairs] = self._compare(
                leaders[pairs], rows[pairs], self.near.other if across else self.near.repeats
            )
            stays = ~fresh & ~claimed
            rows, keys = rows[stays], keys[stays]

    def _compare(self, leaders: "Ints", rows: "Ints", found: "Ints") -> "NDArray[np.bool_]":
        """Which rows are near to their leader; they are noted in `found`, the others as refused."""
        import numpy as np

        close = self._estimated(leaders, rows)
        chosen = np.flatnonzero(close)
        pair = leaders[chosen] * len(self.texts) + rows[chosen]
        fresh = self.refused[np.searchsorted(self.refused, pair)] != pair
        chosen, pair = chosen[fresh][: self.left], pair[fresh][: self.left]
        self.left -= len(chosen)
        exact = similarities(self.texts, leaders[chosen], rows[chosen]) >= self.similarity
        # Both parts are in order, and a stable sort (a merge sort) joins such parts in one go.
        self.refused = np.sort(np.concatenate([np.sort(pair[~exact]), self.refused]), kind="stable")
        claimed = chosen[exact]
        found[rows[claimed]] = leaders[claimed]
        close[:] = False
        close[claimed] = True
        return close

    def _estimated(self, leaders: "Ints", rows: "Ints") -> "NDArray[np.bool_]":
        import numpy as np

        close = np.empty(len(rows), dtype=bool)
        for begin in range(0, len(rows), _COMPARED_AT_ONCE):
            piece = slice(begin, begin + _COMPARED_AT_ONCE)
            close[piece] = (self.signed[leaders[piece]] == self.signed[rows[piece]]).mean(axis=1) >= _ESTIMATE
        return close

    def _settle(self) -> None:
        """Rows whose leader turned out to repeat another text: they repeat that one, or nothing that is known yet."""
        import numpy as np

        repeats = self.near.repeats
        lost = np.flatnonzero((repeats >= 0) & (repeats[repeats] >= 0))
        first = repeats[lost]
        while (repeats[first] >= 0).any():
            first = np.where(repeats[first] >= 0, repeats[first], first)
        exact = similarities(self.texts, first, lost) >= self.similarity
        repeats[lost] = np.where(exact, first, -1)


def similarities(texts: Sequence[str], left: "Ints", right: "Ints") -> "NDArray[np.float64]":
    """Exact Jaccard similarity of the sets of 5-grams of pairs of texts, given by position."""
    import numpy as np

    result = np.empty(len(left), dtype=np.float64)
    pairs = [(texts[i][:_COMPARED_EXACTLY], texts[j][:_COMPARED_EXACTLY]) for i, j in zip(left, right, strict=True)]
    for begin, end in _pieces([a + b for a, b in pairs], 2 * _COMPARED_EXACTLY):
        sides = []
        for side in (0, 1):
            hashes, starts = _shingles([pair[side] for pair in pairs[begin:end]])
            owner = np.repeat(np.arange(end - begin, dtype=np.uint64), np.diff([*starts, len(hashes)]))
            sides.append((owner << np.uint64(33)) | (hashes.astype(np.uint64) << np.uint64(1)) | np.uint64(side))
        grams = np.sort(np.concatenate(sides))
        grams = grams[np.concatenate([[True], grams[1:] != grams[:-1]])]
        shared = grams[1:][grams[1:] >> np.uint64(1) == grams[:-1] >> np.uint64(1)]
        both, all_of = (
            np.bincount((which >> np.uint64(33)).astype(np.int64), minlength=end - begin) for which in (shared, grams)
        )
        result[begin:end] = both / np.maximum(1, all_of - both)
    return result
