"""What a run would take, before it starts: time, memory and disk, from a few real steps on this machine.

They are made by a process of its own (`core.estimating.measuring`), which loads what a run would load and then is gone.
One at a time measures in the whole house: two would share the processor, and both figures would be wrong. For the same
reason, and so as not to slow down a training, nothing is measured while a run works or is about to, and a measurement
gives way to a run that starts meanwhile.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from core import files
from core.errors import UserError
from core.processes import memory_kills, spawn
from core.runs.store import ACTIVE, RunStore
from core.settings import Settings
from core.spec import TrainSpec

# In the order in which a run does them.
PARTS = ("preparing", "training", "validating", "testing")
ASKED, TOLD = "asked.json", "told.jsonl"
# Measuring ends after so many seconds, with what is known by then: a person waits before a button.
MOST_SECONDS = 90.0
_SECONDS_IN_LINE, _SECONDS_BETWEEN_LOOKS = 20.0, 1.0
# How far from a run the figures may be: machines do other things beside.
_OFF = 0.25


@dataclass(frozen=True)
class Estimate:
    """What a run would take; None where that could not be found out in time.

    Attributes:
        seconds: from the start of the run's process to the result; `seconds` in its report begin after its imports.
        at_least: whether it takes longer than that: measuring had to end before all was known.
        memory_bytes: of the process, at most.
        disk_bytes: that the run has at most at once, of what it writes.
        parts: seconds of each of `PARTS` that is known.
        steps: optimizer steps of the run; 0 for methods that have none, or where that is not known.
        measured: real steps that were made, or, of methods without steps, texts that were read.
        way: how steps were computed, see `core.training.precision.Way`.
    """

    seconds: float | None = None
    at_least: bool = False
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    parts: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    measured: int = 0
    way: dict[str, Any] = field(default_factory=dict)

    @property
    def range(self) -> tuple[float, float] | None:
        """Seconds between which a run ends that has the machine for itself; None where there is no such upper bound."""
        if self.seconds is None or self.at_least:
            return None
        return (1 - _OFF) * self.seconds, (1 + _OFF) * self.seconds

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"range": self.range}


def estimate(
    spec: TrainSpec, owner: str, settings: Settings, runs: RunStore, most_seconds: float = MOST_SECONDS
) -> Estimate:
    """Measure what a run of this spec would take; nothing is kept of it.

    Raises:
        UserError: `estimate_while_training`, `estimate_busy` where somebody else's is measured, `estimate_failed`,
            `out_of_memory`, and whatever a run would end with before its first step.
    """
    with _turn(settings):
        _give_way(runs)
        with _folder(settings) as folder:
            files.write_json(folder / ASKED, {"spec": spec.model_dump(mode="json"), "owner": owner})
            kills = memory_kills()
            status = _measured(settings, runs, folder, most_seconds)
            return _found(folder, spec, status, out_of_memory=memory_kills() > kills)


@contextlib.contextmanager
def _turn(settings: Settings) -> Iterator[None]:
    """The one place there is: a lock of the system, free again when its holder is gone."""
    folder = settings.home / "turns"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "estimate.lock", thread_local=False)
    try:
        lock.acquire(timeout=_SECONDS_IN_LINE, poll_interval=_SECONDS_BETWEEN_LOOKS)
    except Timeout:
        raise UserError("estimate_busy") from None
    try:
        yield
    finally:
        lock.release()


def _give_way(runs: RunStore) -> None:
    if any(record.state in (*ACTIVE, "QUEUED") for record in runs.list()):
        raise UserError("estimate_while_training")


@contextlib.contextmanager
def _folder(settings: Settings) -> Iterator[Path]:
    """An empty folder on the disk of the runs, gone afterwards; whoever was killed before has left one."""
    folder = settings.home / "estimate"
    shutil.rmtree(folder, ignore_errors=True)
    with files.disk_full_is_a_user_error():
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measured(settings: Settings, runs: RunStore, folder: Path, most_seconds: float) -> int | None:
    """Exit status of the child; None where it was ended because of the time."""
    end = time.monotonic() + most_seconds
    child = spawn(settings, "core.estimating.measuring", [str(folder)], computes=True)
    try:
        while time.monotonic() < end:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(_SECONDS_BETWEEN_LOOKS)
            _give_way(runs)
        return None
    finally:
        if child.poll() is None:
            _kill(child)


def _kill(child: "subprocess.Popen[bytes]") -> None:
    if os.name == "posix":
        os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()


def _found(folder: Path, spec: TrainSpec, status: int | None, *, out_of_memory: bool) -> Estimate:
    known: dict[str, Any] = {}
    for told in read_lines(folder / TOLD):
        known |= told
    if "error" in known:
        raise UserError(known["error"]["code"], **known["error"]["facts"])
    if status not in (0, None):
        if out_of_memory:
            raise UserError("out_of_memory", batch_size=spec.batch_size, smaller=max(1, spec.batch_size // 2))
        raise UserError("estimate_failed")
    begun = known.pop("begun", None)
    if status is None and begun is not None and "training" not in known:
        # Not one step has come to an end by now, or not the first part of what is read.
        known["training"] = max(1, known.get("steps", 0)) * (time.time() - begun)
    parts = {name: round(known.pop(name), 1) for name in PARTS if name in known}
    whole = round(sum(parts.values()), 1) if "training" in parts else None
    return Estimate(seconds=whole, at_least="testing" not in parts, parts=parts, **known)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """What was told line by line; the last line may be torn."""
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError):
            yield dict(json.loads(line))
