"""Starts queued runs, watches workers, and picks up what an earlier process left behind: one thread does it all."""

import contextlib
import logging
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from core import logs
from core.errors import UserError
from core.processes import memory_kills, spawn
from core.runs import queue
from core.runs.store import ACTIVE, RESUMABLE, RunRecord, RunStore, StaleTransitionError
from core.settings import Settings
from core.spec import TrainSpec

log = logging.getLogger(__name__)
_STARTING_GRACE = 20.0
# After so many sudden ends of its worker in a row, without having got further in between, a run waits for a person.
_MOST_CRASHES = 2


@dataclass
class _Child:
    """A worker that was started here.

    Attributes:
        process: the worker.
        attempt: of its run.
        started: clock of `time.monotonic`.
        memory_kills: processes that the system had ended for lack of memory by then.
    """

    process: "subprocess.Popen[bytes]"
    attempt: int
    started: float
    memory_kills: int


class Supervisor:
    """Runs one worker at a time: owners take turns, and what was interrupted goes on by itself.

    Args:
        settings: where things are.
        runs: the store to watch.
        seconds: pause between two looks.
        own_only: start only what was submitted here, and leave everything else to another supervisor.

    Attributes:
        last_look: when it looked last, on the clock of `time.monotonic`.
    """

    def __init__(self, settings: Settings, runs: RunStore, seconds: float = 0.3, own_only: bool = False) -> None:
        self._mine: set[str] | None = set() if own_only else None
        self._settings, self._runs, self._seconds = settings, runs, seconds
        self._children: dict[str, _Child] = {}
        self._submitting = threading.Lock()
        self._adopted: dict[str, float] = {}
        self.last_look = time.monotonic()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._loop, name="supervisor", daemon=True)

    def start(self) -> None:
        """Adopt runs whose worker still lives, let those go on that were interrupted, and begin to watch."""
        now = time.monotonic()
        for record in self._runs.list() if self._mine is None else ():
            if record.state in ACTIVE:
                self._adopted[record.id] = now
            elif record.state == "INTERRUPTED" and record.returning:
                self._go_on(record)
        self._thread.start()

    def close(self, patience: float = 8.0) -> None:
        """End the watching and the workers: each saves its state and marks its run INTERRUPTED."""
        self._closing.set()
        self._wake.set()
        if self._thread.ident:
            self._thread.join(patience)
        for child in self._children.values():
            child.process.terminate()
        for run_id, child in list(self._children.items()):
            try:
                child.process.wait(patience)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            with contextlib.suppress(StaleTransitionError, UserError):
                self._runs.transition(run_id, ACTIVE, "INTERRUPTED", child.attempt)
            with contextlib.suppress(UserError):
                if self._mine is None and self._runs.get(run_id).state == "INTERRUPTED":
                    self._runs.annotate(run_id, returning=True)

    def submit(self, spec: TrainSpec, owner: str, name: str = "") -> RunRecord:
        """Queue a run.

        Raises:
            UserError: `disk_full`, `queue_owner_full`, `queue_full`.
        """
        with self._submitting:
            self._check_room(owner)
            record = self._runs.create(spec, owner, name)
        if self._mine is not None:
            self._mine.add(record.id)
        self._wake.set()
        return record

    def again(self, run_id: str, owner: str) -> RunRecord:
        """Queue a run once more that was interrupted, stopped or failed: it goes on from its last state.

        Raises:
            UserError: `run_unknown`, `run_not_resumable`, `queue_owner_full`, `queue_full`.
        """
        with self._submitting:
            record = self._runs.get(run_id, owner)
            if not self._runs.can_go_on(record):
                raise UserError("run_not_resumable", run=run_id[:8])
            self._check_room(owner)
            (self._runs.folder(run_id) / "stop").unlink(missing_ok=True)
            try:
                record = self._runs.transition(
                    run_id, RESUMABLE, "QUEUED", record.attempt, crashes=0, error=None, ended_by=""
                )
            except StaleTransitionError as error:
                raise UserError("run_not_resumable", run=run_id[:8]) from error
        if self._mine is not None:
            self._mine.add(record.id)
        self._wake.set()
        return record

    def move(self, run_id: str, owner: str, *, earlier: bool) -> None:
        """Let a queued run change places with its owner's run that waits before, or after, it.

        Raises:
            UserError: `run_unknown`.
        """
        self._runs.get(run_id, owner)
        with self._submitting:
            ids = [record.id for record in queue.order(self._runs.list()) if record.owner == owner]
            if run_id not in ids:
                return
            other = ids.index(run_id) + (-1 if earlier else 1)
            if 0 <= other < len(ids):
                self._runs.swap(run_id, ids[other])

    def _check_room(self, owner: str) -> None:
        limits = self._settings.limits
        going_on = [record for record in self._runs.list() if record.state in (*ACTIVE, "QUEUED")]
        if sum(record.owner == owner for record in going_on) >= limits.owner_runs:
            raise UserError("queue_owner_full", most=limits.owner_runs)
        if len(going_on) >= limits.queued_runs:
            raise UserError("queue_full", most=limits.queued_runs)

    def wait(self, run_id: str, on_tick: Callable[[], None] | None = None, seconds: float = 0.2) -> RunRecord:
        """Until the run ends; `on_tick` is called in between."""
        while True:
            record = self._runs.get(run_id)
            if on_tick:
                on_tick()
            goes_on = record.returning and not self._closing.is_set()
            if record.state not in (*ACTIVE, "QUEUED") and not goes_on:
                return record
            time.sleep(seconds)

    def _loop(self) -> None:
        while not self._closing.is_set():
            try:
                self._look()
            except (OSError, UserError, ValueError):
                log.exception("the supervisor goes on after an error")
            self.last_look = time.monotonic()
            self._wake.wait(self._seconds if self._busy() else 2.0)
            self._wake.clear()

    def _is_mine(self, run_id: str) -> bool:
        return self._mine is None or run_id in self._mine

    def _busy(self) -> bool:
        return bool(self._children or self._adopted)

    def _look(self) -> None:
        for run_id, child in list(self._children.items()):
            if child.process.poll() is not None:
                del self._children[run_id]
                self._settle(run_id, child.attempt, memory_kills() > child.memory_kills)
                self._bound_log(run_id)
            else:
                self._end_in_time(run_id, child.started)
                self._bound_log(run_id)
        for run_id, since in list(self._adopted.items()):
            self._look_at_adopted(run_id, since)
        if not self._busy():
            waiting = [r for r in queue.order(self._runs.list()) if self._is_mine(r.id)]
            if waiting:
                self._start(waiting[0])

    def _bound_log(self, run_id: str) -> None:
        """A worker that prints for hours must not fill the disk."""
        with contextlib.suppress(OSError):
            logs.bound(self._runs.root / run_id / "worker.log")

    def _end_in_time(self, run_id: str, since: float) -> None:
        """Nobody keeps a shared machine longer than the place allows."""
        most = self._settings.limits.run_seconds
        if most and time.monotonic() - since > most:
            record = self._runs.get(run_id)
            if record.state in ("STARTING", "RUNNING"):
                self._runs.request_stop(run_id, "time")

    def _look_at_adopted(self, run_id: str, since: float) -> None:
        try:
            record = self._runs.get(run_id)
        except UserError:
            del self._adopted[run_id]
            return
        self._bound_log(run_id)
        self._end_in_time(run_id, since)
        if record.state not in ACTIVE:
            del self._adopted[run_id]
        elif not self._runs.alive(run_id):
            if record.state == "STARTING" and time.monotonic() - since < _STARTING_GRACE:
                return  # its worker may be importing and not hold the lock yet
            del self._adopted[run_id]
            self._settle(run_id, record.attempt)

    def _start(self, queued: RunRecord) -> None:
        turn = 1 + max(record.turn for record in self._runs.list())
        try:
            record = self._runs.transition(
                queued.id, ("QUEUED",), "STARTING", queued.attempt, turn=turn, returning=False
            )
        except StaleTransitionError:
            return
        folder = self._runs.folder(record.id)
        with (folder / "worker.log").open("ab") as log_file:
            arguments = [record.id, str(record.attempt)]
            process = spawn(
                self._settings, "core.runs.worker", arguments, stdout=log_file, stderr=log_file, computes=True
            )
        self._children[record.id] = _Child(process, record.attempt, time.monotonic(), memory_kills())

    @property
    def alive(self) -> bool:
        """Whether the thread that watches is there."""
        return self._thread.is_alive()

    def _settle(self, run_id: str, attempt: int, out_of_memory: bool = False) -> None:
        """A worker is gone: if it could not say how it ended, say that it was interrupted, and let the run go on."""
        with contextlib.suppress(StaleTransitionError, UserError):
            record = self._runs.get(run_id)
            self._adopted[run_id] = time.monotonic()  # looked at again, should the disk be too full to say it
            if record.state in ACTIVE:
                step = self._runs.kept_step(run_id)
                crashes = 1 if step > record.kept else record.crashes + 1
                told = {"crashes": crashes, "kept": step, "returning": crashes <= _MOST_CRASHES}
                if out_of_memory:
                    told["parts"] = record.parts * 2
                record = self._runs.transition(run_id, ACTIVE, "INTERRUPTED", attempt, **told)
            if record.state == "INTERRUPTED" and record.returning and not self._closing.is_set():
                self._go_on(record)

    def _go_on(self, record: RunRecord) -> None:
        with contextlib.suppress(StaleTransitionError, UserError):
            self._runs.transition(record.id, ("INTERRUPTED",), "QUEUED", record.attempt)
