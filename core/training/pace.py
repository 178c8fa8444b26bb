"""How fast a run goes and how long it still takes, from its own measured steps."""

from collections import deque
from collections.abc import Callable
from statistics import median
from time import monotonic


class Pace:
    """Times steps and evaluations.

    Args:
        steps: optimizer steps in all.
        evaluations: evaluations in all.
        rows_per_step: rows of one step.
        test_share: test rows as a multiple of the validation rows.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        steps: int,
        evaluations: int,
        rows_per_step: int,
        test_share: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._steps, self._evaluations = steps, evaluations
        self._rows_per_step, self._test_share = rows_per_step, test_share
        self._clock = clock
        # Rows come grouped by length, so a step's time varies: the mean over many, and not the last one, tells.
        self._recent: deque[float] = deque(maxlen=100)
        self._evaluation_times: list[float] = []
        self._done = self._before = 0
        self._last = self._reported = clock()

    def start(self, done: int = 0) -> None:
        """Training begins now, or goes on after so many steps of an earlier attempt."""
        self._done, self._before = done, done
        self._last = self._reported = self._clock()

    def step(self) -> None:
        """A step is done."""
        now = self._clock()
        self._recent.append(now - self._last)
        self._last = now
        self._done += 1

    def evaluated(self, seconds: float) -> None:
        """An evaluation took this long."""
        self._evaluation_times.append(seconds)

    def resume(self) -> None:
        """Training goes on after something else; that time is no step's."""
        self._last = self._clock()

    def due(self, every: float = 0.5) -> bool:
        """Whether the last report is this many seconds old; then the next one counts from now."""
        if self._done - self._before > 1 and self._clock() - self._reported < every:
            return False
        self._reported = self._clock()
        return True

    def _seconds_per_step(self) -> float:
        times = list(self._recent)
        settled = (
            times[1:] if self._done - self._before <= len(times) and len(times) > 2 else times
        )  # the first step sets things up
        return sum(settled) / len(settled) if settled else 0.0

    def rows_per_second(self) -> float:
        """Training rows per second."""
        seconds = self._seconds_per_step()
        return self._rows_per_step / seconds if seconds else 0.0

    def seconds_left(self) -> float:
        """Until the result: steps, evaluations and the final test, each as long as the ones before."""
        if self._evaluation_times:
            evaluation = median(self._evaluation_times)
        else:
            evaluation = self._seconds_per_step() * self._steps / max(1, self._evaluations) / 10
        left = max(0, self._evaluations - len(self._evaluation_times))
        return max(0, self._steps - self._done) * self._seconds_per_step() + evaluation * (left + self._test_share)
