"""Tables for people: CSV that opens in any spreadsheet and runs nothing there."""

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


def write_predictions(
    frame: "pd.DataFrame", path: Path, *, source: Path | None = None, for_excel: bool = False
) -> None:
    """Write a table as CSV: commas, CRLF, quotes where needed, text that looks like a formula preceded by `'`.

    The file is whole or unchanged.

    Args:
        frame: columns of text or numbers; the index is not written.
        path: where to; replaced if it exists.
        source: the file that the rows came from, which must not be replaced.
        for_excel: begin with a byte order mark, without which Excel misreads all but plain letters.

    Raises:
        UserError: `output_is_input`, `output_folder_missing`, `output_not_writable`, `disk_full`.
    """
    if source is not None and _same_file(path, source):
        raise UserError("output_is_input", name=path.name)
    if not path.parent.is_dir():
        raise UserError("output_folder_missing", folder=str(path.parent))
    safe = frame.rename(columns=lambda name: inert(str(name)))
    for place in range(frame.shape[1]):
        column = frame.iloc[:, place]
        if column.dtype.kind not in "biuf":
            safe.isetitem(place, [inert(cell) if isinstance(cell, str) else cell for cell in column])
    # With CRLF as line end the csv module quotes cells that hold a lone CR or LF; with LF it would leave a CR bare.
    text = safe.to_csv(index=False, lineterminator="\r\n", quoting=csv.QUOTE_MINIMAL)
    try:
        files.write_bytes(path, text.encode("utf-8-sig" if for_excel else "utf-8", "replace"))
    except (PermissionError, IsADirectoryError) as error:
        raise UserError("output_not_writable", name=path.name) from error


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
