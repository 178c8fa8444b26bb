"""What arrived of a kept run becomes a run once it was looked at, and what the page reads of it was written anew."""

import secrets
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from core import files
from core.errors import UserError
from core.keeping import layout, snapshot
from core.keeping.layout import Kept
from core.keeping.tables import Shelf
from core.models import fetching
from core.models.loading import check_folder
from core.publishing.carried import Report, carried_events, carried_spec, parsed
from core.runs import history
from core.runs.store import RunRecord, RunStore
from core.settings import MEBIBYTE, Settings
from core.spec import ModelChoice, TrainSpec
from core.tasks.base import find
from core.training import checkpoints

_MOST_REPORT_BYTES = 16 * MEBIBYTE
# Descriptions of a model that the page itself reads, and the part of its weights that tells their shapes.
_MOST_READ_BYTES = 8 * MEBIBYTE


def take_in(folder: Path, settings: Settings, runs: RunStore, owner: str, token: str) -> RunRecord:
    """Make a run of a folder that arrived, once all of it is known to be what it should be. See `returning.restore`.

    Args:
        folder: called as the run, with the files at the paths below the run's place in the repository.
    """
    tables = folder.parent / "tables"
    with _damage_is_a_user_error():
        kept = Kept.model_validate(parsed((folder / layout.RECORD).read_bytes(), layout.MOST_RECORD_BYTES))
        given = TrainSpec.model_validate(parsed((folder / layout.SPEC).read_bytes(), _MOST_READ_BYTES))
        if kept.id != folder.name:
            raise ValueError("another run's")
        snapshot.check(given)
        spec = carried_spec(given)
        if spec.method not in find(spec.task).methods:
            raise ValueError("no such method")
        _check_folders(folder)
        _write_anew(folder, kept, spec)
        (folder / "tables").rename(tables)
    if not kept.has_result or kept.step:
        _bring_base(spec.model, settings, token, owner)
    shelf, added = Shelf(settings), list[str]()
    try:
        for table_id in filter(None, (spec.data.table, spec.data.test_table)):
            if not shelf.has(table_id, owner):
                shelf.take_back(table_id, owner, tables / f"{table_id}.parquet", tables / f"{table_id}.json")
                added.append(table_id)
        return _add(folder, kept, spec, runs, owner)
    except BaseException:
        for table_id in added:
            shelf.delete(table_id, owner)
        raise


@contextmanager
def _damage_is_a_user_error() -> Iterator[None]:
    """Whatever is wrong with files that a stranger may have made is one error; a full disk stays another."""
    try:
        with files.disk_full_is_a_user_error():
            yield
    except UserError as error:
        if error.code == "disk_full":
            raise
        raise UserError("kept_damaged") from error
    except (OSError, ValueError, TypeError, RecursionError, struct.error, zipfile.BadZipFile) as error:
        raise UserError("kept_damaged") from error


def _check_folders(folder: Path) -> None:
    """Every folder is whole by its own manifest, and what training opens unfolds to no more than it is."""
    for root in ("checkpoints", "best"):
        found = sorted((folder / root).glob("*"))
        if len(found) > 1 or not all(map(_is_whole, found)):
            raise ValueError(f"{root} is not whole")
    for name in ("model", "adapter"):
        if (folder / name).exists() and not _is_whole(folder / name):
            raise ValueError(f"{name} is not whole")
    for file in folder.rglob("*"):
        if file.name in layout.TORCH:
            _check_archive(file)


def _is_whole(folder: Path) -> bool:
    manifest = parsed((folder / checkpoints.MANIFEST).read_bytes(), layout.MOST_RECORD_BYTES)
    present = {file.name for file in folder.iterdir()} - {checkpoints.MANIFEST}
    return isinstance(manifest, dict) and present == set(manifest) and checkpoints.verify(folder)


def _check_archive(file: Path) -> None:
    """Torch stores its numbers as they are: a file that unfolds to more than its size was made by somebody else."""
    with zipfile.ZipFile(file) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > file.stat().st_size:
            raise ValueError("unfolds")


def _write_anew(folder: Path, kept: Kept, spec: TrainSpec) -> None:
    """What the page reads of the run holds nothing but what was understood."""
    files.write_bytes(folder / layout.SPEC, spec.model_dump_json(indent=1).encode())
    told = folder / layout.EVENTS
    if told.is_file():
        with told.open("rb") as lines:
            files.write_bytes(told, b"".join(carried_events(lines)))
    parts = [folder / name for name in (layout.REPORT, "model", "adapter")]
    if not kept.has_result:
        if any(part.exists() for part in parts):
            raise ValueError("a result of a run without one")
        return
    report = Report.model_validate(parsed((folder / layout.REPORT).read_bytes(), _MOST_REPORT_BYTES))
    if report.task != spec.task:
        raise ValueError("parts of different runs")
    _check_model(folder / "model")
    files.write_json(folder / layout.REPORT, report.as_dict(spec))


def _check_model(folder: Path) -> None:
    """Refuse a result that brings code, or whose descriptions would take much memory to read."""
    beside = folder.parent / "adapter"
    for file in (*folder.glob("*config.json"), *folder.glob("*.index.json"), *beside.glob("*config.json")):
        parsed(file.read_bytes(), _MOST_READ_BYTES)
    for weights in (*folder.glob("*.safetensors"), *beside.glob("*.safetensors")):
        with weights.open("rb") as content:
            (length,) = struct.unpack("<Q", content.read(8))
            if length > _MOST_READ_BYTES:
                raise ValueError("a header of that length")
            parsed(content.read(length), _MOST_READ_BYTES)
    check_folder(folder)


def _bring_base(choice: ModelChoice, settings: Settings, token: str, owner: str) -> None:
    """Fetch the model that training began with, at the commit that it began with, where it is not on this disk."""
    if choice.source == "hub" and (not choice.revision or choice.revision not in _installed(choice, settings, owner)):
        found = fetching.look_up(choice.name, settings, token)
        # The digests are those of the newest commit: where a file has changed since, it is refused as damaged.
        fetching.fetch(replace(found, revision=choice.revision or found.revision), settings, token, owner)


def _installed(choice: ModelChoice, settings: Settings, owner: str) -> list[str]:
    return fetching.installed(choice.name, settings, owner)


def _add(folder: Path, kept: Kept, spec: TrainSpec, runs: RunStore, owner: str) -> RunRecord:
    """The folder becomes a run of the store; none that is there is touched."""
    free = not (runs.root / kept.id).exists()
    facts: dict[str, Any] = kept.facts() | {
        "name": history.one_line(kept.name),
        "note": history.several_lines(kept.note),
        "task": spec.task,
        "place": 1 + max((record.place for record in runs.list()), default=0),
    }
    record = RunRecord(kept.id if free else secrets.token_hex(16), owner, changed=kept.saved, **facts)
    files.write_json(folder / layout.RECORD, asdict(record))
    folder.rename(runs.root / record.id)  # refused by the system where another came first
    return record
