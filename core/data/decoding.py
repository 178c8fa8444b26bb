"""Which encoding a text file is in."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError

_CHUNK = 2**20
_SAMPLE_BYTES = 64 * 1024
_BYTE_ORDER_MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What people's spreadsheets write. Each is the widest of its family, so that the rarer characters are not lost.
_CANDIDATES = (
    "gb18030",
    "big5hkscs",
    "cp932",
    "cp949",
    "cp1252",
    "cp1250",
    "cp1251",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
)
# A damaged UTF-8 file has few wrong places among many right ones; a file in another encoding has hardly any right one.
_RIGHT_PER_WRONG = 10
_SHORT_SAMPLE = 40
# First bytes of the everyday characters of each double-byte encoding: GB 2312 level 1, Big5 level 1, JIS X 0208
# level 1, the 2,350 syllables of KS X 1001. Text read in the wrong one of them lands mostly outside.
_USUAL_LEAD_BYTES = {"gb18030": (0xB0, 0xD7), "big5hkscs": (0xA4, 0xC6), "cp932": (0x88, 0x97), "cp949": (0xB0, 0xC8)}
_PUNCTUATION = {
    "gb18030": (0xA1, 0xA3),
    "big5hkscs": (0xA1, 0xA2, 0xA3),
    "cp932": (0x81, 0x82, 0x83),
    "cp949": (0xA1, 0xA3),
}
# What Polish, Czech, Romanian or Croatian in cp1250 looks like when read as cp1252.
_CENTRAL_EUROPEAN = re.compile(r"[A-Za-z][šžŠŽ¿þðŸ¾¼]|[šžŠŽ][a-z]|[a-z][³¹º][a-z]|\sº[a-z]")


@dataclass(frozen=True)
class Encoding:
    """How to decode a file: a codec's name and, where it is damaged, `replace` instead of `strict`."""

    name: str
    errors: str = "strict"


def detect(path: Path) -> Encoding:
    """The encoding: byte order mark, else UTF-8 if that fits the whole file, else the best guess that fits it.

    Raises:
        UserError: `file_encoding_unknown`.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    for mark, name in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return Encoding(name, "strict" if _fits(path, name) else "replace")
    if (wide := _utf16_without_mark(head)) and _fits(path, wide):
        return Encoding(wide)
    if _fits(path, "utf-8"):
        return Encoding("utf-8")
    if _mostly_utf8(path):
        return Encoding("utf-8", "replace")
    for name in _guesses(path):
        if _fits(path, name):
            return Encoding(name)
    raise UserError("file_encoding_unknown")


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _fits(path: Path, name: str) -> bool:
    decoder = codecs.getincrementaldecoder(name)()
    try:
        for chunk in _chunks(path):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return True


def _utf16_without_mark(head: bytes) -> str | None:
    """UTF-16 of mostly Latin text has a zero in every other byte."""
    half = len(head) // 2
    if half >= 4 and head[1::2].count(0) > 0.4 * half and head[0::2].count(0) == 0:
        return "utf-16-le"
    if half >= 4 and head[0::2].count(0) > 0.4 * half and head[1::2].count(0) == 0:
        return "utf-16-be"
    return None


def _mostly_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    wide = wrong = 0
    for chunk in _chunks(path):
        text = decoder.decode(chunk)
        wide += len(text) - len(text.encode("ascii", "ignore"))
        wrong += text.count("\ufffd")
    return wide - wrong >= _RIGHT_PER_WRONG * (wrong or 1)


def _guesses(path: Path) -> list[str]:
    """Candidates, likeliest first: `charset_normalizer`'s opinion, corrected where short files mislead it."""
    from charset_normalizer import from_bytes

    sample = _sample(path)
    matches = from_bytes(sample, cp_isolation=list(_CANDIDATES), enable_fallback=False)
    names = [match.encoding for match in matches]
    usual = {name: _usual_share(sample, name) for name in names if name in _USUAL_LEAD_BYTES}
    if names and names[0] in usual:
        best = max(usual.values())
        names = [name for name in names if usual.get(name, 0.0) >= 0.9 * best]
        if len(sample) < _SHORT_SAMPLE:
            names.sort(key=_CANDIDATES.index)
    elif "cp1250" in names[:1] and not _CENTRAL_EUROPEAN.search(sample.decode("cp1252", "replace")):
        names.insert(0, "cp1252")
    return names


def _sample(path: Path) -> bytes:
    """Lines that are not plain ASCII, up to 64 KiB: the others say nothing about the encoding."""
    sample = bytearray()
    with path.open("rb") as file:
        for line in file:
            if not line.isascii():
                sample += line[:_SAMPLE_BYTES]
            if len(sample) >= _SAMPLE_BYTES:
                break
    return bytes(sample)


def _usual_share(sample: bytes, name: str) -> float:
    """Share of the wide characters that lie in the encoding's block of everyday ones."""
    low, high = _USUAL_LEAD_BYTES[name]
    trail = 0x40 if name in ("cp932", "big5hkscs") else 0xA1
    wide = [c.encode(name) for c in sample.decode(name, "ignore") if not c.isascii()]
    usual = [b for b in wide if len(b) == 2 and b[1] >= trail and (low <= b[0] <= high or b[0] in _PUNCTUATION[name])]
    return len(usual) / len(wide) if wide else 0.0
