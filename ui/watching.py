"""Following runs: events are read once from the file and kept, so that a poll costs only what is new."""

from collections import OrderedDict
from threading import Lock

from core.runs.progress import Progress, fold
from core.runs.store import RunStore

_MOST_RUNS = 32


class Watch:
    """What the runs have said so far, for all windows that look at them."""

    def __init__(self, runs: RunStore) -> None:
        self._runs = runs
        self._seen: OrderedDict[str, tuple[int, Progress]] = OrderedDict()
        self._lock = Lock()

    def progress(self, run_id: str) -> Progress:
        """The run from its first event to now.

        Raises:
            UserError: `run_unknown`.
        """
        with self._lock:
            offset, progress = self._seen.pop(run_id, (0, Progress()))
            fresh, offset = self._runs.read_events(run_id, offset)
            progress = fold(fresh, progress)
            self._seen[run_id] = (offset, progress)
            while len(self._seen) > _MOST_RUNS:
                self._seen.popitem(last=False)
        return progress
