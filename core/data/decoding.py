"""Which encoding a text file is in, and its lines decoded."""

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from core.data import legacy
from core.errors import UserError

# The choices for a person.
ENCODINGS: tuple[str, ...] = (
    "utf-8",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "gb18030",
    "big5hkscs",
    "cp932",
    "cp949",
    "cp1252",
    "latin-1",
    "mac_roman",
    "cp1250",
    "cp1251",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
)
# Names that are understood besides, and the codec for each: what Windows means by the name, which holds a few
# characters more than the standard.
_CODECS: dict[str, str] = {name.replace("_", "-"): name for name in ENCODINGS} | {
    "utf8": "utf-8",
    "utf-8-sig": "utf-8",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    "utf-32-le": "utf-32-le",
    "utf-32-be": "utf-32-be",
    "gbk": "gb18030",
    "gb2312": "gb18030",
    "cp936": "gb18030",
    "big5": "cp950",
    "cp950": "cp950",
    "big5-hkscs": "big5hkscs",
    "shift-jis": "cp932",
    "sjis": "cp932",
    "windows-31j": "cp932",
    "euc-kr": "cp949",
    "iso-8859-1": "latin-1",
    "latin1": "latin-1",
    "ascii": "utf-8",
    "macroman": "mac_roman",
    "macintosh": "mac_roman",
} | {f"windows-{page}": f"cp{page}" for page in range(1250, 1257)}  # fmt: skip
_BYTE_ORDER_MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Codec -> the smaller set within it that people know by name.
_KNOWN_AS = {"gb18030": "gbk", "cp950": "big5", "cp932": "shift_jis", "cp949": "euc_kr"}
_CHUNK = 2**20
_SAMPLE_BYTES = 32 * 1024
_HEAD_BYTES = 16 * 1024
_LONGEST_LINE = 8 * 2**20
# Latin to Arabic, Devanagari, Thai, Latin again, punctuation to arrows, Han and kana, Hangul, full width, emoji.
_USUAL_BLOCKS = (
    ("\u00a0", "\u06ff"), ("\u0900", "\u097f"), ("\u0e00", "\u0e7f"), ("\u1e00", "\u1eff"), ("\u2010", "\u21ff"),
    ("\u3000", "\u30ff"), ("\u3400", "\u9fff"), ("\uac00", "\ud7a3"), ("\ufe0f", "\ufe0f"), ("\uff01", "\uffe6"),
    ("\U0001f300", "\U0001faff"), ("\U00020000", "\U000323af"),
)  # fmt: skip
_USUAL_SHARE = 0.95
_CONTROLS = bytes(c for c in range(32) if c not in b"\t\r\n")


@dataclass(frozen=True)
class Encoding:
    """How to decode a file.

    Attributes:
        name: codec.
        errors: `strict`, or `replace` where the file is damaged.
        known_as: the name to show, where it is not the codec's.
        other: the encoding of the lines that are not in UTF-8, where two are mixed, as when exports are put together.
    """

    name: str
    errors: str = "strict"
    known_as: str = ""
    other: "Encoding | None" = None

    @property
    def shown(self) -> str:
        """The name for people."""
        return (self.known_as or self.name) + (f" + {self.other.shown}" if self.other else "")


