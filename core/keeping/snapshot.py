"""A run as it is at one moment, in a folder of its own: what is replaced meanwhile stays whole there."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from core import files
from core.data.store import TableStore
from core.errors import UserError
from core.keeping import layout
from core.runs.store import RunRecord, RunStore
from core.spec import TrainSpec
from core.training import checkpoints

_TRIES = 3
# Of a table's facts, who it belongs to and the file that it came from stay here.
_OWN = frozenset({"owner", "origin", "added"})


@dataclass(frozen=True)
class Snapshot:
    """A run's files.

    Attributes:
        record: the run as it was.
        folder: where they lie, at the paths that they will have below the run's folder in the repository.
        step: of the state among them, 0 where there is none.
        bytes: of all of them.
    """

    record: RunRecord
    folder: Path
    step: int
    bytes: int

    def files(self) -> dict[str, Path]:
        """Path below the run's folder -> file."""
        found = sorted(f for f in self.folder.rglob("*") if f.is_file())
        return {f.relative_to(self.folder).as_posix(): f for f in found}


def check(spec: TrainSpec) -> None:
    """Pass silently where a run can be brought back from what is kept of it.

    Raises:
        UserError: `keeping_needs_base`, where it goes on from what will be lost.
    """
    if spec.model.source not in ("starter", "hub"):
        raise UserError("keeping_needs_base")


def take(runs: RunStore, tables: TableStore, run_id: str, owner: str, place: Path) -> Snapshot:
    """Put the run's newest whole state, its best model and its result, where it has them, into the new folder `place`.

    Large files are linked, not copied: they are never changed, only replaced.

    Raises:
        UserError: `run_unknown`, `table_unknown`, `keeping_needs_base`, `disk_full`, `keeping_failed`.
    """
    record, source, spec = runs.get(run_id, owner), runs.folder(run_id), runs.spec(run_id)
    check(spec)
    with files.disk_full_is_a_user_error():
        place.mkdir(parents=True)
        # The best model may be newer than the state, as it is after a sudden end, but not older: training would look
        # for one that is gone. So it is taken after it, and what was judged after that.
        state = _newest(source / "checkpoints", place / "checkpoints")
        _newest(source / "best", place / "best")
        _link(source / checkpoints.JUDGED, place)
        if record.has_result:
            for name in ("model", "adapter"):
                if (source / name).is_dir():
                    _link_folder(source / name, place / name)
            _link(source / layout.REPORT, place)
        _link(source / layout.SPEC, place)
        _copy_lines(source / layout.EVENTS, place / layout.EVENTS)
        for table_id in filter(None, (spec.data.table, spec.data.test_table)):
            _table(tables, table_id, owner, place / "tables")
        step = checkpoints.step_of(state) if state else 0
        size = files.folder_bytes(place)
        kept = layout.Kept.of(record, step, time.time(), size)
        files.write_bytes(place / layout.RECORD, kept.model_dump_json(indent=1).encode())
    taken = Snapshot(record, place, step, size)
    for path in taken.files():
        if not layout.may_be_kept(path):
            raise UserError("keeping_failed", reason=path[:100])
    return taken


def _newest(root: Path, place: Path) -> Path | None:
    """The newest folder below `root` that verifies, linked below `place`. Others may come while this is looked for."""
    for _ in range(_TRIES):
        present = sorted(root.glob("step-*"), key=checkpoints.step_of, reverse=True)
        for found in present:
            target = place / found.name
            try:
                _link_folder(found, target)
            except FileNotFoundError:  # it went meanwhile
                shutil.rmtree(target, ignore_errors=True)
                continue
            if checkpoints.verify(target):
                return target
            shutil.rmtree(target)
        if not present:
            break
    return None


def _link_folder(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for file in sorted(source.iterdir()):
        (target / file.name).hardlink_to(file)


def _link(file: Path, place: Path) -> None:
    if file.is_file():
        (place / file.name).hardlink_to(file)


def _copy_lines(source: Path, target: Path) -> None:
    """The whole lines of a file that is being appended to."""
    if source.is_file():
        content = source.read_bytes()
        files.write_bytes(target, content[: content.rfind(b"\n") + 1])


def _table(tables: TableStore, table_id: str, owner: str, place: Path) -> None:
    place.mkdir(exist_ok=True)
    target = place / f"{table_id}.parquet"
    if not target.is_file():
        target.hardlink_to(tables.path(table_id, owner))
        facts = {name: value for name, value in tables.get(table_id, owner).as_dict().items() if name not in _OWN}
        files.write_json(place / f"{table_id}.json", facts)
