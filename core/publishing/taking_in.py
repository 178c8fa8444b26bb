"""The file of a run, as `core.publishing.carrying` writes it, back into a store.

Whoever hands a file in may mean harm, so nothing is believed that was not looked at: what is kept is written anew from
what was understood, and the model is opened as any stranger's is.
"""

import hashlib
import secrets
import shutil
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core import files, room
from core.data.store import TableStore
from core.errors import UserError
from core.models import parts
from core.models.loading import check_folder, tensor_shapes
from core.publishing.carried import Report, carried_events, carried_spec, parsed
from core.publishing.carrying import FORMAT, MANIFEST, VERSION
from core.runs import history
from core.runs.store import RunRecord, RunStore
from core.settings import MEBIBYTE, Settings
from core.spec import TrainSpec
from core.tasks.base import find

_MOST_TEXT = {
    MANIFEST: MEBIBYTE,
    "run.json": MEBIBYTE,
    "spec.json": MEBIBYTE,
    "report.json": 16 * MEBIBYTE,
    "events.jsonl": 32 * MEBIBYTE,
}
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
_NEEDED = ("spec.json", "report.json", "events.jsonl", "run.json")
# Of a model's files these are read by the page itself, others only by processes that can be ended.
_READ_HERE = ("config.json", "generation_config.json", "tokenizer_config.json", "model.safetensors.index.json")
_MOST_READ_HERE = 8 * MEBIBYTE
_MOST_HEADER = 8 * MEBIBYTE
_MOST_ENTRIES, _MOST_DIRECTORY = 200, 2**16
_END, _END_BYTES, _LOCATOR_BYTES = "<4s4H2IH", 22, 20
_CHUNK = MEBIBYTE
_PATIENCE = 60.0
_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValidationError, ValueError, KeyError,
    TypeError, struct.error,
)  # fmt: skip


class _Told(BaseModel):
    """What `run.json` of a file says that is taken over; the owner, the state and all else are not."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)
    name: str = ""
    note: str = ""
    created: float = 0.0


class _Listed(BaseModel):
    """A file as the manifest lists it."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="ignore")
    format: str
    version: int
    files: dict[str, _Listed]


def take_in(path: Path, owner: str, runs: RunStore, tables: TableStore, settings: Settings) -> RunRecord:
    """A run of the owner from such a file, whole or not at all.

    Raises:
        UserError: `run_file_unreadable`, `run_file_foreign` (something in it belongs to no run), `run_file_newer`,
            `disk_full`, `quota_full`, `too_busy`, and what `core.models.loading.check_folder` raises.
    """
    turns = settings.home / "turns"
    turns.mkdir(parents=True, exist_ok=True)
    try:
        # One at a time: two that come at once cannot pass the quota together.
        with FileLock(turns / "taking-in.lock", timeout=_PATIENCE), _understood():
            for left_over in runs.root.glob(".taken-*"):
                shutil.rmtree(left_over, ignore_errors=True)
            _check_end(path)
            with zipfile.ZipFile(path) as opened:
                found = _contents(opened)
                _check_room(sum(info.file_size for info in found.values()), owner, runs, tables, settings)
                return _kept(opened, found, owner, runs)
    except Timeout as error:
        raise UserError("too_busy") from error


@contextmanager
def _understood() -> Iterator[None]:
    """Turn whatever is wrong with a stranger's file into one error."""
    try:
        with files.disk_full_is_a_user_error():
            yield
    except _UNREADABLE as error:
        raise UserError("run_file_unreadable") from error


def _check_end(path: Path) -> None:
    """Refuse a zip whose directory is long before it is read: each of its entries takes memory.

    Source: PKWARE APPNOTE 6.3, sections 4.3.15 (locator of a 64-bit end) and 4.3.16 (end).

    Raises:
        ValueError: as `_understood` expects.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _END_BYTES - _LOCATOR_BYTES))
        last = file.read()
    mark, _, _, _, count, length, _, comment = struct.unpack(_END, last[-_END_BYTES:])
    if mark != b"PK\5\6" or comment or last.startswith(b"PK\6\7"):
        raise ValueError("no plain end")
    if count > _MOST_ENTRIES or length > _MOST_DIRECTORY:
        raise ValueError("too many entries")


def _contents(opened: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The entries by name, without the folder around them and the extra files that a Mac adds when it packs again."""
    infos = [info for info in opened.infolist() if not info.is_dir()]
    names = [info for info in infos if not _added_by_a_mac(info.filename)]
    around = next((i.filename.removesuffix(MANIFEST) for i in names if i.filename.endswith(MANIFEST)), "")
    found: dict[str, zipfile.ZipInfo] = {}
    for info in names:
        name = info.filename.removeprefix(around)
        if not _belongs(name) or name in found or stat.S_ISLNK(info.external_attr >> 16):
            raise UserError("run_file_foreign", name=history.one_line(info.filename))
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("packed in another way")
        if info.file_size > _MOST_TEXT.get(name, info.file_size):
            raise ValueError("too long")
        found[name] = info
    return found


