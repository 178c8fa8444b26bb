"""Where the table in a sheet begins, how wide it is, and what its merged cells stand for."""

from collections.abc import Iterator
from itertools import chain, islice
from statistics import quantiles

from core.data.building import Parsed, TableBuilder
from core.data.options import ReadOptions
from core.errors import UserError
from core.settings import Limits

# A row that is not blank: its number in the spreadsheet, and column (from 1) -> text of the cells that are filled.
Row = tuple[int, dict[int, str]]
_SAMPLE_ROWS = 50


class Merges:
    """Merged cells of a sheet: a value over several rows stands for each of them.

    Args:
        ranges: (left, top, right, bottom), columns and rows from 1, both ends inside.
    """

    def __init__(self, ranges: list[tuple[int, ...]]) -> None:
        self.rows: list[int] = []
        self._down = sorted((top, left, bottom) for left, top, _, bottom in ranges if bottom > top)
        self._across = {top for left, top, right, _ in ranges if right > left}

    def cross(self, number: int) -> bool:
        """Whether a merged cell that begins in this row spans columns."""
        return number in self._across

    def filled(self, rows: Iterator[Row]) -> Iterator[Row]:
        """The rows with the values from above put in; `rows` of this object then lists which these are."""
        waiting = iter(self._down)
        upcoming = next(waiting, None)
        open_now: list[tuple[int, int, str]] = []
        for number, cells in rows:
            open_now = [each for each in open_now if each[1] >= number]
            missing = {left: text for left, _, text in open_now if left not in cells}
            while upcoming and upcoming[0] <= number:
                top, left, bottom = upcoming
                if top == number and left in cells:
                    open_now.append((left, bottom, cells[left]))
                upcoming = next(waiting, None)
            if missing:
                self.rows.append(number)
            yield number, cells | missing


def build(rows: Iterator[Row], merges: Merges, limits: Limits, options: ReadOptions) -> Parsed:
    """The table, from its header on.

    Raises:
        UserError: `file_empty`, and what `TableBuilder` raises.
    """
    if options.title_rows is not None:
        rows = (row for row in rows if row[0] > (options.title_rows or 0))
    sample = list(islice(rows, _SAMPLE_ROWS))
    if not sample:
        raise UserError("file_empty")
    place = 0 if options.title_rows is not None else _header_place(sample, merges)
    (number, header), body = sample[place], sample[place + 1 :]
    # One column more than the first rows have, for cells further down that stand beyond: they are lost to nobody.
    width = min(max(max(cells) for _, cells in [sample[place], *body]) + 1, max(limits.columns, max(header)))
    if options.header is False:
        names = [f"column {column}" for column in range(1, width)]
        body = [sample[place], *body]
    else:
        names = _line(header, width)
    builder = TableBuilder(names, number, limits, joint=" ", named=options.header is not None)
    for row_number, cells in chain(body, rows):
        builder.add(row_number, _line(cells, len(names)))
    parsed = builder.finish(single_column=options.single_column)
    if repeated := sum(row > number for row in merges.rows):
        parsed.notes.append({"code": "merged_cells", "rows": repeated})
    missing = any(note["code"] == "header_missing" for note in parsed.notes)
    parsed.facts = {
        "container": "",
        "encoding": "",
        "delimiter": "",
        "title_rows": number - 1 if place or options.title_rows else 0,
        "header": options.header is not False and not missing,
    }
    return parsed


def _header_place(sample: list[Row], merges: Merges) -> int:
    """Where in the sample the header is: the first row about as full as most rows, with the next right below it.

    A row with cells merged across columns above a fuller one is a title, or groups the headings below.
    """
    if len(sample) < 2:
        return 0
    counts = [len(cells) for _, cells in sample]
    usual = round(quantiles(counts, n=4, method="inclusive")[2])
    enough = min(usual, max(2, usual - 1 if usual < 5 else round(0.7 * usual)))
    full = [place for place, count in enumerate(counts) if count >= enough]
    for place in full[:-1]:
        number, following = sample[place][0], sample[place + 1][0]
        groups = merges.cross(number) and counts[place] < counts[place + 1]
        apart = counts[place] < usual and following > number + 1
        if not groups and not apart:
            return place
    return full[0] if full else 0


def _line(cells: dict[int, str], width: int) -> list[str]:
    """The cells in order; what lies beyond the last column is joined to it."""
    line = [cells.get(column, "") for column in range(1, width + 1)]
    if beyond := [cells[column] for column in sorted(cells) if column > width]:
        line[-1] = " ".join([*filter(None, line[-1:]), *beyond])
    return line
