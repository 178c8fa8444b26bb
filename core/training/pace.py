"""How fast a run goes and how long it still takes, from its own measured steps."""

from collections import deque
from collections.abc import Callable
from statistics import median
from time import monotonic

# A row is read in about a third of the time in which it is learned from: the way back takes twice as long.
_READ = 1 / 3


class Pace:
    """Times steps, evaluations and savings.

    Args:
        steps: optimizer steps in all.
        evaluations: evaluations in all, each with the saving of what is best.
        rows_per_step: rows of one step.
        validated: rows of an evaluation.
        read_after: rows that are read once, after the last step.
        testing: seconds that those take, where that was measured; else they are read as those of an evaluation.
        opening: seconds in which a model is opened, as the best one will be once more.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        steps: int,
        evaluations: int,
        rows_per_step: int,
        *,
        validated: int = 0,
        read_after: int = 0,
        testing: float | None = None,
        opening: float = 0.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._steps, self._evaluations, self._rows_per_step = steps, evaluations, rows_per_step
        self._validated, self._read_after = validated, read_after
        self._testing, self._opening = testing, opening
        self._clock = clock
        # A step's time varies with its texts: the mean over many, and not the last one, tells.
        self._recent: deque[float] = deque(maxlen=100)
        # Of evaluations: how long rows were read, and how long it was until training went on.
        self._readings: list[float] = []
        self._pauses: list[float] = []
        self._stepping = self._saving = 0.0
        self._judged = False
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
        self._stepping += now - self._last
        self._last = now
        self._done += 1

    def evaluated(self, seconds: float) -> None:
        """Rows were read for this long; what is best is yet to be saved."""
        self._readings.append(seconds)
        self._judged = True

    def resume(self) -> None:
        """Training goes on after something else; that time is no step's."""
        now = self._clock()
        if self._judged:
            self._pauses.append(now - self._last)
        else:
            self._saving += now - self._last
        self._judged, self._last = False, now

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
        """Until the result: steps, evaluations, savings, and the final test, each as long as the ones before."""
        step = self._seconds_per_step()
        steps = max(0, self._steps - self._done) * step
        saving = steps * self._saving / self._stepping if self._stepping else 0.0
        row = _READ * step / self._rows_per_step
        if self._readings and self._validated:
            row = median(self._readings) / self._validated
        pause = median(self._pauses) if self._pauses else row * self._validated
        pauses = max(0, self._evaluations - len(self._readings)) * pause
        testing = row * self._read_after if self._testing is None else self._testing
        return steps + saving + pauses + testing + self._opening
