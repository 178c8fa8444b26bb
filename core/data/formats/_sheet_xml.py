"""The two large parts of a workbook, streamed: its shared texts, and the cells of a sheet.

openpyxl builds a tree of each row, which takes several times as long as expat's handlers. As defusedxml does, a
document that declares a type, and with it could declare entities, is refused. The elements are those of ECMA-376, part
1, 18.3 and 18.4.
"""

import datetime
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO
from xml.parsers import expat

from core.data.formats._sheet_layout import Row
from core.errors import UserError
from core.settings import MEBIBYTE, Limits

# A sheet of Excel ends here; numbers beyond come from nobody's workbook.
_ROWS = 1_048_576
_COLUMNS = 16_384
_PIECE = 64 * 1024
# How Excel writes control characters, `_x000D_` for the carriage return, and an underscore that would look like one.
_ESCAPED = re.compile(r"_x00(0[0-9A-Fa-f]|1[0-9A-Fa-f]|5[Ff])_")
_WHOLE_FLOATS = 1e15


@dataclass
class Cells:
    """What the values of cells refer to, and what was noticed while reading them.

    Attributes:
        texts: shared texts.
        date_styles: styles that show a number as a date or time.
        duration_styles: those among them that show a length of time.
        epoch: the day that is number 0.
        without_value: rows with a formula that was saved without its value.
    """

    texts: list[str]
    date_styles: set[int]
    duration_styles: set[int]
    epoch: datetime.datetime
    without_value: set[int] = field(default_factory=set)

    def text(self, kind: str, raw: str, style: str) -> str:
        """The text that stands for a value: `t`, `<v>` and `s` of its cell."""
        if kind == "s":
            return self.texts[int(raw)]
        if kind == "n":
            return self._number(raw, int(style)) if raw else ""
        if kind == "b":
            return "TRUE" if raw.strip() == "1" else "FALSE" if raw else ""
        if kind == "d":
            from openpyxl.utils.datetime import from_ISO8601  # type: ignore[import-untyped]

            return time_text(from_ISO8601(raw)) if raw else ""
        return unescaped(raw)

    def _number(self, raw: str, style: int) -> str:
        if style in self.date_styles:
            from openpyxl.utils.datetime import from_excel

            try:
                return time_text(from_excel(float(raw), self.epoch, timedelta=style in self.duration_styles))
            except (OverflowError, ValueError):
                pass  # outside of the calendar: the number says as much
        return raw if raw.isascii() and raw.isdigit() else number_text(float(raw))


def shared_texts(source: IO[bytes]) -> list[str]:
    """The texts that cells refer to by number, without their fonts and reading aids."""
    found: list[str] = []
    collect = _Text()

    def end(name: str) -> None:
        collect.end(name)
        if name == "si":
            found.append(unescaped(collect.take()))

    for _ in _pieces(source, lambda name, attributes: collect.start(name), end, collect.add):
        pass
    return found


def filled_rows(source: IO[bytes], cells: Cells, limits: Limits) -> Iterator[Row]:
    """The rows with anything in them. What a sheet says of its own extent is not believed.

    Raises:
        UserError: `file_damaged`, `file_cell_too_long`, `file_unpacks_too_large`.
    """
    rows = _Rows(cells)
    characters = 0
    for _ in _pieces(source, rows.start, rows.end, rows.text.add):
        for number, texts in rows.take():
            if not 0 < number <= _ROWS or max(texts) > _COLUMNS:
                raise UserError("file_damaged")
            if max(map(len, texts.values())) > limits.cell_characters:
                raise UserError("file_cell_too_long", limit=limits.cell_characters)
            # A long text that many cells share takes no room in the file.
            characters += sum(map(len, texts.values()))
            if characters > limits.file_bytes:
                raise UserError("file_unpacks_too_large", limit_mb=limits.file_bytes // MEBIBYTE)
            yield number, texts


class _Text:
    """Collects what is inside `v` and `t`, but not the `t` of a reading aid (`rPh`)."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._inside = self._aid = False

    def start(self, name: str) -> None:
        if name == "v" or name == "t":
            self._inside = not self._aid
        elif name == "rPh":
            self._aid = True

    def end(self, name: str) -> None:
        if name == "v" or name == "t":
            self._inside = False
        elif name == "rPh":
            self._aid = False

    def add(self, characters: str) -> None:
        if self._inside:
            self._parts.append(characters)

    def take(self) -> str:
        text = "".join(self._parts)
        self._parts.clear()
        return text


class _Rows:
    """Handlers of the elements `row`, `c` and what is in them; cells without a reference follow the one before."""

    def __init__(self, cells: Cells) -> None:
        self.text = _Text()
        self._cells = cells
        self._found: list[Row] = []
        self._columns: dict[str, int] = {}
        self._number = self._column = 0
        self._row: dict[int, str] = {}
        self._cell: dict[str, str] = {}
        self._formula = False

    def take(self) -> list[Row]:
        found, self._found = self._found, []
        return found

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "c":
            self._cell = attributes
            self._formula = False
            self._column = self._place(attributes["r"]) if "r" in attributes else self._column + 1
        elif name == "row":
            self._number = int(attributes["r"]) if "r" in attributes else self._number + 1
            self._column, self._row = 0, {}
        elif name == "f":
            self._formula = True
        else:
            self.text.start(name)

    def end(self, name: str) -> None:
        if name == "c":
            raw = self.text.take()
            if raw:
                text = self._cells.text(self._cell.get("t", "n"), raw, self._cell.get("s", "0"))
                if text and not text.isspace():
                    self._row[self._column] = text
            elif self._formula and self._cell.get("t") != "str":
                self._cells.without_value.add(self._number)
        elif name == "row":
            if self._row:
                self._found.append((self._number, self._row))
        else:
            self.text.end(name)

    def _place(self, reference: str) -> int:
        letters = reference.rstrip("0123456789")
        if letters not in self._columns:
            from openpyxl.utils import column_index_from_string  # type: ignore[import-untyped]

            self._columns[letters] = column_index_from_string(letters)
        return self._columns[letters]


def _pieces(
    source: IO[bytes],
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None],
    text: Callable[[str], None],
) -> Iterator[None]:
    """Parse piece by piece. Names lose the prefix that the document's first element has."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    skip = -1

    def started(name: str, attributes: dict[str, str]) -> None:
        nonlocal skip
        if skip < 0:
            skip = name.find(":") + 1
        start(name[skip:], attributes)

    def refuse(*_: object) -> None:
        raise UserError("file_damaged")

    parser.StartElementHandler = started
    parser.EndElementHandler = lambda name: end(name[skip:])
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    while piece := source.read(_PIECE):
        parser.Parse(piece, False)
        yield
    parser.Parse(b"", True)
    yield


def unescaped(text: str) -> str:
    """The text with its control characters, NUL taken out."""
    if "_x00" not in text:
        return text
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text).replace("\0", "")


def number_text(value: float) -> str:
    """A number as people write it: whole ones without ".0"."""
    return str(int(value)) if value.is_integer() and abs(value) < _WHOLE_FLOATS else repr(value)


def time_text(value: datetime.datetime | datetime.date | datetime.time | datetime.timedelta) -> str:
    """A date or time in ISO 8601; midnight is not said, since Excel stores days as that."""
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ")
    return str(value)
