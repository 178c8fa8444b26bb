"""Lines become records of cells: with delimiters and quotes, or one cell a line."""

import csv
from collections.abc import Iterable, Iterator
from typing import Any

from core.errors import UserError


class Records:
    """Records of cells. A quote that nobody closes costs its own line, never the rest of the file.

    Strict reading comes first. Where that fails, or what it yields looks like several rows in one, the first line is
    taken by itself with its quotes as plain characters, and reading goes on with the next line.

    Args:
        lines: the file's lines with their ends.
        delimiter: one character.
        spaced: whether a blank follows the delimiter.
        limit: longest cell, in characters.
        returns_inside: whether a carriage return without a line feed may stand in a cell without quotes, as pandas
            writes it, and not only end a row.

    Attributes:
        width: cells of a record, where known.
        open_quotes: records so far whose quotes did not match.
        nul_lines: lines so far that had NUL characters, which are taken out.
    """

    def __init__(
        self, lines: Iterable[str], delimiter: str, *, spaced: bool, limit: int, returns_inside: bool = False
    ) -> None:
        csv.field_size_limit(limit)
        self.open_quotes = 0
        self.nul_lines = 0
        self.width = 0
        self._lines = iter(lines)
        self._delimiter = delimiter
        self._spaced = spaced
        self._limit = limit
        self._returns_inside = returns_inside
        self._waiting: list[str] = []
        self._taken: list[str] = []
        self._strict = csv.reader(
            _Feed(self), delimiter=delimiter, skipinitialspace=spaced, strict=True, quoting=csv.QUOTE_MINIMAL
        )

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        """The next record.

        Raises:
            UserError: `file_cell_too_long`.
        """
        record = self._next()
        if self._returns_inside and self.width > 1 and record and self._taken[-1].endswith("\r"):
            return self._joined(record)
        return record

    def line(self) -> str:
        """The next line, first those that were given back."""
        line = self._waiting.pop() if self._waiting else next(self._lines)
        if "\0" in line:
            self.nul_lines += 1
            line = line.replace("\0", "")
        self._taken.append(line)
        return line

    def _next(self) -> list[str]:
        self._taken.clear()
        try:
            record = next(self._strict)
        except csv.Error as error:
            if "field limit" in str(error) and (len(self._taken) == 1 or not self._rows_in(self._taken)):
                raise UserError("file_cell_too_long", limit=self._limit) from error
            return self._first_line_alone()
        if len(self._taken) > 1 and self._holds_several_rows(record):
            return self._first_line_alone()
        return record

    def _joined(self, record: list[str]) -> list[str]:
        """The record and those after it, as long as only together they have the cells of one."""
        while self._taken[-1].endswith("\r"):
            quotes = self.open_quotes
            try:
                more = self._next()
            except StopIteration:
                break
            whole = len(record) == self.width
            if (whole and not more) or len(record) + len(more or [""]) - 1 > self.width:
                self._waiting.extend(reversed(self._taken))
                self.open_quotes = quotes
                break
            first, *others = more or [""]
            record = [*record[:-1], f"{record[-1]}\r{first}", *others]
            if len(record[-1]) > self._limit:
                raise UserError("file_cell_too_long", limit=self._limit)
        return record

    def _first_line_alone(self) -> list[str]:
        first, *rest = self._taken
        self._waiting.extend(reversed(rest))
        self._taken = [first]
        self.open_quotes += 1
        layout: Any = {"delimiter": self._delimiter, "skipinitialspace": self._spaced}
        layout["quoting"] = csv.QUOTE_NONE if first.count('"') % 2 else csv.QUOTE_MINIMAL
        plain = csv.reader([first], **layout)
        try:
            return [cell.rstrip("\r\n") for cell in next(plain)]
        except csv.Error as error:
            raise UserError("file_cell_too_long", limit=self._limit) from error

    def _holds_several_rows(self, record: list[str]) -> bool:
        if not self.width:
            return False
        if len(record) != self.width:
            return self._whole(self._taken[0]) and self._rows_in(self._taken[1:])
        # As many cells as there should be: only a long run of lines that are rows each speaks against it.
        enough = 4 if self.width > 2 else 11
        return len(self._taken) >= enough and sum(map(self._whole, self._taken)) >= 0.9 * len(self._taken)

    def _rows_in(self, lines: list[str]) -> bool:
        return sum(map(self._whole, lines)) * 2 >= len(lines)

    def _whole(self, line: str) -> bool:
        return line.count(self._delimiter) == self.width - 1


class _Feed:
    """The iterator that the csv module pulls lines from; it must outlive an end of file that is taken back."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        return self._records.line()


class PlainLines:
    """Records of one cell each, a line as it is: quotes and everything else are plain characters.

    Args:
        lines: the file's lines with their ends.
        limit: longest line, in characters.

    Attributes:
        width, open_quotes, nul_lines: as those of `Records`.
    """

    def __init__(self, lines: Iterable[str], limit: int) -> None:
        self.width = 1
        self.open_quotes = self.nul_lines = 0
        self._lines = iter(lines)
        self._limit = limit

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        """The next line.

        Raises:
            UserError: `file_cell_too_long`.
        """
        line = next(self._lines).rstrip("\r\n")
        if "\0" in line:
            self.nul_lines += 1
            line = line.replace("\0", "")
        if len(line) > self._limit:
            raise UserError("file_cell_too_long", limit=self._limit)
        return [line]
