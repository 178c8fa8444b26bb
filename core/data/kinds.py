"""What a file is by its content, whatever its name says: refuses what holds no table that we read."""

from collections.abc import Collection
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
    (b"BZh", "BZIP2"),
    (b"\xfd7zXZ\x00", "XZ"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"ARROW1", "Arrow"),
    (b"SQLite format 3\x00", "SQLite"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"\x7fELF", "ELF"),
    (b"ID3", "MP3"),
    (b"OggS", "OGG"),
    (b"fLaC", "FLAC"),
)
_OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_TAR_PLACE = 257
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\x00\x00\xfe\xff")
# Control characters that no text uses; NUL is left to decoding, since UTF-16 and damaged exports have it.
_NOT_TEXT = bytes(c for c in range(1, 32) if c not in (7, 8, 9, 10, 11, 12, 13, 26, 27, 28, 29, 30, 31)) + b"\x7f"
# Documents that are ZIP archives, by a file inside. Whole names: a class folder may be called "word" or "xl".
_WORKBOOKS = ("xl/workbook.bin", "xl/workbook.xml")
_DOCUMENTS = {
    "word/document.xml": "Word",
    "ppt/presentation.xml": "PowerPoint",
    "Index/Document.iwa": "Numbers",
    "mimetype": "OpenDocument",
}


def refuse_other_kinds(path: Path) -> None:
    """Raise for a file whose first bytes say that it is no text with rows and columns.

    Kinds that have a reader of their own (`core.data.formats`) are asked for before.

    Raises:
        UserError: `file_is_excel` (old or encrypted workbooks), `file_not_a_table` with the kind's name, or
            `file_is_binary`.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(_OLE2):
        raise UserError("file_is_excel")
    kind = magic_kind(head) or _markup(head)
    if kind:
        raise UserError("file_not_a_table", kind=kind)
    if is_binary(head):
        raise UserError("file_is_binary")


def refuse_documents(names: Collection[str]) -> None:
    """Raise for a ZIP archive that is a document of some program, by the names inside.

    Raises:
        UserError: `file_is_excel` (workbooks that are no .xlsx), `file_not_a_table`.
    """
    if any(name in names for name in _WORKBOOKS):
        raise UserError("file_is_excel")
    kind = next((kind for name, kind in _DOCUMENTS.items() if name in names), None)
    if kind:
        raise UserError("file_not_a_table", kind=kind)


def magic_kind(head: bytes) -> str | None:
    """The kind that the first bytes name, None if none does."""
    named = next((name for magic, name in _MAGIC if head.startswith(magic)), None)
    return named or _container(head)


def is_binary(head: bytes) -> bool:
    """Whether the first bytes hold control characters that no text has."""
    if head.startswith(_BYTE_ORDER_MARKS):
        return False
    odd = len(head) - len(head.translate(None, _NOT_TEXT))
    return odd > max(4, len(head) // 50)


def _container(head: bytes) -> str | None:
    if head[:4] == b"RIFF":
        return {b"WEBP": "WebP", b"WAVE": "WAV", b"AVI ": "AVI"}.get(head[8:12], "RIFF")
    if head[4:8] == b"ftyp":
        return "HEIC" if head[8:12] in (b"heic", b"heix", b"mif1") else "MP4"
    # "BM" and "MZ" may also begin a column's name: ask for the zero bytes that follow them in such files.
    if head[:2] == b"BM" and head[6:10] == b"\x00\x00\x00\x00":
        return "BMP"
    if head[_TAR_PLACE : _TAR_PLACE + 5] == b"ustar" and b"\x00" in head[:_TAR_PLACE]:
        return "TAR"
    return "EXE" if head[:2] == b"MZ" and b"\x00\x00" in head[:64] else None


def _markup(head: bytes) -> str | None:
    lowered = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:64].lower()
    if lowered.startswith((b"<!doctype html", b"<html", b"<table")):
        return "HTML"
    return "XML" if lowered.startswith((b"<?xml", b"<svg")) else None
