"""Text files with delimiters: comma, semicolon, tab or pipe, as spreadsheets and people write them."""

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from core.data.building import Parsed, TableBuilder
from core.data.decoding import detect
from core.data.kinds import refuse_other_kinds
from core.errors import UserError
from core.settings import Limits

DELIMITERS = (",", "\t", ";", "|")
# Stands for "no delimiter": every line is one cell. Decoded text does not contain it, since NUL is taken out.
_NONE = "\0"
_SNIFFED_LINES = 400
_SNIFFED_CHARACTERS = 256 * 1024
# Fewer records than this share fit the header's width: what looked like a delimiter is punctuation.
_TABLE_SHARE = 0.3


class Records:
    """Records of cells. A quote that nobody closes costs its own line, never the rest of the file.

    Strict reading comes first. Where that fails, or what it yields looks like several rows in one, the first line is
    taken by itself with its quotes as plain characters, and reading goes on with the next line.

    Args:
        lines: the file's lines with their ends.
        delimiter: one character.
        spaced: whether a blank follows the delimiter.
        limit: longest cell, in characters.
        width: cells of a record, where known.
    """

    def __init__(self, lines: Iterable[str], delimiter: str, *, spaced: bool, limit: int, width: int = 0) -> None:
        csv.field_size_limit(limit)
        self.open_quotes = 0
        self.nul_lines = 0
        self.width = width
        self._lines = iter(lines)
        self._delimiter = delimiter
        self._spaced = spaced
        self._limit = limit
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

    def line(self) -> str:
        """The next line, first those that were given back."""
        line = self._waiting.pop() if self._waiting else next(self._lines)
        if "\0" in line:
            self.nul_lines += 1
            line = line.replace("\0", "")
        self._taken.append(line)
        return line

    def _first_line_alone(self) -> list[str]:
        first, *rest = self._taken
        self._waiting.extend(reversed(rest))
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


class _Dialect:
    """What the first lines of a file tell about the rest."""

    def __init__(self, lines: list[str], limit: int) -> None:
        text = "".join(lines)
        marked = re.match(r'"?sep=(.)"?\s*$', lines[0].strip("\ufeff").lower()) if lines else None
        self.skip = 1 if marked else 0
        # MySQL and pandas with escapechar write \" where others write "".
        self.backslash = len(re.findall(r'\\"(?=[^,;|\t\r\n])', text)) > text.count('""') - text.count('\\""')
        self.spaced = False
        self.delimiter = _NONE
        best = (_TABLE_SHARE, 0.0, 0)
        for candidate in (marked.group(1),) if marked else DELIMITERS:
            spaced = text.count(f'{candidate} "') > text.count(f'{candidate}"')
            body = self.clean(lines[self.skip :])
            records = [r for r in Records(body, candidate, spaced=spaced, limit=limit) if any(r)]
            score = _fitness(records)
            if (score, len(records[0]) if records else 0) > (best[0], best[2]):
                best = (score, 0.0, len(records[0]))
                self.delimiter, self.spaced = candidate, spaced

    def clean(self, lines: Iterable[str]) -> Iterable[str]:
        """Lines with the one way of writing a quote that the csv module knows."""
        return (line.replace('\\"', '""') for line in lines) if self.backslash else lines


def _fitness(records: list[list[str]]) -> float:
    """Share of records as wide as the first; wider ones count half, since texts contain commas."""
    if not records or len(records[0]) < 2:
        return 0.0
    width = len(records[0])
    rest = records[1:] or records
    return round(sum(1.0 if len(r) == width else 0.5 if len(r) > width else 0.0 for r in rest) / len(rest), 2)


def _line_reader(path: Path, encoding: str, errors: str) -> Iterator[str]:
    with path.open(encoding=encoding, errors=errors, newline="") as file:
        yield from file


def _first_lines(path: Path, encoding: str, errors: str) -> list[str]:
    lines, characters = [], 0
    for line in islice(_line_reader(path, encoding, errors), _SNIFFED_LINES):
        lines.append(line.replace("\0", ""))
        characters += len(line)
        if characters > _SNIFFED_CHARACTERS:
            break
    return lines


def sniff(path: Path) -> bool:
    """Whether this reader takes the file: any text that is nothing else. It is asked last.

    Raises:
        UserError: what `kinds.refuse_other_kinds` raises.
    """
    refuse_other_kinds(path)
    return True


def parse(path: Path, limits: Limits, *, single_column: bool) -> Parsed:
    """Read the file into a table of text.

    Raises:
        UserError: `file_empty`, `file_encoding_unknown`, `file_cell_too_long`, and what `TableBuilder` raises.
    """
    encoding = detect(path)
    dialect = _Dialect(_first_lines(path, encoding.name, encoding.errors), limits.cell_characters)
    source = _Replaced(_line_reader(path, encoding.name, encoding.errors))
    lines = dialect.clean(islice(source, dialect.skip, None))
    records = Records(lines, dialect.delimiter, spaced=dialect.spaced, limit=limits.cell_characters)
    numbered = enumerate(records, start=1)
    number, header = next(((n, r) for n, r in numbered if any(cell.strip() for cell in r)), (0, []))
    if not header:
        raise UserError("file_empty")
    header = [cell.rstrip("\r\n") for cell in header]
    builder = TableBuilder(header, number, limits, dialect.delimiter)
    records.width = len(header)
    for number, cells in numbered:
        builder.add(number, cells)
    parsed = builder.finish(single_column=single_column)
    shown = "" if dialect.delimiter == _NONE else dialect.delimiter
    parsed.facts = {"format": "tsv" if shown == "\t" else "csv", "encoding": encoding.name, "delimiter": shown}
    counts = {
        "nul_removed": records.nul_lines,
        "open_quotes": records.open_quotes,
        "broken_characters": source.replaced,
    }
    parsed.notes += [{"code": code, "rows": rows} for code, rows in counts.items() if rows]
    return parsed


class _Replaced:
    """Passes lines on and counts those where the decoder had to put U+FFFD."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.replaced = 0
        self._lines = lines

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        if "\ufffd" in line:
            self.replaced += 1
        return line
