"""Tables for people: CSV that opens in any spreadsheet and runs nothing there, JSON lines, Parquet."""

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING

from core import files
from core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

# Spreadsheets take a cell with one of these in front for a formula, East Asian ones the wide forms too.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)*([eE][+-]?\d+)?\s?%?")


def write_table(frame: "pd.DataFrame", path: Path, *, source: Path | None = None, for_excel: bool = False) -> None:
    """Write a table: JSON lines or Parquet where the name ends so, else CSV. The file is whole or unchanged.

    CSV has commas, CRLF, quotes where needed, and text that looks like a formula preceded by `'`; the other two hold
    every cell to the letter.

    Args:
        frame: columns of text or numbers; the index is not written.
        path: where to; replaced if it exists.
        source: the file that the rows came from, which must not be replaced.
        for_excel: begin a CSV with a byte order mark, without which Excel misreads all but plain letters.

    Raises:
        UserError: `output_is_input`, `output_folder_missing`, `output_not_writable`, `disk_full`.
    """
    check_target(path, source)
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            files.write_bytes(path, frame.to_parquet(None, index=False) or b"")
        elif kind == ".jsonl":
            lines = frame.to_json(orient="records", lines=True, force_ascii=False)
            files.write_bytes(path, lines.encode("utf-8", "replace"))
        else:
            text = as_csv(frame)
            files.write_bytes(path, text.encode("utf-8-sig" if for_excel else "utf-8", "replace"))
    except (PermissionError, IsADirectoryError) as error:
        raise UserError("output_not_writable", name=path.name) from error


def check_target(path: Path, source: Path | None = None) -> None:
    """Pass silently where a file may be written to `path`.

    Raises:
        UserError: `output_is_input`, `output_folder_missing`.
    """
    if source is not None and _same_file(path, source):
        raise UserError("output_is_input", name=path.name)
    if not path.parent.is_dir():
        raise UserError("output_folder_missing", folder=str(path.parent))


def as_csv(frame: "pd.DataFrame") -> str:
    """The table as CSV that runs nothing in a spreadsheet."""
    safe = frame.rename(columns=lambda name: inert(str(name)))
    for place in range(frame.shape[1]):
        column = frame.iloc[:, place]
        if column.dtype.kind not in "biuf":
            safe.isetitem(place, [inert(cell) if isinstance(cell, str) else cell for cell in column])
    # With CRLF as line end the csv module quotes cells that hold a lone CR or LF; with LF it would leave a CR bare.
    return str(safe.to_csv(index=False, lineterminator="\r\n", quoting=csv.QUOTE_MINIMAL))


def inert(cell: str) -> str:
    """The cell, preceded by an apostrophe where a spreadsheet would run it. Plain numbers stay numbers."""
    if cell.lstrip(" ").startswith(_FORMULA) and not _NUMBER.fullmatch(cell):
        return "'" + cell
    return cell


def _same_file(path: Path, source: Path) -> bool:
    try:
        return path.samefile(source)
    except FileNotFoundError:
        return path.resolve() == source.resolve()
