"""Drawing lots so that every part of a table has its share of every label."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# How far the rounding of one class may lean so that the whole parts come out right; below a half, so that a class's own
# need decides wherever it is larger than what rounding can make of it.
_LEAN = 0.45
_NO_LABEL = ""


@dataclass(frozen=True)
class _Contents:
    """What each group holds: its rows, and pairs of a label's number and how many of its rows have that label."""

    sizes: list[int]
    labels: list[list[tuple[int, int]]]
    names: list[str]


def stratify(
    group: "np.ndarray", labels: Sequence[tuple[str, ...]], shares: tuple[float, ...], seed: int, *, keep_rare: bool
) -> "np.ndarray":
    """Draw the part of each row.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, On the Stratification of Multi-Label Data, ECML PKDD
    2011): the rarest label first, each group of rows to the part that needs it most. Two things are added: large groups
    go first, and rounding leans towards the parts that are behind, of all rows and of the other labels of a group.

    Args:
        group: number of the group of each row, from 0 without gaps.
        labels: of each row: one, several, or none.
        shares: wanted share of each part, training first; they sum to 1.
        seed: decides which groups go where.
        keep_rare: whether a label with fewer groups than parts goes to training whatever else its groups hold.

    Returns:
        int8 of shape (rows,).
    """
    import numpy as np

    if len(group) == 0:
        return np.zeros(0, dtype=np.int8)
    found = _contents(group, labels)
    order = np.random.default_rng(seed).permutation(len(found.sizes))
    drawn = _Draw(found, shares, order.tolist(), keep_rare=keep_rare)
    drawn.draw()
    part: np.ndarray = np.array(drawn.part, dtype=np.int8)[group]
    return part


def _contents(group: "np.ndarray", labels: Sequence[tuple[str, ...]]) -> _Contents:
    """Rows without a label count as rows of one more label, so that they are divided evenly too."""
    import numpy as np

    names = [*sorted({name for row in labels for name in row}), _NO_LABEL]
    number = {name: place for place, name in enumerate(names)}
    numbers = [[number[name] for name in set(row)] or [len(names) - 1] for row in labels]
    flat = np.array([label for row in numbers for label in row], dtype=np.int64)
    owner = np.repeat(group, [len(row) for row in numbers])
    pairs, counts = np.unique(owner * len(names) + flat, return_counts=True)
    held: list[list[tuple[int, int]]] = [[] for _ in range(int(group.max()) + 1)]
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        held[pair // len(names)].append((pair % len(names), count))
    return _Contents(np.bincount(group).tolist(), held, names)


class _Draw:
    """One drawing of lots.

    Args:
        found: the groups.
        shares: wanted share of each part, training first.
        order: the groups, shuffled.
        keep_rare: see `stratify`.
    """

    def __init__(self, found: _Contents, shares: tuple[float, ...], order: list[int], *, keep_rare: bool) -> None:
        self.part = [-1] * len(found.sizes)
        self._found = found
        self._shares = shares
        self._parts = range(len(shares))
        kinds = len(found.names)
        self._members: list[list[int]] = [[] for _ in range(kinds)]
        rows = [0] * kinds
        for group in sorted(order, key=lambda group: -found.sizes[group]):
            for label, count in found.labels[group]:
                self._members[label].append(group)
                rows[label] += count
        self._rare = [len(members) < len(shares) for members in self._members]
        self._keep_rare = keep_rare
        self._left = [len(members) for members in self._members]
        self._wanted = [self._quota(label, count) for label, count in enumerate(rows)]
        self._given = [0] * kinds
        self._got = [[0] * len(shares) for _ in range(kinds)]
        self._groups = [[0] * len(shares) for _ in range(kinds)]
        self._taken = [0] * len(shares)
        self._done = 0

    def _quota(self, label: int, rows: int) -> list[float]:
        """Rows of a label for each part; at least one in each."""
        if self._rare[label]:
            return [float(rows)] + [0.0] * (len(self._shares) - 1)
        held = [max(1.0, share * rows) for share in self._shares[1:]]
        return [rows - sum(held), *held]

    def draw(self) -> None:
        """Give every group a part."""
        waiting = [label for label, left in enumerate(self._left) if left]
        while waiting:
            label = min(waiting, key=lambda label: (self._left[label], label))
            for group in self._members[label]:
                if self.part[group] < 0:
                    self._put(group, self._best(group, label))
            waiting = [label for label in waiting if self._left[label]]
        self._mend_labels()
        self._mend_parts()

    def _put(self, group: int, part: int) -> None:
        self.part[group] = part
        size = self._found.sizes[group]
        self._taken[part] += size
        self._done += size
        for label, count in self._found.labels[group]:
            self._given[label] += count
            self._got[label][part] += count
            self._groups[label][part] += 1
            self._left[label] -= 1

    def _best(self, group: int, label: int) -> int:
        held, most = self._found.labels[group], _LEAN * self._found.sizes[group]
        if self._stays(group):
            return 0
        wanted, got = self._wanted[label], self._got[label]
        best, best_score = -1, 0.0
        for part in self._parts:
            behind = self._behind(part, held, label)
            score = wanted[part] - got[part] + min(most, max(-most, behind))
            if best < 0 or score > best_score:
                best, best_score = part, score
        return best

    def _behind(self, part: int, held: list[tuple[int, int]], label: int) -> float:
        """Rows that a part should have by now and has not: of all rows, and of the other labels of a group."""
        share = self._shares[part]
        behind = share * self._done - self._taken[part]
        for each, count in held:
            if each != label:
                behind += count * (share * self._given[each] - self._got[each][part])
        return behind

    def _mend_labels(self) -> None:
        """Bring a label into a part that lacks it, where a group can be spared elsewhere."""
        for label, groups in enumerate(self._groups):
            for part in self._parts:
                if groups[part] or self._rare[label]:
                    continue
                spare = [group for group in self._members[label] if self._can_leave(group)]
                if spare:
                    self._move(min(spare, key=lambda group: self._found.sizes[group]), part)

    def _stays(self, group: int) -> bool:
        """Whether a group is for training whatever else it holds."""
        return self._keep_rare and any(self._rare[label] for label, _ in self._found.labels[group])

    def _can_leave(self, group: int) -> bool:
        part = self.part[group]
        return not self._stays(group) and all(self._groups[label][part] > 1 for label, _ in self._found.labels[group])

    def _mend_parts(self) -> None:
        """No part stays empty while another one has two groups."""
        for part in self._parts:
            if self._taken[part]:
                continue
            counts = [self.part.count(each) for each in self._parts]
            spare = [group for group, where in enumerate(self.part) if counts[where] > 1]
            if spare:
                self._move(min(spare, key=lambda group: self._found.sizes[group]), part)

    def _move(self, group: int, part: int) -> None:
        before = self.part[group]
        for label, count in self._found.labels[group]:
            for where, sign in ((before, -1), (part, 1)):
                self._got[label][where] += sign * count
                self._groups[label][where] += sign
        self._taken[before] -= self._found.sizes[group]
        self._taken[part] += self._found.sizes[group]
        self.part[group] = part
