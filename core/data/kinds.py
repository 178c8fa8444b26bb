"""What a file is by its content, whatever its name says: refuses what holds no table that we read."""

import json
import zipfile
from pathlib import Path

from core.errors import UserError

HEAD_BYTES = 8192

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"%PDF-", "PDF"),
    (b"{\\rtf", "RTF"),
    (b"\x1f\x8b", "GZIP"),
    (b"BZh", "BZIP2"),
    (b"\xfd7zXZ\x00", "XZ"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"PAR1", "Parquet"),
    (b"ARROW1", "Arrow"),
    (b"SQLite format 3\x00", "SQLite"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"\x7fELF", "ELF"),
    (b"ID3", "MP3"),
    (b"OggS", "OGG"),
    (b"fLaC", "FLAC"),
)
_OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\x00\x00\xfe\xff")
# Control characters that no text uses; NUL is left to decoding, since UTF-16 and damaged exports have it.
_NOT_TEXT = bytes(c for c in range(1, 32) if c not in (7, 8, 9, 10, 11, 12, 13, 26, 27, 28, 29, 30, 31)) + b"\x7f"


def refuse_other_kinds(path: Path) -> None:
    """Raise for a file whose first bytes say that it is no text with rows and columns.

    Raises:
        UserError: `file_is_excel`, `file_not_a_table` with the kind's name, or `file_is_binary`.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(_OLE2):
        raise UserError("file_is_excel")
    if head.startswith(b"PK\x03\x04"):
        raise _zip_error(path)
    kind = next((name for magic, name in _MAGIC if head.startswith(magic)), None) or _container(head) or _markup(head)
    if kind:
        raise UserError("file_not_a_table", kind=kind)
    if not head.startswith(_BYTE_ORDER_MARKS) and _is_binary(head):
        raise UserError("file_is_binary")


def _zip_error(path: Path) -> UserError:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[:1000]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return UserError("file_not_a_table", kind="ZIP")
    if any(name.startswith("xl/") for name in names):
        return UserError("file_is_excel")
    if any(name.startswith("word/") for name in names):
        return UserError("file_not_a_table", kind="Word")
    return UserError("file_not_a_table", kind="OpenDocument" if "mimetype" in names else "ZIP")


def _container(head: bytes) -> str | None:
    if head[:4] == b"RIFF":
        return {b"WEBP": "WebP", b"WAVE": "WAV", b"AVI ": "AVI"}.get(head[8:12], "RIFF")
    if head[4:8] == b"ftyp":
        return "HEIC" if head[8:12] in (b"heic", b"heix", b"mif1") else "MP4"
    # "BM" and "MZ" may also begin a column's name: ask for the zero bytes that follow them in such files.
    if head[:2] == b"BM" and head[6:10] == b"\x00\x00\x00\x00":
        return "BMP"
    return "EXE" if head[:2] == b"MZ" and b"\x00\x00" in head[:64] else None


def _markup(head: bytes) -> str | None:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    lowered = start[:64].lower()
    if lowered.startswith((b"<!doctype html", b"<html", b"<table")):
        return "HTML"
    if lowered.startswith((b"<?xml", b"<svg")):
        return "XML"
    if start[:1] in (b"{", b"["):
        return "JSON" if _is_json(start) else None
    return None


def _is_json(start: bytes) -> bool:
    """Whether it begins like a JSON document or JSON lines: `[{`, `{"key":` or a first line that parses."""
    squeezed = b"".join(start[:256].split())
    if squeezed.startswith((b"[{", b'{"')):
        return True
    try:
        return isinstance(json.loads(start.splitlines()[0]), list | dict)
    except (ValueError, RecursionError):
        return False


def _is_binary(head: bytes) -> bool:
    odd = len(head) - len(head.translate(None, _NOT_TEXT))
    return odd > max(4, len(head) // 50)
