"""How sure a score is: rows are drawn again, or swapped between two answerers, very many times."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
RESAMPLES = 1000
# More rows than this are summed into so many bundles first: as sure, and it stays fast.
_MOST_DRAWN = 5000
_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Measured:
    """Scores of many rows that follow from sums over the rows, so that drawing rows again is cheap.

    Attributes:
        rows: what each row adds to the sums, of shape (rows, sums).
        scores: sums of shape (n, sums) -> name -> scores of shape (n,).
    """

    rows: Array
    scores: Callable[[Array], dict[str, Array]]

    def values(self) -> dict[str, float]:
        """Each score of all rows."""
        return {name: float(value[0]) for name, value in self.scores(_total(self.rows)[None]).items()}

    def intervals(self, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, list[float]]:
        """95 % intervals: the 2.5 and 97.5 percentiles over rows drawn with replacement.

        Source: the percentile bootstrap, Efron and Tibshirani, An Introduction to the Bootstrap, 1993.
        """
        bundles = _bundled(self.rows, seed)
        random = np.random.default_rng(seed)
        drawn = np.concatenate(
            [_times_drawn(random, part, len(bundles)) @ bundles for part in _parts(resamples, len(bundles))]
        )
        return {
            name: [round(float(edge), 4) for edge in np.percentile(values, [2.5, 97.5])]
            for name, values in self.scores(drawn).items()
        }


def chance(ours: Measured, theirs: Measured, name: str, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Two-sided probability that two answerers as good as one another differ by this much on the same rows.

    Their answers to each row are swapped at random. With few rows, where the paired bootstrap calls one difference in
    ten real that is not, this keeps to one in twenty.

    Source: approximate randomization, Noreen 1989; Riezler and Maxwell, "On some pitfalls in automatic evaluation and
    significance testing for MT", 2005.
    """
    first, second = _bundled(ours.rows, seed), _bundled(theirs.rows, seed)
    random = np.random.default_rng(seed)
    apart = first - second
    moved = np.concatenate(
        [
            random.integers(0, 2, (part, len(apart))).astype(float) @ apart  # the rows of the first that change sides
            for part in _parts(resamples, len(apart))
        ]
    )
    differences = ours.scores(first.sum(axis=0) - moved)[name] - theirs.scores(second.sum(axis=0) + moved)[name]
    found = abs(ours.values()[name] - theirs.values()[name])
    # Sums in another order differ by a rounding error.
    as_large = int((np.abs(differences) >= found - 1e-9 * max(1.0, found)).sum())
    return (as_large + 1) / (resamples + 1)


def _total(rows: Array) -> Array:
    return np.asarray(rows.sum(axis=0, dtype=float))


def _bundled(rows: Array, seed: int) -> Array:
    """Rows summed into at most `_MOST_DRAWN` bundles of equal size, the same ones for the same seed."""
    if len(rows) <= _MOST_DRAWN:
        return rows.astype(float)
    order = np.random.default_rng(seed).permutation(len(rows))
    starts = np.linspace(0, len(rows), _MOST_DRAWN, endpoint=False).astype(int)
    return np.asarray(np.add.reduceat(rows[order], starts, axis=0, dtype=float))


def _times_drawn(random: np.random.Generator, resamples: int, rows: int) -> Array:
    """How often each row is drawn, of shape (resamples, rows)."""
    places = random.integers(0, rows, (resamples, rows)) + np.arange(resamples)[:, None] * rows
    return np.bincount(places.ravel(), minlength=resamples * rows).reshape(resamples, rows).astype(float)


def _parts(resamples: int, rows: int) -> Iterator[int]:
    """So many resamples in parts that fit into memory."""
    most = max(1, _CELLS_AT_ONCE // max(1, rows))
    while resamples > 0:
        yield min(most, resamples)
        resamples -= most
