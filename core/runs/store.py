"""Runs on disk: one directory each, which is the truth; everything else can be rebuilt from it."""

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import ValidationError

from core import events, files
from core.errors import UserError
from core.redacting import cleaning
from core.spec import TrainSpec

State = Literal[
    "QUEUED", "STARTING", "RUNNING", "STOPPING", "FINISHED", "STOPPED", "FAILED", "INTERRUPTED",
]  # fmt: skip
ACTIVE: tuple[State, ...] = ("STARTING", "RUNNING", "STOPPING")
NEXT: dict[State, tuple[State, ...]] = {
    "QUEUED": ("STARTING", "STOPPED"),
    "STARTING": ("RUNNING", "FAILED", "INTERRUPTED", "STOPPING", "STOPPED"),
    "RUNNING": ("FINISHED", "FAILED", "STOPPING", "STOPPED", "INTERRUPTED"),
    "STOPPING": ("STOPPED", "FAILED", "FINISHED", "INTERRUPTED"),
    "INTERRUPTED": ("QUEUED",),
    "FINISHED": (),
    "STOPPED": ("QUEUED",),
    "FAILED": ("QUEUED",),
}
RESUMABLE: tuple[State, ...] = ("INTERRUPTED", "STOPPED", "FAILED")
Events = list[events.Event]
_SECONDS_FOR_A_CHANGE = 10.0
# With a full disk a run must still be able to say that it ended.
_RESERVE, _RESERVE_BYTES = "reserve", 65_536
_ID = re.compile(r"^[0-9a-f]{32}$")


class StaleTransitionError(Exception):
    """Somebody else moved the run first, or its state machine has no such arrow."""


@dataclass(frozen=True)
class RunRecord:
    """What `run.json` holds.

    Attributes:
        id: 32 hex digits, 128 random bits.
        owner: key of whom it belongs to.
        state: see DESIGN's state machine.
        attempt: how often a worker was started for it.
        created: seconds since the epoch; so is `changed`.
        name: what people see.
        has_result: whether `model/` and `report.json` are whole.
        error: code and facts, where it failed.
        headline: the scores that a list shows.
        note: what the person wrote down about it.
        place: order among the runs of its owner that wait; smaller is earlier.
        turn: counts the starts of all runs of the place; 0 before the first.
        returning: it was interrupted and goes on by itself, before those that wait.
        crashes: workers that ended without a word since the run last got further.
        kept: step of its newest state at the last such end.
        parts: a batch is worked through in so many parts, since it did not fit into the memory.
        seconds: how long it took, where it has a result.
        ended_by: `time` where the place's limit stopped it, `divergence` where its loss was no number any more.
    """

    id: str
    owner: str
    state: State
    attempt: int
    created: float
    changed: float
    name: str = ""
    task: str = "classification"
    has_result: bool = False
    error: dict[str, Any] | None = None
    headline: dict[str, float] = field(default_factory=dict)
    note: str = ""
    place: int = 0
    turn: int = 0
    returning: bool = False
    crashes: int = 0
    kept: int = 0
    parts: int = 1
    seconds: float = 0.0
    ended_by: str = ""


Records = list[RunRecord]


