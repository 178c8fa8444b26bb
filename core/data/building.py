"""Rows of cells become a table of text columns, whole and with unique names, in batches that bound the memory."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.data.roles import is_hint
from core.errors import UserError
from core.settings import Limits

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

# Column of the stored file that holds row numbers. Names from files are trimmed, so none begins with a blank.
ROW_COLUMN = " row"
_BATCH_ROWS = 20_000
_NAME_CHARACTERS = 200
_HEADER_CHARACTERS = 100
_BLANKS = " \t\r\n\x0b\x0c\u00a0\u200b\ufeff"


@dataclass
class Parsed:
    """What a format reader hands back.

    Attributes:
        table: text columns, and `ROW_COLUMN` with the rows' numbers as a spreadsheet shows them (header is 1).
        id: sha256 of names, row numbers and cells, whatever the file's encoding and delimiter were.
        facts: `format` (csv, tsv, text, xlsx, json, jsonl, parquet, po, mo, tmx, folders), `container` (gzip, zip or
            empty), `encoding` and `delimiter` (empty where there is none), `title_rows` (passed over above the header),
            `header` (whether the names come from the file), `part` and `parts` (the sheet, list or file read, and all
            there are to choose from; empty where there is no choice).
        notes: what was mended while reading, as `{"code", "rows", …}`.
    """

    table: "pa.Table"
    id: str
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[dict[str, Any]] = field(default_factory=list)


class TableBuilder:
    """Takes the header and then record after record.

    Args:
        header: cells of the first record; all of them empty for a table without names.
        number: that record's number in the file, from 1.
        limits: bounds on rows and columns.
        joint: what to put between cells that belong to one text.
        named: whether the header is certain. It is then never taken for data, and a row that equals it is a row.

    Raises:
        UserError: `file_too_many_columns`.
    """

    def __init__(self, header: list[str], number: int, limits: Limits, joint: str, *, named: bool = False) -> None:
        while len(header) > 1 and not header[-1].strip(_BLANKS) and len(header) > limits.columns:
            header = header[:-1]
        if len(header) > limits.columns:
            raise UserError("file_too_many_columns", columns=len(header), limit=limits.columns)
        self._header = header
        self._header_number = number
        self._limits = limits
        self._joint = joint
        self._named = named
        self._names, self._renamed = unique_names(header)
        self._text_column: int | None = None
        self._pending: list[list[str]] = []
        self._numbers: list[int] = []
        self._batches: list[pa.RecordBatch] = []
        self._digest = hashlib.sha256()
        self._rows = self._longer = self._shorter = self._blank = self._blank_run = self._headers = 0
        self._headless = False

    def add(self, number: int, cells: list[str]) -> None:
        """Take one record. Blank ones are passed over; trailing ones are no loss and not counted.

        Raises:
            UserError: `file_too_many_rows`.
        """
        if not any(map(_filled, cells)):
            self._blank_run += 1
            return
        self._blank += self._blank_run
        self._blank_run = 0
        self._rows += 1
        if self._rows > self._limits.rows:
            raise UserError("file_too_many_rows", limit=self._limits.rows)
        self._pending.append(cells)
        self._numbers.append(number)
        if len(self._pending) >= _BATCH_ROWS:
            self._flush()

    def finish(self, *, single_column: bool) -> Parsed:
        """The table.

        Args:
            single_column: whether a table of one column will do.

        Raises:
            UserError: `file_header_only`, `file_one_column`.
        """
        import pyarrow as pa

        self._flush()
        if not self._batches:
            raise UserError("file_header_only")
        table = pa.Table.from_batches(self._batches)
        names = list(self._names)
        for place, name in enumerate(self._names):
            if not self._header[place].strip(_BLANKS) and not _any_filled(table.column(place)):
                names.remove(name)
        if len(names) < 2 and not single_column:
            raise UserError("file_one_column", columns=len(names))
        self._digest.update(json.dumps(names).encode())
        renamed = [name for name in self._renamed if name in names]
        facts = {"header": any(map(_filled, self._header))}
        return Parsed(table.select([*names, ROW_COLUMN]), self._digest.hexdigest(), facts, self._notes(renamed))

    def _notes(self, renamed: list[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        if self._longer or self._shorter:
            rows = self._longer + self._shorter
            found.append({"code": "ragged_rows", "rows": rows, "longer": self._longer, "shorter": self._shorter})
        if self._blank:
            found.append({"code": "blank_lines", "rows": self._blank})
        if self._headers:
            found.append({"code": "repeated_header", "rows": self._headers})
        if self._headless:
            found.append({"code": "header_missing", "rows": 1})
        elif renamed and any(map(_filled, self._header)):
            found.append({"code": "columns_renamed", "rows": 0, "columns": ", ".join(renamed[:5])})
        return found

    def _flush(self) -> None:
        import pyarrow as pa

        if not self._pending:
            return
        if self._text_column is None:
            self._look_at_first_rows()
        rows, numbers = self._fitted()
        if not rows:
            return
        arrays = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
        arrays.append(pa.array(numbers, pa.int32()))
        for array in arrays:
            for buffer in array.buffers():
                self._digest.update(buffer or b"")
        self._batches.append(pa.record_batch(arrays, names=[*self._names, ROW_COLUMN]))

    def _look_at_first_rows(self) -> None:
        if not self._named and is_data(self._header, self._pending):
            self._headless = True
            self._pending.insert(0, self._header)
            self._numbers.insert(0, self._header_number)
            self._rows += 1
            self._header = [""] * len(self._header)
            self._names, self._renamed = unique_names(self._header)
        width = len(self._header)
        regular = [row for row in self._pending if len(row) == width] or [[""] * width]
        lengths = [sum(map(len, column)) for column in zip(*regular, strict=True)]
        self._text_column = lengths.index(max(lengths))

    def _fitted(self) -> tuple[list[list[str]], list[int]]:
        """The pending rows, each as wide as the header, without copies of the header."""
        rows, numbers, width = [], [], len(self._header)
        for cells, number in zip(self._pending, self._numbers, strict=True):
            if not self._named and cells == self._header:
                self._headers += 1
                continue
            rows.append(cells if len(cells) == width else self._fit(cells, width))
            numbers.append(number)
        self._pending, self._numbers = [], []
        return rows, numbers

    def _fit(self, cells: list[str], width: int) -> list[str]:
        """Pad a short row. In a long one the extra cells are a text that was cut at its own commas: join it again."""
        while len(cells) > width and not cells[-1].strip(_BLANKS):
            cells = cells[:-1]
        extra = len(cells) - width
        if extra < 0:
            self._shorter += 1
            return cells + [""] * -extra
        if extra > 0:
            self._longer += 1
            first = self._text_column or 0
            joined = self._joint.join(cells[first : first + extra + 1])
            return [*cells[:first], joined, *cells[first + extra + 1 :]]
        return cells


def _filled(cell: str) -> bool:
    return bool(cell) and bool(cell.strip(_BLANKS))


def _any_filled(column: "Iterable[pa.Scalar[Any]]") -> bool:
    return any(_filled(str(cell)) for cell in column)


def unique_names(header: list[str]) -> tuple[list[str], list[str]]:
    """Trimmed names that are all different, and those of them that had to be made up.

    A blank name becomes "column 3", the second "text" becomes "text 2".
    """
    wanted = [" ".join(cell.strip(_BLANKS).split())[:_NAME_CHARACTERS].strip() for cell in header]
    taken = {name for name in wanted if name}
    names: list[str] = []
    made_up: list[str] = []
    seen: set[str] = set()
    for place, name in enumerate(wanted, start=1):
        if name and name not in seen:
            unique = name
        else:
            base, number = (name, 2) if name else ("column", place)
            while f"{base} {number}" in taken:
                number += 1
            unique = f"{base} {number}"
            made_up.append(unique)
        taken.add(unique)
        seen.add(unique)
        names.append(unique)
    return names, made_up


def is_data(header: list[str], rows: list[list[str]]) -> bool:
    """Whether the first record is a row like the others: a very long cell, or a value that its column repeats."""
    if any(is_hint(cell) for cell in header):
        return False
    if any(len(cell) > _HEADER_CHARACTERS for cell in header):
        return True
    for place, cell in enumerate(header):
        column = [row[place] for row in rows if len(row) == len(header) and row != header]
        if _filled(cell) and column.count(cell) >= 2 and len(set(column)) <= len(column) // 2:
            return True
    return False
