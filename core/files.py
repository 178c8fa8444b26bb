"""Files that are whole or absent: staged beside their place, synced, renamed."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import UserError


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step, so that a reader or a power cut never sees half of it.

    Raises:
        UserError: `disk_full`.
    """
    staged = path.with_name(f".{path.name}.{os.getpid()}.part")
    with disk_full_is_a_user_error():
        try:
            with staged.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            staged.replace(path)
            sync(path.parent)
        finally:
            staged.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Replace `path` by `content` as indented JSON. See `write_bytes`."""
    write_bytes(path, (json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode())


def sync(path: Path) -> None:
    """Have the system write a file, or the list of a folder's files, to the disk before going on."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    opened = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def read_json(path: Path) -> Any:
    """The JSON in `path`."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def disk_full_is_a_user_error() -> Iterator[None]:
    """Turn the system's "no space" and "quota exceeded" into `UserError("disk_full")`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError("disk_full") from error
        raise


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_bytes(path: Path) -> int:
    """Size in bytes of all regular files below a folder."""
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file() and not f.is_symlink())
