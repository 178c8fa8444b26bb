"""Gzip files that hold one file of another kind, such as `reviews.csv.gz`."""

import gzip
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from core.data.building import Parsed
from core.data.options import ReadOptions
from core.errors import UserError
from core.files import disk_full_is_a_user_error
from core.settings import MEBIBYTE, Limits

_MAGIC = b"\x1f\x8b"
# A file in an archive in an archive; deeper is no way to hand in a table.
_CONTAINERS = 2


def sniff(path: Path) -> bool:
    """Whether the file begins as gzip does."""
    with path.open("rb") as file:
        return file.read(2) == _MAGIC


def parse(path: Path, limits: Limits, options: ReadOptions) -> Parsed:
    """Unpack into a temporary file, within `limits.file_bytes`, and read that.

    Raises:
        UserError: `file_damaged`, `file_unpacks_too_large`, `file_not_a_table`, and what the inner reader raises.
    """
    return open_container(path, limits, options, depth=1)


def open_container(path: Path, limits: Limits, options: ReadOptions, depth: int) -> Parsed:
    """As `parse`, as the `depth`-th container around the table, from 1."""
    with scratch() as (file, unpacked):
        try:
            with gzip.open(path) as packed:
                copy(packed, file, limits)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError("file_damaged") from error
        parsed = parse_inside(unpacked, limits, options, depth)
    parsed.facts["container"] = "gzip"
    return parsed


def parse_inside(path: Path, limits: Limits, options: ReadOptions, depth: int) -> Parsed:
    """The table in a file that came out of `depth` containers.

    Raises:
        UserError: `file_not_a_table` where the containers nest too deep, and what `parse_any` raises.
    """
    from core.data.formats import archive, excel, parse_any

    if sniff(path):
        if depth >= _CONTAINERS:
            raise UserError("file_not_a_table", kind="GZIP")
        return open_container(path, limits, options, depth + 1)
    if archive.sniff(path) and not excel.sniff(path):
        if depth >= _CONTAINERS:
            raise UserError("file_not_a_table", kind="ZIP")
        return archive.open_container(path, limits, options, depth + 1)
    return parse_any(path, limits, options)


def copy(source: IO[bytes] | gzip.GzipFile, target: IO[bytes], limits: Limits) -> None:
    """Copy what is unpacked, counting what really comes.

    Raises:
        UserError: `file_unpacks_too_large`, `disk_full`.
    """
    total = 0
    with disk_full_is_a_user_error():
        while chunk := source.read(MEBIBYTE):
            total += len(chunk)
            if total > limits.file_bytes:
                raise UserError("file_unpacks_too_large", limit_mb=limits.file_bytes // MEBIBYTE)
            target.write(chunk)
        target.flush()


@contextmanager
def scratch() -> Iterator[tuple[IO[bytes], Path]]:
    """A temporary file to write to, and a path to read it by.

    On Linux it has no name in any folder, so that nothing stays even where this process is killed.
    """
    with tempfile.TemporaryFile() as file:
        path = Path(f"/proc/self/fd/{file.fileno()}")
        if path.exists():
            yield file, path
            return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "unpacked"
        with path.open("wb") as file:
            yield file, path
