"""Text files: tables with comma, semicolon, tab or pipe, as spreadsheets and people write them, and lines of text."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from core.data.building import Parsed, TableBuilder
from core.data.decoding import Encoding, Lines, chosen, detect, is_wide
from core.data.dialects import Dialect, guess
from core.data.kinds import refuse_other_kinds
from core.data.options import ReadOptions
from core.data.records import PlainLines, Records
from core.data.roles import is_hint
from core.errors import UserError
from core.settings import Limits

_SNIFFED_LINES = 400
_SNIFFED_CHARACTERS = 256 * 1024
_NAME_CHARACTERS = 30


def sniff(path: Path) -> bool:
    """Whether this reader takes the file: any text that is nothing else. It is asked last.

    Raises:
        UserError: what `kinds.refuse_other_kinds` raises.
    """
    try:
        refuse_other_kinds(path)
    except UserError as error:
        # The bytes of UTF-16 look like anything.
        if error.code != "file_is_binary" or not is_wide(path):
            raise
    return True


def parse(path: Path, limits: Limits, options: ReadOptions) -> Parsed:
    """Read the file into a table of text.

    Raises:
        UserError: `file_empty`, `file_encoding_unknown`, `encoding_unknown`, `delimiter_unknown`, `file_cell_too_long`,
            and what `TableBuilder` raises.
    """
    encoding = chosen(path, options.encoding) if options.encoding else detect(path)
    first_lines = _first_lines(path, encoding)
    dialect = guess(first_lines, limits.cell_characters, options)
    lines = Lines(path, encoding)
    records = _records(lines, dialect, limits)
    numbered = islice(enumerate(records, start=1), dialect.title_rows, None)
    number, first = next(((n, r) for n, r in numbered if any(cell.strip() for cell in r)), (0, []))
    if not first:
        raise UserError("file_empty")
    named = _named(first, first_lines, dialect, options)
    header = _header(first, dialect, named)
    records.width = len(header)
    joint = f"{dialect.delimiter} " if dialect.spaced else dialect.delimiter
    builder = TableBuilder(header, number, limits, joint, named=named is not None)
    if named is False:
        builder.add(number, first)
    for number, cells in numbered:
        builder.add(number, cells)
    parsed = builder.finish(single_column=options.single_column)
    parsed.facts = _facts(encoding, dialect) | {"header": parsed.facts["header"] and named is not False}
    parsed.notes += _notes(lines, records, encoding, dialect.title_rows if options.title_rows is None else 0)
    return parsed


def _first_lines(path: Path, encoding: Encoding) -> list[str]:
    lines, characters = [], 0
    for line in islice(Lines(path, encoding), _SNIFFED_LINES):
        lines.append(line.replace("\0", ""))
        characters += len(line)
        if characters > _SNIFFED_CHARACTERS:
            break
    return lines


def _records(lines: Lines, dialect: Dialect, limits: Limits) -> Records | PlainLines:
    rest: Iterator[str] = islice(lines, dialect.skip, None)
    if not dialect.delimiter:
        return PlainLines(rest, limits.cell_characters)
    return Records(
        dialect.clean(rest),
        dialect.delimiter,
        spaced=dialect.spaced,
        limit=limits.cell_characters,
        returns_inside=dialect.returns_inside,
    )


def _named(first: list[str], lines: list[str], dialect: Dialect, options: ReadOptions) -> bool | None:
    """Whether the first record holds the names; None to have it told from the rows."""
    if options.header is not None or dialect.delimiter:
        return options.header
    others = [len(line.strip()) for line in lines if line.strip() and line.strip() != first[0].strip()]
    return _is_name(first[0], others)


def _is_name(line: str, others: list[int]) -> bool:
    """Whether the first of some lines of text is the name of a column: a usual one, or one word above longer lines."""
    word = line.strip()
    if is_hint(word):
        return True
    return (
        word.isidentifier()
        and len(word) <= _NAME_CHARACTERS
        and bool(others)
        and min(others) > len(word)
        and sorted(others)[len(others) // 2] >= 3 * len(word)
    )


def _header(first: list[str], dialect: Dialect, named: bool | None) -> list[str]:
    """Names of the columns, empty ones for numbered columns."""
    if named is not False:
        return [cell.rstrip("\r\n") for cell in first]
    return [""] * max(len(first), dialect.width) if dialect.delimiter else ["text"]


def _facts(encoding: Encoding, dialect: Dialect) -> dict[str, Any]:
    formats = {"": "text", "\t": "tsv"}
    return {
        "format": formats.get(dialect.delimiter, "csv"),
        "container": "",
        "encoding": encoding.shown,
        "delimiter": dialect.delimiter,
        "title_rows": dialect.title_rows,
        "part": "",
        "parts": [],
    }


def _notes(lines: Lines, records: Records | PlainLines, encoding: Encoding, titles: int) -> list[dict[str, Any]]:
    counts = {
        "title_rows": titles,
        "nul_removed": records.nul_lines,
        "open_quotes": records.open_quotes,
        "broken_characters": lines.broken,
    }
    notes: list[dict[str, Any]] = [{"code": code, "rows": rows} for code, rows in counts.items() if rows]
    if encoding.other and lines.mixed:
        notes.append({"code": "mixed_encodings", "rows": lines.mixed, "encoding": encoding.other.shown})
    return notes