def detect(path: Path) -> Encoding:
    """The encoding: byte order mark, UTF-16 or 32 without one, UTF-8 if that fits the whole file, else the best guess.

    Raises:
        UserError: `file_encoding_unknown`.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    for mark, name in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return fitted(path, Encoding(name))
    if wide := _wide_without_mark(head):
        return fitted(path, Encoding(wide))
    if _fits(path, "utf-8"):
        return Encoding("utf-8")
    lines = _sample(path)
    name, other = legacy.guess(lines)
    if name != "utf-8":
        return _known(fitted(path, Encoding(name)), _chunks(path))
    if not other:
        return Encoding("utf-8", "replace")
    older = [line for line, is_utf8 in lines if not is_utf8 and _are([line], other)]
    return Encoding("utf-8", "replace", other=_known(Encoding(other), older))


def chosen(path: Path, name: str) -> Encoding:
    """The encoding that a person asks for, one of `ENCODINGS`, of the other usual names, or as `Encoding.shown` says.

    Raises:
        UserError: `encoding_unknown`.
    """
    first, plus, second = name.partition(" + ")
    codec, other = (_CODECS.get(part.strip().lower().replace("_", "-")) for part in (first, second))
    if codec and not plus:
        return fitted(path, Encoding(codec, known_as=name.strip().lower()))
    if codec == "utf-8" and other in legacy.CODECS:
        return Encoding("utf-8", "replace", other=Encoding(other, known_as=second.strip().lower()))
    raise UserError("encoding_unknown", encoding=name[:40], known=", ".join(ENCODINGS))


def is_wide(path: Path) -> bool:
    """Whether it looks like UTF-16 or UTF-32 without a byte order mark."""
    with path.open("rb") as file:
        return _wide_without_mark(file.read(_HEAD_BYTES)) is not None


def fitted(path: Path, encoding: Encoding) -> Encoding:
    """The encoding as it is if the whole file is valid in it, else with `replace`."""
    return encoding if _fits(path, encoding.name) else replace(encoding, errors="replace")


class Lines:
    """The decoded lines of a file, with their ends, without byte order marks.

    Attributes:
        broken: lines so far with U+FFFD for what could not be decoded.
        mixed: lines so far that were in the other encoding.
    """

    def __init__(self, path: Path, encoding: Encoding) -> None:
        self.broken = self.mixed = 0
        self._path = path
        self._encoding = encoding

    def __iter__(self) -> Iterator[str]:
        lines = self._decoded()
        for line in chain([next(lines, "").lstrip("\ufeff")], lines):
            if "\ufffd" in line:
                self.broken += 1
            if line:
                yield line

    def _decoded(self) -> Iterator[str]:
        if self._encoding.other:
            for raw in raw_lines(self._path):
                line, other = legacy.decode_line(raw, self._encoding.other.name)
                self.mixed += other
                yield line
        else:
            with self._path.open(encoding=self._encoding.name, errors=self._encoding.errors, newline="") as file:
                yield from file


def raw_lines(path: Path) -> Iterator[bytes]:
    """Lines with their ends, of a file in an encoding that has ASCII's line feed and carriage return."""
    rest = b""
    for chunk in _chunks(path):
        lines = (rest + chunk).splitlines(keepends=True)
        # It may go on in the next chunk, if only with the line feed after its carriage return.
        rest = lines.pop() if len(lines[-1]) < _LONGEST_LINE else b""
        yield from lines
    if rest:
        yield rest


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _fits(path: Path, name: str) -> bool:
    return _are(_chunks(path), name)


def _are(chunks: Iterable[bytes], name: str) -> bool:
    decoder = codecs.getincrementaldecoder(name)()
    try:
        for chunk in chunks:
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return True


def _wide_without_mark(head: bytes) -> str | None:
    """UTF-16 or UTF-32 by what it makes of the bytes: nearly all usual characters, and line ends among them.

    Text has no zero byte in any other encoding. Chinese has few of them in UTF-16, but its line feeds, commas, blanks
    and digits do, and only in the right byte order.
    """
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if 0 not in head or (controls < len(head) / 5 and _is_utf8(head)):
        return None
    best, found = _USUAL_SHARE, None
    for name in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        unit = 4 if "32" in name else 2
        text = head[: len(head) // unit * unit].decode(name, "replace")
        if "\n" not in text and "\r" not in text:
            continue
        usual = sum(map(_is_usual, text)) / len(text)
        if usual > best:
            best, found = usual, name
    return found


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _is_usual(c: str) -> bool:
    if c.isascii():
        return c.isprintable() or c in "\t\r\n"
    return any(first <= c <= last for first, last in _USUAL_BLOCKS)


def _sample(path: Path) -> list[tuple[bytes, bool]]:
    """Lines that are not plain ASCII, since those say nothing, and whether they are UTF-8: enough of either kind."""
    found: list[tuple[bytes, bool]] = []
    sizes = {True: 0, False: 0}
    for line in raw_lines(path):
        if line.isascii():
            continue
        kind = _is_utf8(line)
        if sizes[kind] < _SAMPLE_BYTES:
            found.append((line[:_SAMPLE_BYTES], kind))
            sizes[kind] += len(line)
        elif sizes[False] >= _SAMPLE_BYTES:
            break
    return found


def _known(encoding: Encoding, chunks: Iterable[bytes]) -> Encoding:
    """Under the name of a smaller set, where the characters are all in that."""
    name = _KNOWN_AS.get(encoding.name)
    return replace(encoding, known_as=name) if name and _are(chunks, name) else encoding
