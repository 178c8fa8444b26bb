"""Keeps runs on the Hub while they train, for people who asked for it: one thread, tokens in memory alone."""

import hashlib
import logging
import shutil
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any

from core.errors import UserError
from core.keeping import sending
from core.runs.store import ACTIVE, RunRecord, RunStore
from core.settings import Settings

log = logging.getLogger(__name__)
_SECONDS_BETWEEN_LOOKS = 1.0
_MOST_SECONDS_BETWEEN_TRIES = 600.0
# The Hub keeps what was replaced until a run has ended: so much of it comes together, at most, in a second.
_BYTES_PER_SECOND = 2**20
_MOST_REMEMBERED = 200
# What may be otherwise at the next try; anything else waits for the person.
_PASSING = frozenset({"hub_unreachable", "keeping_failed", "disk_full"})


@dataclass(frozen=True)
class Status:
    """How the keeping of a run stands.

    Attributes:
        step: of the newest state that is kept, 0 for none.
        at: when something was last known to be kept, on the clock of `time.monotonic`; None for never.
        problem: code of the UserError that the last try ended with, empty for none. `token_invalid`: the person has to
            sign in again.
        facts: of that error.
        waiting: whether another try comes by itself.
    """

    step: int = 0
    at: float | None = None
    problem: str = ""
    facts: dict[str, str | int | float | bool] = field(default_factory=dict)
    waiting: bool = True


@dataclass
class _Keeping:
    """A run that is kept.

    Attributes:
        owner: key of whom it belongs to.
        token: the owner's, empty once it is of no more use.
        mark: what the run was like when it was kept last.
        due: not before then, on the clock of `time.monotonic`.
        tries: that failed in a row.
        refused: digest of a token that the Hub did not take.
    """

    owner: str
    token: str = field(repr=False)
    mark: tuple[Any, ...] | None = None
    due: float = 0.0
    tries: int = 0
    refused: str = ""
    status: Status = Status()


class Keeper:
    """Watches the runs that it was asked to keep, and sends what is new.

    Args:
        settings: where things are.
        runs: the store to watch.
        seconds: least time between two sendings of a run.
    """

    def __init__(self, settings: Settings, runs: RunStore, seconds: float = 60.0) -> None:
        self._settings, self._runs, self._seconds = settings, runs, seconds
        self._kept: dict[str, _Keeping] = {}
        self._lock = threading.Lock()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._loop, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin to watch. What a process that ended suddenly left half sent is cleared away."""
        shutil.rmtree(self._settings.home / "keeping", ignore_errors=True)
        self._thread.start()

    def close(self, patience: float = 5.0) -> None:
        """End the watching. What is being sent is given up: a commit is whole or absent."""
        self._closing.set()
        self._wake.set()
        if self._thread.ident:
            self._thread.join(patience)

    def keep(self, run_id: str, owner: str, token: str) -> None:
        """Keep a run from now on, or go on with a newer token. One that the Hub has refused for it is not tried again.

        Raises:
            UserError: `run_unknown`.
        """
        self._runs.get(run_id, owner)
        with self._lock:
            known = self._kept.get(run_id) or _Keeping(owner, token)
            if known.refused == _digest(token):
                return
            self._kept.pop(run_id, None)
            known.token, known.due, known.tries = token, 0.0, 0
            known.status = replace(known.status, problem="", facts={}, waiting=True)
            self._kept[run_id] = known
            self._forget_old()
        self._wake.set()

    def drop(self, run_id: str) -> None:
        """Keep a run no longer; what is on the Hub stays there."""
        with self._lock:
            self._kept.pop(run_id, None)

    def status(self, run_id: str) -> Status | None:
        """How the keeping of a run stands; None for one that is not kept."""
        with self._lock:
            found = self._kept.get(run_id)
            return found.status if found else None

    def _forget_old(self) -> None:
        """Of runs whose keeping is over, only so many are remembered."""
        over = [run_id for run_id, kept in self._kept.items() if not kept.token]
        for run_id in over[: max(0, len(self._kept) - _MOST_REMEMBERED)]:
            del self._kept[run_id]

    def _loop(self) -> None:
        while not self._closing.is_set():
            for run_id, kept in self._due():
                try:
                    self._look(run_id, kept)
                except Exception:  # one run's trouble must not end the keeping of all others
                    log.exception("the keeper goes on after an error")
                    self._failed(kept, UserError("keeping_failed", reason="unexpected"))
            self._wake.wait(_SECONDS_BETWEEN_LOOKS if self._kept else None)
            self._wake.clear()

    def _due(self) -> list[tuple[str, _Keeping]]:
        now = time.monotonic()
        with self._lock:
            return [(run_id, kept) for run_id, kept in self._kept.items() if kept.token and kept.due <= now]

    def _look(self, run_id: str, kept: _Keeping) -> None:
        """Send what is new of a run; once it has ended and all is sent, its token is forgotten."""
        token = kept.token
        try:
            record = self._runs.get(run_id, kept.owner)
            mark = self._mark(record)
            sent = None
            if mark != kept.mark:
                sent = sending.keep(self._settings, run_id, kept.owner, token, lambda: self._goes_on(run_id, kept))
        except UserError as error:
            if self._goes_on(run_id, kept) and kept.token == token:
                self._failed(kept, error)
            return
        now = time.monotonic()
        with self._lock:
            if sent:
                kept.mark, kept.tries = mark, 0
                kept.due = now + max(self._seconds, sent.bytes / _BYTES_PER_SECOND)
                kept.status = Status(step=sent.step, at=now)
            elif mark != kept.mark:  # between the last state and the result
                kept.due = now + self._seconds / 4
            if _has_ended(record) and kept.mark == mark and kept.token == token:
                kept.token = ""
                kept.status = replace(kept.status, waiting=False)

    def _failed(self, kept: _Keeping, error: UserError) -> None:
        again = error.code in _PASSING
        with self._lock:
            kept.tries += 1
            kept.due = time.monotonic() + min(_MOST_SECONDS_BETWEEN_TRIES, self._seconds / 4 * 2**kept.tries)
            if error.code == "token_invalid":
                kept.refused = _digest(kept.token)
            if not again:
                kept.token = ""
            kept.status = replace(kept.status, problem=error.code, facts=error.facts, waiting=again)

    def _goes_on(self, run_id: str, kept: _Keeping) -> bool:
        return not self._closing.is_set() and self._kept.get(run_id) is kept

    def _mark(self, record: RunRecord) -> tuple[Any, ...]:
        """Differs where there is something new to keep."""
        ended = record.state if _has_ended(record) else ""
        step = self._runs.kept_step(record.id)
        return step, ended, record.attempt if ended else 0, record.has_result, record.name, record.note


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _has_ended(record: RunRecord) -> bool:
    return record.state not in (*ACTIVE, "QUEUED") and not (record.state == "INTERRUPTED" and record.returning)
