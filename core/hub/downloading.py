"""Files of a repository come to a folder of ours: brought by a child, checked, whole or absent."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from core import files, processes
from core.errors import UserError
from core.hub.repos import Kind
from core.settings import MEBIBYTE, Settings

_SILENCE = 60.0

Progress = Callable[[int, int], None]


class File(NamedTuple):
    """A file to bring.

    Attributes:
        path: where it lies in the repository.
        size: in bytes.
        digest: `sha256:…`, `git:…` (SHA-1 of a git blob) or empty where it is not known.
        name: what it will be called in our folder.
    """

    path: str
    size: int
    digest: str
    name: str


@dataclass(frozen=True)
class Wanted:
    """Files of one repository at one commit (`revision`, 40 hex digits)."""

    kind: Kind
    id: str
    revision: str
    files: tuple[File, ...]

    @property
    def bytes(self) -> int:
        """What will be downloaded."""
        return sum(file.size for file in self.files)


def bring(
    wanted: Wanted,
    place: Path,
    settings: Settings,
    token: str | None,
    on_progress: Progress | None = None,
    record: dict[str, Any] | None = None,
) -> None:
    """Download into the folder `place`, which is there afterwards with every file, or not at all.

    The caller holds a lock on the folder around it: what an interrupted download left there is cleared away.

    Args:
        on_progress: called with (bytes so far, bytes in all). An exception that it raises ends the download.
        record: kept as JSON beside the folder.

    Raises:
        UserError: `download_failed`, `disk_full`, `token_invalid`, and the kind's `gated`.
    """
    for left_over in place.parent.glob(".part-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    staged = place.parent / f".part-{secrets.token_hex(8)}"
    staged.mkdir()
    request = {
        "token": token,
        "endpoint": settings.hub_endpoint,
        "kind": wanted.kind.api,
        "id": wanted.id,
        "revision": wanted.revision,
        "files": [(file.path, file.size, file.name) for file in wanted.files],
        "folder": str(staged),
        "timeout": settings.limits.hub_timeout,
    }

    def hear(message: dict[str, Any]) -> None:
        if "error" in message:
            raise UserError(message["error"], **message.get("facts", {}))
        if on_progress:
            on_progress(min(message["bytes"], wanted.bytes), wanted.bytes)

    try:
        processes.converse(settings, "core.hub.fetcher", request, hear, silence=_SILENCE)
        for file in wanted.files:
            _check_file(staged / file.name, file, wanted.id)
        if record is not None:
            files.write_json(place.with_suffix(".json"), record)
        os.replace(staged, place)  # noqa: PTH105 (a folder, in one step)
    except (TimeoutError, ChildProcessError) as error:
        raise UserError("download_failed", name=wanted.id) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _check_file(arrived: Path, file: File, repo: str) -> None:
    """Refuse a file that is not the one that the Hub described."""
    kind, _, expected = file.digest.partition(":")
    whole = arrived.is_file() and arrived.stat().st_size == file.size
    if not whole or (expected and _sum(arrived, kind) != expected):
        raise UserError("download_failed", name=repo)


def _sum(file: Path, kind: str) -> str:
    if kind == "sha256":
        return files.sha256(file)
    digest = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
    with file.open("rb") as content:
        while chunk := content.read(MEBIBYTE):
            digest.update(chunk)
    return digest.hexdigest()
