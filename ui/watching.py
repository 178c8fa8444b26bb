"""Following runs: events are read once from the file and kept, so that a poll costs only what is new."""

import time
from collections import OrderedDict
from threading import Lock

from core.runs.progress import Progress, fold
from core.runs.store import RunRecord, RunStore

_MOST_RUNS = 64
_SECONDS_KEPT = 1.0


class Watch:
    """What the runs have said so far, for all windows that look at them."""

    def __init__(self, runs: RunStore) -> None:
        self._runs = runs
        self._seen: OrderedDict[str, tuple[int, Progress]] = OrderedDict()
        self._lock = Lock()
        self._records: tuple[float, list[RunRecord]] | None = None

    def records(self) -> list[RunRecord]:
        """All runs of the place as they were within the last second: for windows that look again and again."""
        kept, now = self._records, time.monotonic()
        if kept is None or now - kept[0] > _SECONDS_KEPT:
            kept = self._records = now, self._runs.list()
        return kept[1]

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
