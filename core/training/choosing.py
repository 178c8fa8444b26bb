"""Which state of a model is kept while it is trained: the latest that is as good as any before, but for chance.

Few validation rows say little: with a hundred, the score of the same model moves by several points from one choice of
rows to another. Taking the highest score then mostly takes a lucky moment, and an earlier one than it should: while the
rate falls to the end, models mostly go on becoming better (docs/speed.md has what was measured).
"""

import math
from typing import Any, Literal


class Choice:
    """Told of each judging of a run in turn, it says whether that state is kept instead of the one before.

    Args:
        by: `metric`: a score between 0 and 1 is kept where it is not below the highest by more than a standard error;
            `loss`: the lowest is kept.
        rows: that the score was measured on.

    Attributes:
        best: the highest score so far, or the lowest loss with its sign turned.
        least: what the model had when the run began, where it was judged then: a result that is taught further does
            not become worse on these rows.
    """

    def __init__(self, by: Literal["metric", "loss"], rows: int) -> None:
        self._by, self._rows = by, rows
        self.best = -math.inf
        self.least: float | None = None

    def facts(self) -> dict[str, float | None]:
        """What `go_on` takes, JSON-ready."""
        return {"order": self.best, "least": self.least}

    def go_on(self, facts: dict[str, Any]) -> None:
        """Go on where an earlier attempt kept a state with these facts."""
        self.best, self.least = facts["order"], facts.get("least")

    def keeps(self, value: float, loss: float, *, untrained: bool = False) -> bool:
        """Whether a state with this score and this loss is kept. What is no number is not.

        Args:
            untrained: whether it is that with which the run began.
        """
        order, before = value if self._by == "metric" else -loss, self.best
        if order > before:
            self.best = order
            self.least = order if untrained else self.least
            return True
        enough = self.least is None or order >= self.least
        return self._by == "metric" and enough and math.isfinite(before) and order >= before - self._chance(before)

    def _chance(self, score: float) -> float:
        """The standard error of a score, as if it were a share of the rows.

        Four rows are added, two right and two wrong: all rows right does not mean that nothing was chance. (The lower
        edge of `core.evaluation.metrics.wilson` would leave a state aside for one wrong row after none.) Source:
        Agresti and Coull, 1998; the rule of one standard error is from Breiman and others, Classification and
        Regression Trees, 1984.
        """
        share = (score * self._rows + 2) / (self._rows + 4)
        return math.sqrt(share * (1 - share) / self._rows)
