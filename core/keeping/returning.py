"""Runs that are kept on the Hub come back after a restart that forgot everything.

The repository is the person's own, but whoever may write to it could have put anything there. So nothing in it is
trusted: paths come from a list of ours, sizes are bounded before the first byte, every digest is checked, the table is
read by a child with limits, and no choice may lead to a folder of this machine. A state's pickles are opened by the
worker alone, with `weights_only`, which runs no code; a key to sign them with would have to outlast the restart, which
nothing here does.
"""

import hashlib
import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
from filelock import FileLock

from core import files, room
from core.data.store import TableStore
from core.errors import UserError
from core.hub import answers, downloading, repos
from core.hub.repos import MODELS, RepoInfo, Sibling
from core.keeping import arriving, layout
from core.keeping.layout import Kept
from core.runs import history
from core.runs.store import RunRecord, RunStore
from core.settings import Settings

_MOST_LISTED = 100
_MOST_FILES = 200
_AT_ONCE = 8
_LONGEST_LIST_SECONDS = 15.0


def kept(settings: Settings, token: str) -> list[Kept]:
    """The runs that are kept in the person's repository, newest first; what cannot be read is passed over.

    Raises:
        UserError: `token_invalid`, `hub_unreachable`.
    """
    info = _repository(settings, token)
    if info is None:
        return []
    paths = [path for path, size in _records(info) if size <= layout.MOST_RECORD_BYTES][:_MOST_LISTED]

    def read(path: str) -> Kept | None:
        try:
            content = answers.get(settings, f"/{info.id}/resolve/{info.sha}/{path}", token)
            found = Kept.model_validate_json(content)
        except (answers.RefusedError, httpx2.HTTPError, ValueError):
            return None
        return found if path.startswith(layout.folder(found.id)) else None

    def read_all() -> list[Kept]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return [one for one in pool.map(read, paths) if one]

    found = answers.within(_LONGEST_LIST_SECONDS, read_all)
    return sorted(found, key=lambda one: one.saved, reverse=True)


def _records(info: RepoInfo) -> Iterator[tuple[str, int]]:
    for sibling in info.siblings:
        place, _, name = sibling.rfilename.rpartition("/")
        if name == layout.RECORD and layout.is_run(place.removeprefix("runs/")):
            yield sibling.rfilename, sibling.size or 0


def _repository(settings: Settings, token: str) -> RepoInfo | None:
    """What the Hub tells of the person's repository; None where there is none, or one that we did not make."""
    name = f"{answers.whoami(settings, token).name}/{layout.NAME}"
    try:
        info = answers.within(settings.limits.hub_timeout, lambda: repos.ask(MODELS, name, settings, token))
    except UserError as error:
        if error.code in (MODELS.missing, MODELS.gated):
            return None
        raise
    tags = (info.cardData or {}).get("tags")
    return info if isinstance(tags, list) and layout.TAG in tags else None


def restore(
    settings: Settings,
    runs: RunStore,
    owner: str,
    token: str,
    run_id: str,
    on_progress: downloading.Progress | None = None,
) -> RunRecord:
    """Bring a kept run back: its state, its table, and what it needs to go on. It gets its id again where that is free.

    A run that had not ended is INTERRUPTED then and can be gone on with.

    Args:
        on_progress: called with (bytes so far, bytes in all). An exception that it raises ends the download.

    Raises:
        UserError: `kept_unknown`, `kept_damaged`, `disk_full`, `quota_full`, `download_failed`, `too_busy`,
            `token_invalid`, `hub_unreachable`, and what `core.models.fetching` raises where the model
            that it goes on from has to be fetched too.
    """
    info = _repository(settings, token)
    wanted = _wanted(info, run_id, settings) if info else None
    if wanted is None:
        raise UserError("kept_unknown")
    owned = settings.home / "keeping" / hashlib.sha256(owner.encode()).hexdigest()[:16]
    with files.disk_full_is_a_user_error():
        owned.mkdir(parents=True, exist_ok=True)
        with FileLock(owned / ".lock"):
            _check_room(settings, runs, owner, wanted.bytes)
            place = owned / secrets.token_hex(8)
            try:
                downloading.bring(wanted, place, settings, token, on_progress)
                _put_in_place(wanted, place, run_id)
                return arriving.take_in(place / run_id, settings, runs, owner, token)
            finally:
                shutil.rmtree(place, ignore_errors=True)


def _wanted(info: RepoInfo, run_id: str, settings: Settings) -> downloading.Wanted | None:
    """The files of a run, numbered: no name from elsewhere becomes a path here.

    Raises:
        UserError: `kept_damaged`, where something lies there that may not.
    """
    mine = layout.folder(run_id)
    found = [s for s in info.siblings if layout.is_run(run_id) and s.rfilename.startswith(mine)]
    if not found:
        return None
    sound = len(found) <= _MOST_FILES and all(_is_sound(s, mine, settings.limits.file_bytes) for s in found)
    if not sound or layout.RECORD not in {s.rfilename.removeprefix(mine) for s in found}:
        raise UserError("kept_damaged")
    described = tuple(
        downloading.File(s.rfilename, s.size or 0, s.digest, f"{number:05}") for number, s in enumerate(found)
    )
    return downloading.Wanted(MODELS, info.id, info.sha, described)


def _is_sound(file: Sibling, mine: str, table_bytes: int) -> bool:
    path = file.rfilename.removeprefix(mine)
    if file.size is None or not file.digest or not layout.may_be_kept(path):
        return False
    most = layout.most_bytes(path, table_bytes)
    return most is None or file.size <= most


def _check_room(settings: Settings, runs: RunStore, owner: str, size: int) -> None:
    used = history.used_bytes(runs, owner) + TableStore(settings).used_bytes(owner)
    room.check(settings, settings.home, size, used)


def _put_in_place(wanted: downloading.Wanted, place: Path, run_id: str) -> None:
    """From numbers to paths, all of which are known to be ours."""
    for file in wanted.files:
        target = place / run_id / file.path.removeprefix(layout.folder(run_id))
        target.parent.mkdir(parents=True, exist_ok=True)
        (place / file.name).rename(target)