def _added_by_a_mac(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1] == ".DS_Store"


def _belongs(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    if folder == "model":
        return parts.is_part(file)
    return file in _ADAPTER if folder == "adapter" else name in _MOST_TEXT


def _check_room(size: int, owner: str, runs: RunStore, tables: TableStore, settings: Settings) -> None:
    room.check(settings, runs.root, size, history.used_bytes(runs, owner) + tables.used_bytes(owner))


def _kept(opened: zipfile.ZipFile, found: dict[str, zipfile.ZipInfo], owner: str, runs: RunStore) -> RunRecord:
    """Write everything beside its place, look at it there, and put it into its place in one step."""
    listed = _listed(opened, found)
    new_id = secrets.token_hex(16)
    staged = runs.root / f".taken-{new_id}"
    staged.mkdir()
    try:
        for name, info in found.items():
            if name != MANIFEST:
                _unpack(opened, info, listed[name], staged / name)
        record = _understand(staged, new_id, owner)
        files.write_json(staged / "run.json", asdict(record))
        files.sync(staged)
        staged.rename(runs.root / new_id)
        files.sync(runs.root)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return record


def _listed(opened: zipfile.ZipFile, found: dict[str, zipfile.ZipInfo]) -> dict[str, _Listed]:
    with opened.open(found[MANIFEST]) as file:
        manifest = _Manifest.model_validate(parsed(file.read(), _MOST_TEXT[MANIFEST]))
    if manifest.format != FORMAT:
        raise ValueError("another format")
    if manifest.version > VERSION:
        raise UserError("run_file_newer")
    if {*manifest.files, MANIFEST} != found.keys() or not manifest.files.keys() >= {*_NEEDED}:
        raise ValueError("other files than listed")
    return manifest.files


def _unpack(opened: zipfile.ZipFile, info: zipfile.ZipInfo, listed: _Listed, target: Path) -> None:
    """Write an entry; never more than it was said to have."""
    target.parent.mkdir(exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with opened.open(info) as source, target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > info.file_size:
                raise ValueError("longer than said")
            digest.update(chunk)
            file.write(chunk)
    if size != listed.bytes or digest.hexdigest() != listed.sha256:
        raise ValueError("not what the manifest lists")
    files.sync(target)


def _understand(folder: Path, run_id: str, owner: str) -> RunRecord:
    """Write the parts anew from what could be understood of them.

    Returns:
        The record of the run, which is not written yet.
    """

    def read(name: str) -> Any:
        return parsed((folder / name).read_bytes(), _MOST_TEXT[name])

    spec, told = carried_spec(TrainSpec.model_validate(read("spec.json"))), _Told.model_validate(read("run.json"))
    report = Report.model_validate(read("report.json"))
    if report.task != spec.task or spec.method not in find(spec.task).methods:
        raise ValueError("parts of different runs")
    _check_model(folder / "model", history.one_line(told.name))
    kept = report.as_dict(spec)
    files.write_bytes(folder / "spec.json", spec.model_dump_json(indent=1).encode())
    files.write_json(folder / "report.json", kept)
    with (folder / "events.jsonl").open("rb") as lines:
        files.write_bytes(folder / "events.jsonl", b"".join(carried_events(lines)))
    now = time.time()
    return RunRecord(
        id=run_id,
        owner=owner,
        state="STOPPED" if report.stopped else "FINISHED",
        attempt=1,
        created=told.created if 0 < told.created < now else now,
        changed=now,
        name=history.one_line(told.name),
        task=spec.task,
        has_result=True,
        headline={name: report.metrics[name] for name in kept["headline"]},
        note=history.several_lines(told.note),
    )


def _check_model(folder: Path, name: str) -> None:
    """Refuse a model that brings code, or whose descriptions would take much memory to read.

    Raises:
        UserError: as `core.models.loading.check_folder`.
    """
    for part in (*(folder / name for name in _READ_HERE), folder.parent / "adapter" / _ADAPTER[0]):
        if part.is_file() and not isinstance(parsed(part.read_bytes(), _MOST_READ_HERE), dict):
            raise ValueError("a description of another kind")
    for weights in [*folder.glob("*.safetensors"), *folder.parent.glob("adapter/*.safetensors")]:
        with weights.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _MOST_HEADER:
                raise ValueError("a header of that length")
            parsed(file.read(length), _MOST_HEADER)
    check_folder(folder, name)
    tensor_shapes(folder)
