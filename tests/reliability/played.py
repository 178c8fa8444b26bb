"""A worker that is played: `python -m tests.reliability.played RUN ATTEMPT`. It does what the run's name asks for.

It holds the lock, changes states and writes events as the real one, and starts in a blink.
"""

import os
import signal
import sys
import time

from core import events, settings
from core.runs.store import ACTIVE, EventWriter, RunStore


def main() -> None:
    """Work as the run's name says: `die`, `die after saving`, `finish`, `last` until it is asked to stop."""
    place = settings.from_environment()
    runs = RunStore(place.home)
    run_id, attempt = sys.argv[1], int(sys.argv[2])
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    with runs.hold(run_id):
        record = runs.get(run_id)
        if record.state != "STOPPING":
            record = runs.transition(run_id, ("STARTING",), "RUNNING", attempt)
        EventWriter(runs.folder(run_id), attempt).write(events.Started(device={}))
        if record.name.startswith("die"):
            if "saving" in record.name:
                (runs.folder(run_id) / "checkpoints" / f"step-{attempt}").mkdir(parents=True)
            os.kill(os.getpid(), signal.SIGKILL)
        while record.name == "last" and not ended and not runs.stop_requested(run_id):
            time.sleep(0.02)
        if ended:
            runs.transition(run_id, ACTIVE, "INTERRUPTED", attempt)
            sys.exit(3)
        stopped = runs.stop_requested(run_id)
        runs.transition(run_id, ("RUNNING", "STOPPING"), "STOPPED" if stopped else "FINISHED", attempt)


if __name__ == "__main__":
    main()
