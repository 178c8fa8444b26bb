"""JSON taken piece by piece, so that a document of any size fits in memory.

The decoding itself is the standard library's. ijson 3.6 was measured for this and left: a number of more than 4,300
digits ends its process, half of a surrogate pair becomes a question mark, and NaN, which pandas writes, is refused.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.data.decoding import Encoding, Lines
from core.data.formats._pieces import Pieces, mixed_notes
from core.errors import UserError
from core.settings import Limits

_CHUNK = 2**20
_BLANKS = " \t\n\r\ufeff"
_VISIBLE = re.compile(f"[^{_BLANKS}]")
_COMMA = re.compile(f"[{_BLANKS}]*,[{_BLANKS}]*")
# How far before the end of what was read an error may lie and still come from reading on.
_TOKEN = 64
# The longest way of writing a character: \uXXXX.
_ESCAPE = 6


class Number(str):
    """A number as the file writes it: 1.10 stays 1.10."""

    __slots__ = ()


def _constant(name: str) -> str | None:
    return None if name == "NaN" else name


# Not strict: line breaks inside strings are wrong, and common.
DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=_constant, strict=False)


def depth_of(value: Any) -> int:
    """How many lists and objects are inside each other, itself included."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return depth


def too_deep(limits: Limits) -> UserError:
    """The error for nesting that only a hostile file has."""
    return UserError("json_too_deep", limit=limits.depth)


class Source:
    """The text of a document, and the place where reading stands.

    Attributes:
        nul_lines: lines from which NUL was taken out.
    """

    def __init__(self, path: Path, encoding: Encoding, limits: Limits) -> None:
        self.nul_lines = 0
        self._file = Pieces(path, encoding)
        self._pieces = iter(self._file)
        self._limits = limits
        self._text = ""
        self._at = 0
        self._line = 1

    @property
    def notes(self) -> list[dict[str, Any]]:
        """What was mended in the text so far."""
        return _nul_notes(self.nul_lines) + self._file.notes

    def peek(self) -> str:
        """The next visible character, which stays; empty at the end."""
        while not (found := _VISIBLE.search(self._text, self._at)):
            self._at = len(self._text)
            if not self._more():
                return ""
        self._at = found.start()
        return found.group()

    def take(self, expected: str) -> None:
        """Pass over a visible character.

        Raises:
            UserError: `json_damaged` if it is another one.
        """
        if self.peek() != expected:
            raise self._damaged(self._at)
        self._at += 1

    def value(self, depth: int = 0) -> Any:
        """The next value, decoded; `depth` is how many lists and objects are around it.

        Raises:
            UserError: `json_damaged`, `json_too_deep`, `file_cell_too_long`.
        """
        if self._text[self._at : self._at + 1] in _BLANKS:
            self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._is_final(error) or not self._more():
                    raise self._damaged(error.pos) from error
            except RecursionError as error:
                raise too_deep(self._limits) from error
            else:
                # A number at the very end of what was read may go on.
                if end < len(self._text) or not self._more():
                    if isinstance(value, dict | list):
                        self._check_depth(value, depth, end)
                    self._at = end
                    return value

    def members(self, depth: int) -> Iterator[str]:
        """The keys of the next object. Whoever asks for the next one has taken the value of the last."""
        self._open("{", depth)
        more = self.peek() != "}"
        while more:
            if self.peek() != '"':
                raise self._damaged(self._at)
            key: str = self.value()
            self.take(":")
            yield key
            more = self._goes_on("}")
        self.take("}")

    def elements(self, depth: int) -> Iterator[Any]:
        """The values in the next list, each decoded."""
        self._open("[", depth)
        more = self.peek() != "]"
        while more:
            yield self.value(depth + 1)
            # The quick way first: lists of short values have many commas.
            comma = _COMMA.match(self._text, self._at)
            if comma and comma.end() < len(self._text):
                self._at = comma.end()
            else:
                more = self._goes_on("]")
        self.take("]")

    def skip(self, depth: int) -> None:
        """Pass over the next value without holding more than an element of it."""
        kind = self.peek()
        if kind == "{":
            for _ in self.members(depth):
                self.skip(depth + 1)
        elif kind == "[":
            for _ in self.elements(depth):
                pass
        else:
            self.value(depth)

    def _open(self, bracket: str, depth: int) -> None:
        if depth >= self._limits.depth:
            raise too_deep(self._limits)
        self.take(bracket)

    def _goes_on(self, closing: str) -> bool:
        if self.peek() == closing:
            return False
        self.take(",")
        return True

    def _more(self) -> bool:
        """Read on: as much again as is not used yet, so that a long value is not decoded too often."""
        rest = self._text[self._at :]
        wanted, pieces = max(_CHUNK, len(rest)), []
        while wanted > 0 and (piece := next(self._pieces, "")):
            if "\0" in piece:
                self.nul_lines += sum("\0" in line for line in piece.split("\n"))
                piece = piece.replace("\0", "")
            pieces.append(piece)
            wanted -= len(piece) + 1
        if not pieces:
            return False
        self._line += self._text.count("\n", 0, self._at)
        self._text = "".join([rest, *pieces])
        self._at = 0
        return True

    def _is_final(self, error: json.JSONDecodeError) -> bool:
        """Whether no further text can mend it."""
        left = len(self._text) - error.pos
        if not error.msg.startswith("Unterminated string"):
            return left > _TOKEN
        if left > _ESCAPE * self._limits.cell_characters + _TOKEN:
            raise UserError("file_cell_too_long", limit=self._limits.cell_characters) from error
        return False

    def _check_depth(self, value: Any, depth: int, end: int) -> None:
        room = self._limits.depth - depth
        # Counting brackets is quick, and in most values there are too few of them to nest too deep.
        brackets = self._text.count("[", self._at, end) + self._text.count("{", self._at, end)
        if brackets > room and depth_of(value) > room:
            raise too_deep(self._limits)

    def _damaged(self, place: int) -> UserError:
        return UserError("json_damaged", line=self._line + self._text.count("\n", 0, place))


