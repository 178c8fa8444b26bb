"""How a text file writes a table, told from its first lines: delimiter, quotes, rows above the header."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from core.data.building import is_data
from core.data.options import ReadOptions
from core.data.records import Records
from core.data.roles import is_hint
from core.errors import UserError

DELIMITERS = (",", "\t", ";", "|")
# Fewer records than this share fit the header's width: what looked like a delimiter is punctuation.
_TABLE_SHARE = 0.3
_TITLE_ROWS = 20
# Rows above the header are taken for that only where the rows below it agree so far.
_SURE_SHARE = 0.9
_SURE_ROWS = 2
_NAME_CHARACTERS = 60


@dataclass(frozen=True)
class Dialect:
    """How to read the lines.

    Attributes:
        delimiter: empty for one cell a line.
        skip: lines before the first record (Excel's `sep=` line).
        spaced: whether a blank follows the delimiter.
        backslash: whether a quote within quotes is written with a backslash.
        returns_inside: whether a carriage return may stand within a cell without quotes.
        title_rows: records above the header.
        width: cells of most records.
    """

    delimiter: str
    skip: int = 0
    spaced: bool = False
    backslash: bool = False
    returns_inside: bool = False
    title_rows: int = 0
    width: int = 1

    def clean(self, lines: Iterable[str]) -> Iterable[str]:
        """Lines with the one way of writing a quote that the csv module knows."""
        return (line.replace('\\"', '""') for line in lines) if self.backslash else lines


def guess(lines: list[str], limit: int, options: ReadOptions) -> Dialect:
    """The dialect of a file that begins with these lines.

    Args:
        lines: with their ends.
        limit: longest cell, in characters.
        options: what a person decided is not guessed.

    Raises:
        UserError: `delimiter_unknown`, `file_cell_too_long`.
    """
    marked = re.match(r'"?sep=(.)"?\s*$', lines[0].lower()) if lines else None
    skip = 1 if marked else 0
    titles = options.title_rows or 0
    if options.delimiter == "":
        return Dialect("", skip, title_rows=titles)
    if options.delimiter is not None:
        _check(options.delimiter)
    told = options.delimiter or (marked.group(1) if marked else None)
    body = lines[skip:]
    text = "".join(body)
    returns = sum(line.endswith("\r") for line in body) < sum(line.endswith("\n") for line in body)
    best, best_score = Dialect("", skip, title_rows=titles), (_TABLE_SHARE, 0)
    for delimiter in (told,) if told else DELIMITERS:
        bare, quoted = _outside_quotes(text, delimiter)
        dialect = Dialect(delimiter, skip, bare.count(f'{delimiter} "') > quoted, _backslashes(text), returns)
        records = list(Records(dialect.clean(body), delimiter, spaced=dialect.spaced, limit=limit))
        dialect = replace(dialect, title_rows=_title_rows(records, options), width=_usual(map(len, records)))
        records = [record for record in records[dialect.title_rows :] if any(record)]
        score = (_fitness(records), len(records[0]) if records else 0)
        if told or (score > best_score and not _is_punctuation(bare, delimiter, records)):
            best, best_score = dialect, score
    return Dialect(",", skip, title_rows=titles) if not best.delimiter and _is_quoted_column(body, limit) else best


def _check(delimiter: str) -> None:
    if len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise UserError("delimiter_unknown", delimiter=delimiter[:20])


def _outside_quotes(text: str, delimiter: str) -> tuple[str, int]:
    """The text without the cells that are in quotes, and how many of those come right after a delimiter."""
    edge = re.escape(delimiter)
    cell = re.compile(rf'(^|[{edge}\r\n])"(?:[^"]|"")*+"(?=[{edge}\r\n]|$)')
    return cell.sub(r"\1", text), sum(found.group(1) == delimiter for found in cell.finditer(text))


def _backslashes(text: str) -> bool:
    r"""MySQL and pandas with escapechar write \" where others write ""."""
    return len(re.findall(r'\\"(?=[^",;|\t\r\n])', text)) > text.count('""') - text.count('\\""')


def _fitness(records: list[list[str]]) -> float:
    """Share of records as wide as the first; wider ones count half, since texts contain commas."""
    if not records or len(records[0]) < 2:
        return 0.0
    width = len(records[0])
    rest = records[1:] or records
    return round(sum(1.0 if len(r) == width else 0.5 if len(r) > width else 0.0 for r in rest) / len(rest), 2)


def _is_punctuation(bare: str, delimiter: str, records: list[list[str]]) -> bool:
    """Whether the lines are sentences: their commas are followed by blanks, and their numbers differ."""
    if delimiter == "\t" or not records or any(map(is_hint, records[0])):
        return False
    width = len(records[0])
    regular = sum(len(record) == width for record in records) / len(records)
    return regular < _SURE_SHARE and bare.count(f"{delimiter} ") > 0.9 * bare.count(delimiter)


def _is_quoted_column(lines: list[str], limit: int) -> bool:
    """Whether it is a table of one column with quotes where they are needed, and not text with some quotes in it."""
    records = Records(lines, ",", spaced=False, limit=limit)
    cells = [record for record in records if record]
    if records.open_quotes or any(len(record) > 1 for record in cells):
        return False
    quoted = sum(line.startswith('"') for line in lines)
    return any(set(cell) & set(',"\r\n') for (cell,) in cells) or quoted == len(cells) > 1


def _title_rows(records: list[list[str]], options: ReadOptions) -> int:
    """How many records above the header say what the table is about: they fill half as many cells as its rows at most.

    Blank ones count where one that is not blank is with them.
    """
    if options.title_rows is not None:
        return max(0, options.title_rows)
    filled = [sum(bool(cell.strip()) for cell in record) for record in records]
    usual = _usual(n for n in filled if n)
    if options.header is False or usual < 2:
        return 0
    titles = 0
    while titles < len(records) and filled[titles] <= usual // 2 and not any(map(is_hint, records[titles])):
        titles += 1
    rest = [record for record in records[titles:] if any(record)]
    if not any(filled[:titles]) or titles > _TITLE_ROWS or len(rest) <= _SURE_ROWS:
        return 0
    return titles if _is_header(rest[0], rest[1:], options) else 0


def _is_header(header: list[str], rows: list[list[str]], options: ReadOptions) -> bool:
    names = [cell.strip() for cell in header]
    regular = sum(len(row) == len(header) for row in rows) / len(rows)
    return (
        regular >= _SURE_SHARE
        and all(0 < len(name) <= _NAME_CHARACTERS for name in names)
        and len(set(names)) == len(names)
        and not any(cell.startswith(" ") for cell in header[1:])
        and (options.header is True or not is_data(header, rows))
    )


def _usual(numbers: Iterable[int]) -> int:
    """The commonest number; of equals the first."""
    return max(Counter(numbers).items(), key=lambda pair: pair[1], default=(1, 0))[0]
