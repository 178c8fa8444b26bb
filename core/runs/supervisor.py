"""Starts queued runs, watches workers, and picks up what an earlier process left behind: one thread does it all."""

import contextlib
import logging
import subprocess
import threading
import time
from collections.abc import Callable

from core.errors import UserError
from core.processes import spawn
from core.runs.store import ACTIVE, RunRecord, RunStore, StaleTransitionError
from core.settings import Settings
from core.spec import TrainSpec

log = logging.getLogger(__name__)
_STARTING_GRACE = 20.0


class Supervisor:
    """Runs one worker at a time, oldest first.

    Args:
        settings: where things are.
        runs: the store to watch.
        seconds: pause between two looks.
        own_only: start only what was submitted here, and leave everything else to another supervisor.
    """

    def __init__(self, settings: Settings, runs: RunStore, seconds: float = 0.3, own_only: bool = False) -> None:
        self._mine: set[str] | None = set() if own_only else None
        self._settings, self._runs, self._seconds = settings, runs, seconds
        self._children: dict[str, tuple[subprocess.Popen[bytes], int]] = {}
        self._adopted: dict[str, float] = {}
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._loop, name="supervisor", daemon=True)

    def start(self) -> None:
        """Adopt runs whose worker still lives, mark the others, and begin to watch."""
        now = time.monotonic()
        for record in self._runs.list():
            if record.state in ACTIVE and self._mine is None:
                self._adopted[record.id] = now
        self._thread.start()

    def close(self, patience: float = 8.0) -> None:
        """End the watching and the workers: each saves its state and marks its run INTERRUPTED."""
        self._closing.set()
        self._wake.set()
        if self._thread.ident:
            self._thread.join(patience)
        for child, _ in self._children.values():
            child.terminate()
        for run_id, (child, attempt) in list(self._children.items()):
            try:
                child.wait(patience)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            self._settle(run_id, attempt)

    def submit(self, spec: TrainSpec, owner: str, name: str = "") -> RunRecord:
        """Queue a run.

        Raises:
            UserError: `disk_full`.
        """
        record = self._runs.create(spec, owner, name)
        if self._mine is not None:
            self._mine.add(record.id)
        self._wake.set()
        return record

    def again(self, run_id: str, owner: str) -> RunRecord:
        """Queue an interrupted run once more.

        Raises:
            UserError: `run_unknown`, `run_not_interrupted`.
        """
        record = self._runs.get(run_id, owner)
        try:
            (self._runs.folder(run_id) / "stop").unlink(missing_ok=True)
            record = self._runs.transition(run_id, ("INTERRUPTED",), "QUEUED", record.attempt)
        except StaleTransitionError as error:
            raise UserError("run_not_interrupted", run=run_id[:8]) from error
        self._wake.set()
        return record

    def wait(self, run_id: str, on_tick: Callable[[], None] | None = None, seconds: float = 0.2) -> RunRecord:
        """Until the run ends; `on_tick` is called in between."""
        while True:
            record = self._runs.get(run_id)
            if on_tick:
                on_tick()
            if record.state not in (*ACTIVE, "QUEUED"):
                return record
            time.sleep(seconds)

    def _loop(self) -> None:
        while not self._closing.is_set():
            try:
                self._look()
            except (OSError, UserError, ValueError):
                log.exception("the supervisor goes on after an error")
            self._wake.wait(self._seconds if self._busy() else 2.0)
            self._wake.clear()

    def _is_mine(self, run_id: str) -> bool:
        return self._mine is None or run_id in self._mine

    def _busy(self) -> bool:
        return bool(self._children or self._adopted)

    def _look(self) -> None:
        for run_id, (child, attempt) in list(self._children.items()):
            if child.poll() is not None:
                del self._children[run_id]
                self._settle(run_id, attempt)
        for run_id, since in list(self._adopted.items()):
            self._look_at_adopted(run_id, since)
        if not self._busy():
            queued = [r for r in self._runs.list() if r.state == "QUEUED" and self._is_mine(r.id)]
            if queued:
                self._start(queued[-1])

    def _look_at_adopted(self, run_id: str, since: float) -> None:
        try:
            record = self._runs.get(run_id)
        except UserError:
            del self._adopted[run_id]
            return
        if record.state not in ACTIVE:
            del self._adopted[run_id]
        elif not self._runs.alive(run_id):
            if record.state == "STARTING" and time.monotonic() - since < _STARTING_GRACE:
                return  # its worker may be importing and not hold the lock yet
            del self._adopted[run_id]
            self._settle(run_id, record.attempt)

    def _start(self, queued: RunRecord) -> None:
        try:
            record = self._runs.transition(queued.id, ("QUEUED",), "STARTING", queued.attempt)
        except StaleTransitionError:
            return
        folder = self._runs.folder(record.id)
        with (folder / "worker.log").open("ab") as log_file:
            arguments = [record.id, str(record.attempt)]
            child = spawn(self._settings, "core.runs.worker", arguments, stdout=log_file, stderr=log_file)
        self._children[record.id] = (child, record.attempt)

    def _settle(self, run_id: str, attempt: int) -> None:
        """A worker is gone: if it could not say how it ended, say that it was interrupted."""
        with contextlib.suppress(StaleTransitionError, UserError):
            self._runs.transition(run_id, ACTIVE, "INTERRUPTED", attempt)