class LineSource:
    """JSON lines: a value on each line. Lines that hold none are counted and passed over.

    Attributes:
        taken: lines so far that hold a value.
        damaged: lines so far that hold something else.
        first_damaged: the number of the first of them.
        nul_lines: lines from which NUL was taken out.
    """

    def __init__(self, path: Path, encoding: Encoding, limits: Limits) -> None:
        self.taken = self.damaged = self.first_damaged = self.nul_lines = 0
        self._lines = Lines(path, encoding)
        self._encoding = encoding
        self._limits = limits

    @property
    def notes(self) -> list[dict[str, Any]]:
        """What was mended in the lines so far."""
        skipped = [{"code": "json_lines_skipped", "rows": self.damaged}] if self.damaged else []
        return skipped + _nul_notes(self.nul_lines) + mixed_notes(self._lines, self._encoding)

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """The lines' numbers and values.

        Raises:
            UserError: `json_too_deep`.
        """
        for number, line in enumerate(self._lines, start=1):
            if "\0" in line:
                self.nul_lines += 1
                line = line.replace("\0", "")
            line = line.strip(_BLANKS)
            if not line:
                continue
            value = self._decoded(line)
            if isinstance(value, dict | list):
                self.taken += 1
                yield number, value
            else:
                self.damaged += 1
                self.first_damaged = self.first_damaged or number

    def _decoded(self, line: str) -> Any:
        try:
            value = DECODER.decode(line)
        except json.JSONDecodeError:
            return None
        except RecursionError as error:
            raise too_deep(self._limits) from error
        room = self._limits.depth
        if line.count("[") + line.count("{") > room and depth_of(value) > room:
            raise too_deep(self._limits)
        return value


def _nul_notes(lines: int) -> list[dict[str, Any]]:
    return [{"code": "nul_removed", "rows": lines}] if lines else []
