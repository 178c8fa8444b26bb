"""Workbooks of Excel (.xlsx, .xlsm): the sheet with the most rows, each cell as the text that stands for its value."""

import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError
from xml.parsers.expat import ExpatError

from core.data.building import Parsed
from core.data.formats._sheet_layout import Merges, build
from core.data.formats._sheet_xml import Cells, filled_rows, shared_texts
from core.data.formats.archive import check_directory
from core.data.formats.archive import sniff as is_zip
from core.data.options import ReadOptions
from core.errors import UserError
from core.settings import MEBIBYTE, Limits

if TYPE_CHECKING:
    from openpyxl.reader.excel import ExcelReader  # type: ignore[import-untyped]

_MERGES = 100_000
# XML of real sheets shrinks to a tenth or a thirtieth; a part this large that shrinks more than this is a bomb.
_RATIO = 500
_RATIO_FROM = 16 * MEBIBYTE
_BOUNDARY = 64  # bytes kept from one piece to the next, enough for any tag that is looked for
_ROW_TAG = re.compile(rb"<(?:\w+:)?row[\s/>]")
_VALUE_TAG = re.compile(rb"<(?:\w+:)?(?:v|is)[\s>]")
_MERGE_TAG = re.compile(rb"<(?:\w+:)?mergeCell\s[^>]{0,40}?ref=[\"']([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})[\"']")


@dataclass(frozen=True)
class _Sheet:
    name: str
    place: str
    visible: bool


def sniff(path: Path) -> bool:
    """Whether the file is a ZIP archive laid out as a workbook in XML."""
    if not is_zip(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False
    if "[Content_Types].xml" not in names or "xl/workbook.bin" in names:
        return False
    return any(name.startswith("xl/") and name.endswith(".xml") for name in names)


def parse(path: Path, limits: Limits, options: ReadOptions) -> Parsed:
    """Read a sheet into a table of text; rows have their numbers in the spreadsheet.

    Formulas count by the value that was saved with them (`formulas_without_value` says where there is none). Cells
    merged over several rows repeat their value in each (`merged_cells`).

    Raises:
        UserError: `file_damaged`, `file_is_excel` (no sheet that can be read), `file_unpacks_too_large`,
            `file_zip_encrypted`, `file_part_missing`, `file_empty`, `file_cell_too_long`, and what `TableBuilder`
            raises.
    """
    from openpyxl.reader.excel import ExcelReader

    with _odd_files_are_damaged(), path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what openpyxl would not write back
        reader = ExcelReader(file, read_only=True, data_only=True, keep_links=False)
        check_directory(reader.archive.infolist(), limits)
        _check_ratio(reader.archive.infolist(), limits)
        sheets = _open(reader)
        sheet, ranges = _chosen(reader.archive, sheets, options.part)
        cells = _cells(reader)
        merges = Merges(ranges)
        with reader.archive.open(sheet.place) as source:
            parsed = build(merges.filled(filled_rows(source, cells, limits)), merges, limits, options)
    if cells.without_value:
        parsed.notes.append({"code": "formulas_without_value", "rows": len(cells.without_value)})
    several = len(sheets) > 1
    names = [sheet.name for sheet in sheets] if several else []
    parsed.facts |= {"format": "xlsx", "part": sheet.name if several else "", "parts": names}
    return parsed


@contextmanager
def _odd_files_are_damaged() -> Iterator[None]:
    """openpyxl raises whatever it stumbles over; defusedxml refuses entities with ValueErrors."""
    try:
        yield
    except (
        zipfile.BadZipFile, zlib.error, ParseError, ExpatError, EOFError, LookupError, ValueError, TypeError,
        AttributeError, OverflowError, NotImplementedError, OSError,
    ) as error:  # fmt: skip
        raise UserError("file_damaged") from error


def _check_ratio(infos: list[zipfile.ZipInfo], limits: Limits) -> None:
    if any(info.file_size > max(_RATIO_FROM, _RATIO * info.compress_size) for info in infos):
        raise UserError("file_unpacks_too_large", limit_mb=limits.file_bytes // MEBIBYTE)


def _open(reader: "ExcelReader") -> list[_Sheet]:
    """Read what the sheets share and list them. Properties, themes, links and charts stay closed."""
    from openpyxl.styles.stylesheet import apply_stylesheet  # type: ignore[import-untyped]

    reader.read_manifest()
    reader.read_workbook()
    try:
        apply_stylesheet(reader.archive, reader.wb)
    except (ValueError, TypeError, LookupError, AttributeError):
        # Other programs' styles often break its rules. Only dates need them: they then stay the numbers they are.
        reader.wb._date_formats, reader.wb._timedelta_formats = set(), set()
    known = set(reader.archive.namelist())
    found = [
        _Sheet(sheet.name, relation.target, sheet.state == "visible")
        for sheet, relation in reader.parser.find_sheets()
        if relation.Type.endswith("/worksheet") and relation.target in known
    ]
    if not found:
        raise UserError("file_is_excel")
    return found


def _chosen(archive: zipfile.ZipFile, sheets: list[_Sheet], part: str | None) -> tuple[_Sheet, list[tuple[int, ...]]]:
    """The sheet that was asked for, else the visible one with the most filled rows, and its merged cells."""
    if part is not None and len(sheets) > 1:
        asked = [sheet for sheet in sheets if sheet.name == part]
        if not asked:
            names = ", ".join(sheet.name for sheet in sheets[:10])
            raise UserError("file_part_missing", part=part[:60], parts=names)
        sheets = asked
    sheets = [sheet for sheet in sheets if sheet.visible] or sheets
    surveys = [(*_survey(archive, sheet.place), sheet) for sheet in sheets]
    _, ranges, sheet = max(surveys, key=lambda survey: survey[0])
    return sheet, ranges


def _survey(archive: zipfile.ZipFile, place: str) -> tuple[int, list[tuple[int, ...]]]:
    """How many rows hold a value, and the merged cells as (left, top, right, bottom), without parsing: it is quick."""
    from openpyxl.utils import column_index_from_string  # type: ignore[import-untyped]

    rows, filled, rest = 0, False, b""
    ranges: dict[tuple[int, ...], None] = {}
    with archive.open(place) as file:
        while chunk := file.read(MEBIBYTE):
            piece = rest + chunk
            for left, top, right, bottom in _MERGE_TAG.findall(piece):
                left_top = column_index_from_string(left.decode()), int(top)
                ranges[(*left_top, column_index_from_string(right.decode()), int(bottom))] = None
            *ended, piece = _ROW_TAG.split(piece)
            for row in ended:
                rows += filled or bool(_VALUE_TAG.search(row))
                filled = False
            filled = filled or bool(_VALUE_TAG.search(piece))
            rest = piece[-_BOUNDARY:]
            if len(ranges) > _MERGES:
                raise UserError("file_too_heavy")
    return rows + filled, list(ranges)


def _cells(reader: "ExcelReader") -> Cells:
    """What cells refer to. See `Cells`."""
    from openpyxl.xml.constants import SHARED_STRINGS  # type: ignore[import-untyped]

    book, texts = reader.wb, []
    if part := reader.package.find(SHARED_STRINGS):
        with reader.archive.open(part.PartName[1:]) as source:
            texts = shared_texts(source)
    return Cells(texts, set(book._date_formats), set(book._timedelta_formats), book.epoch)