class RunStore:
    """All runs below `home/runs`."""

    def __init__(self, home: Path) -> None:
        self.root = home / "runs"
        self.root.mkdir(parents=True, exist_ok=True)
        self._seen: dict[str, tuple[tuple[int, int, int], RunRecord]] = {}

    def folder(self, run_id: str) -> Path:
        """The run's directory.

        Raises:
            UserError: `run_unknown`, also for a name that is no id at all.
        """
        folder = self.root / run_id
        if not _ID.match(run_id) or not (folder / "run.json").is_file():
            raise UserError("run_unknown", run=run_id[:40])
        return folder

    def create(self, spec: TrainSpec, owner: str, name: str = "") -> RunRecord:
        """Write a new QUEUED run.

        Raises:
            UserError: `disk_full`.
        """
        now = time.time()
        place = 1 + max((r.place for r in self.list()), default=0)
        record = RunRecord(secrets.token_hex(16), owner, "QUEUED", 0, now, now, name, spec.task, place=place)
        staged = self.root / f".{record.id}"
        with files.disk_full_is_a_user_error():
            staged.mkdir()
            try:
                files.write_bytes(staged / "spec.json", spec.model_dump_json(indent=1).encode())
                files.write_bytes(staged / _RESERVE, bytes(_RESERVE_BYTES))
                files.write_json(staged / "run.json", asdict(record))
                staged.rename(self.root / record.id)
            except BaseException:
                shutil.rmtree(staged, ignore_errors=True)
                raise
        return record

    def get(self, run_id: str, owner: str | None = None) -> RunRecord:
        """The record of a run; another owner's answers exactly as an unknown one.

        Raises:
            UserError: `run_unknown`.
        """
        record = RunRecord(**files.read_json(self.folder(run_id) / "run.json"))
        if owner is not None and record.owner != owner:
            raise UserError("run_unknown", run=run_id[:40])
        return record

    def find(self, prefix: str, owner: str | None = None) -> RunRecord:
        """The one run whose id begins with `prefix` (6 digits or more).

        Raises:
            UserError: `run_unknown`, also where several would fit.
        """
        if re.fullmatch(r"[0-9a-f]{6,32}", prefix):
            fitting = [r for r in self.list(owner) if r.id.startswith(prefix)]
            if len(fitting) == 1:
                return fitting[0]
        raise UserError("run_unknown", run=prefix[:40])

    def list(self, owner: str | None = None) -> "Records":
        """Runs, newest first, all or one owner's. Damaged directories are passed over."""
        found = []
        for name in os.listdir(self.root):  # noqa: PTH208
            if _ID.match(name):
                try:
                    found.append(self._known(name))
                except (OSError, ValueError, TypeError):
                    continue
        mine = [r for r in found if owner is None or r.owner == owner]
        return sorted(mine, key=lambda r: (r.created, r.id), reverse=True)

    def _known(self, run_id: str) -> RunRecord:
        """The record of a run, read again only when another file has taken its file's place."""
        file = os.path.join(self.root, run_id, "run.json")  # noqa: PTH118 (for every window, and a Path costs more)
        told = os.stat(file)  # noqa: PTH116
        mark = (told.st_ino, told.st_mtime_ns, told.st_size)
        known = self._seen.get(run_id)
        if known is None or known[0] != mark:
            known = mark, RunRecord(**files.read_json(Path(file)))
            self._seen[run_id] = known
        return known[1]

    def spec(self, run_id: str) -> TrainSpec:
        """What the run was asked to do."""
        return TrainSpec.model_validate_json((self.folder(run_id) / "spec.json").read_bytes())

    def transition(
        self, run_id: str, expected: tuple[State, ...], new: State, attempt: int, **changes: Any
    ) -> RunRecord:
        """The only function that changes a run: compare-and-swap on (state, attempt).

        Raises:
            StaleTransitionError: the run is in none of `expected`, of another attempt, or has no such arrow.
        """
        folder = self.folder(run_id)
        with self._changing(folder):
            record = self.get(run_id)
            if record.state not in expected or record.attempt != attempt or new not in NEXT[record.state]:
                raise StaleTransitionError(f"{run_id}: {record.state}/{record.attempt} -> {new}/{attempt}")
            counted = attempt + 1 if new == "STARTING" else attempt
            if new == "QUEUED" and not (folder / _RESERVE).exists():
                files.write_bytes(folder / _RESERVE, bytes(_RESERVE_BYTES))
            record = replace(record, state=new, attempt=counted, changed=time.time(), **changes)
            try:
                files.write_json(folder / "run.json", asdict(record))
            except UserError:  # the disk is full: what was put aside for this moment is given up
                (folder / _RESERVE).unlink(missing_ok=True)
                files.write_json(folder / "run.json", asdict(record))
        return record

    @contextmanager
    def _changing(self, folder: Path) -> Iterator[None]:
        """Nobody else changes the run meanwhile. A process that hangs while it does must not hang the others.

        Raises:
            UserError: `too_busy`.
        """
        try:
            with FileLock(folder / "run.lock", timeout=_SECONDS_FOR_A_CHANGE):
                yield
        except Timeout as error:
            raise UserError("too_busy") from error

    def annotate(self, run_id: str, **changes: Any) -> RunRecord:
        """Change what is no state: name, result, headline."""
        if changes.keys() & {"id", "owner", "state", "attempt", "created"}:
            raise ValueError("not an annotation")
        folder = self.folder(run_id)
        with self._changing(folder):
            record = replace(self.get(run_id), **changes)
            files.write_json(folder / "run.json", asdict(record))
        return record

    def request_stop(self, run_id: str, ended_by: str = "") -> None:
        """Ask a run to end and keep its best so far; a queued one is stopped at once."""
        record = self.get(run_id)
        try:
            if record.state == "QUEUED":
                self.transition(run_id, ("QUEUED",), "STOPPED", record.attempt, returning=False)
            elif record.state in ("STARTING", "RUNNING"):
                (self.folder(run_id) / "stop").touch()
                self.transition(run_id, ("STARTING", "RUNNING"), "STOPPING", record.attempt, ended_by=ended_by)
        except StaleTransitionError:
            self.request_stop(run_id, ended_by)
            # A worker that sees the sign at once may have ended before the reason was written.
            found = self.get(run_id)
            if ended_by and found.state == "STOPPED" and not found.ended_by:
                self.annotate(run_id, ended_by=ended_by)

    def swap(self, one: str, other: str) -> None:
        """Let two queued runs of an owner change places."""
        places = self.get(one).place, self.get(other).place
        self.annotate(one, place=places[1])
        self.annotate(other, place=places[0])

    def kept_step(self, run_id: str) -> int:
        """Step of the newest state that the run could go on from, whole or not; 0 where there is none."""
        steps = (int(p.name.removeprefix("step-")) for p in (self.folder(run_id) / "checkpoints").glob("step-*"))
        return max(steps, default=0)

    def can_go_on(self, record: RunRecord) -> bool:
        """Whether an ended run can be gone on with from where it was, or begun again."""
        if record.error and record.error["code"] == "loss_not_finite":
            return False  # the same steps would lead there again
        return record.state == "INTERRUPTED" or (record.state in RESUMABLE and self.kept_step(record.id) > 0)

    def stop_requested(self, run_id: str) -> bool:
        """Whether the run was asked to end."""
        return (self.folder(run_id) / "stop").exists()

    def alive(self, run_id: str) -> bool:
        """Whether a worker holds the run's lock: held means alive, whatever any process id says."""
        try:
            with FileLock(self.folder(run_id) / "lock", blocking=False):
                return False
        except Timeout:
            return True

    @contextmanager
    def hold(self, run_id: str) -> Iterator[None]:
        """Hold the run's lock while its worker lives.

        Raises:
            filelock.Timeout: another worker holds it.
        """
        with FileLock(self.folder(run_id) / "lock", timeout=2):
            yield

    def read_events(self, run_id: str, offset: int = 0) -> tuple[Events, int]:
        """Events from a byte offset, and the offset to go on from. A torn last line waits; damage is passed over."""
        path = self.folder(run_id) / "events.jsonl"
        if not path.exists():
            return [], 0
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        found: list[events.Event] = []
        for line in whole.splitlines():
            try:
                found.append(events.parse(line))
            except ValidationError:
                continue
        return found, offset + len(whole)

    def report(self, run_id: str) -> dict[str, Any] | None:
        """The evaluation, or None before there is one."""
        path = self.folder(run_id) / "report.json"
        return files.read_json(path) if path.is_file() else None

    def model_folder(self, run_id: str) -> Path:
        """Where the result lies.

        Raises:
            UserError: `run_has_no_model`.
        """
        folder = self.folder(run_id) / "model"
        if not (folder / "config.json").is_file():
            raise UserError("run_has_no_model", run=run_id[:8])
        return folder

    def log(self, run_id: str, last_bytes: int = 16_384) -> str:
        """The end of the worker's log."""
        path = self.folder(run_id) / "worker.log"
        if not path.exists():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - last_bytes))
            return cleaning(self.root.parent)(file.read().decode("utf-8", "replace"))

    def delete(self, run_id: str) -> None:
        """Remove an ended run and free its disk.

        Raises:
            UserError: `run_still_active`.
        """
        record = self.get(run_id)
        if record.state in (*ACTIVE, "QUEUED"):
            raise UserError("run_still_active", run=run_id[:8])
        shutil.rmtree(self.folder(run_id))
        self._seen.pop(run_id, None)


class EventWriter:
    """The one writer of a run's events."""

    def __init__(self, folder: Path, attempt: int) -> None:
        self._path = folder / "events.jsonl"
        self._attempt = attempt
        self._mend_torn_line()

    def _mend_torn_line(self) -> None:
        if self._path.exists() and (content := self._path.read_bytes()) and not content.endswith(b"\n"):
            with self._path.open("ab") as file:
                file.write(b"\n")

    def write(self, event: events.Event) -> None:
        """Append one line. Numbers that are not finite are written as null and so dropped on reading."""
        stamped = event.model_copy(update={"attempt": self._attempt, "time": time.time()})
        line = json.dumps(stamped.model_dump(), ensure_ascii=False)
        with files.disk_full_is_a_user_error(), self._path.open("ab") as file:
            file.write(line.encode() + b"\n")
