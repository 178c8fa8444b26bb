"""The process of one run: `python -m core.runs.worker RUN ATTEMPT`. The only place where everything is caught."""

import signal
import sys
import traceback
import warnings
from pathlib import Path
from types import FrameType

from filelock import Timeout

from core import events, logs, settings
from core.errors import Fact, UserError
from core.libraries import import_libraries
from core.processes import end_with
from core.quiet import quiet_libraries
from core.runs.store import ACTIVE, EventWriter, RunStore, StaleTransitionError, State

DONE, FAILED, INTERRUPTED, NOT_MINE = 0, 1, 3, 4


class Worker:
    """Takes a STARTING run to its end.

    Args:
        runs: where the run lies.
        run_id: which.
        attempt: which start of it; an older one does nothing.
    """

    def __init__(self, place: settings.Settings, runs: RunStore, run_id: str, attempt: int) -> None:
        self._place, self._runs, self._id, self._attempt = place, runs, run_id, attempt
        self._folder = runs.folder(run_id)
        self._interrupted = False

    def work(self) -> int:
        """Run to the end and return the exit status."""
        signal.signal(signal.SIGTERM, self._on_signal)
        try:
            with self._runs.hold(self._id):
                return self._run()
        except (Timeout, StaleTransitionError):
            return NOT_MINE

    def _run(self) -> int:
        import_libraries()
        quiet_libraries()
        from core.training.loop import InterruptedRunError, Signals
        from core.training.run import train, works_in_parts

        record = self._runs.get(self._id)
        if record.state != "STOPPING":
            record = self._runs.transition(self._id, ("STARTING",), "RUNNING", self._attempt)
            if self._runs.stop_requested(self._id):  # of an attempt that ended before it could
                record = self._runs.transition(self._id, ("RUNNING",), "STOPPING", self._attempt)
        writer = EventWriter(self._folder, self._attempt)
        signals = Signals(stop=lambda: self._runs.stop_requested(self._id), interrupted=lambda: self._interrupted)
        try:
            spec = self._runs.spec(self._id)
            parts = fitting_parts(spec.batch_size, record.parts)
            result = train(spec, record.owner, self._folder, self._place, self._runs, writer.write, signals, parts)
        except InterruptedRunError:
            self._runs.transition(self._id, ACTIVE, "INTERRUPTED", self._attempt)
            return INTERRUPTED
        except UserError as error:
            again = error.code == "out_of_memory" and works_in_parts(spec.method)
            if again and self._try_smaller(writer, spec.batch_size, record.parts):
                return INTERRUPTED
            return self._fail(writer, error.code, error.facts)
        except MemoryError:
            if works_in_parts(spec.method) and self._try_smaller(writer, spec.batch_size, record.parts):
                return INTERRUPTED
            rows = spec.batch_size // parts
            return self._fail(writer, "out_of_memory", {"batch_size": rows, "smaller": max(1, rows // 2)})
        except Exception:  # noqa: BLE001 (the worker's edge)
            traceback.print_exc()
            return self._fail(writer, "worker_failed", {})
        except BaseException as error:
            # A panic of the tokenizers' Rust code is no Exception.
            if type(error).__name__ != "PanicException":
                raise
            traceback.print_exc()
            return self._fail(writer, "tokenizer_failed", {})
        headline = {name: float(result["metrics"][name]) for name in result["headline"]}
        # A stop that was asked for after the last step changes nothing any more: the run is simply done.
        end: State = "STOPPED" if result["stopped"] else "FINISHED"
        told = {"has_result": True, "headline": headline, "seconds": result["seconds"], "crashes": 0}
        if result["diverged"]:
            told["ended_by"] = "divergence"
        self._runs.transition(self._id, ("RUNNING", "STOPPING"), end, self._attempt, **told)
        return DONE

    def _try_smaller(self, writer: EventWriter, batch_size: int, parts: int) -> bool:
        """Memory ran out: once, the run goes on with batches cut into smaller parts, and learns the same."""
        smaller = fitting_parts(batch_size, 2 * parts)
        if parts > 1 or smaller == 1:
            return False
        writer.write(events.Retrying(rows=batch_size // smaller))
        self._runs.transition(self._id, ACTIVE, "INTERRUPTED", self._attempt, parts=smaller, returning=True)
        return True

    def _fail(self, writer: EventWriter, code: str, facts: dict[str, Fact]) -> int:
        try:
            writer.write(events.Failed(code=code, facts=facts))
        except UserError:
            traceback.print_exc()  # the disk is full: the state below is all that can be said
        self._runs.transition(self._id, ACTIVE, "FAILED", self._attempt, error={"code": code, "facts": facts})
        return FAILED

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True


def fitting_parts(batch_size: int, wanted: int) -> int:
    """The smallest number of equal parts, `wanted` or more, into which a batch can be cut; else single rows."""
    return next((parts for parts in range(wanted, batch_size) if batch_size % parts == 0), batch_size)


def main() -> int:
    """Read the arguments and work."""
    place = settings.from_environment()
    logs.start_plain(place)
    warnings.simplefilter("default")
    runs = RunStore(place.home)
    return Worker(place, runs, sys.argv[1], int(sys.argv[2])).work()


if __name__ == "__main__":
    Path(settings.from_environment().home).mkdir(parents=True, exist_ok=True)
    end_with(main)
