"""JSON and JSON lines in the shapes that people have: records, rows, columns, and what wraps them."""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.data.building import Parsed, TableBuilder
from core.data.decoding import Encoding, chosen, detect
from core.data.formats._json_cells import cell, clean, records
from core.data.formats._json_shapes import VALUE, Keys, Listed, Place, is_text, outline, places
from core.data.formats._json_stream import DECODER, LineSource, Source
from core.data.options import ReadOptions
from core.errors import UserError
from core.settings import Limits

_HEAD_BYTES = 8192
_HEAD_CHARACTERS = 2**20
_HEAD_LINES = 50
_MOST_DAMAGED = 0.05
_PARTS_SHOWN = 50
_STRING = r'"(?:[^"\\]|\\.)*"'
# A key and its colon, or in a list a string, number or word with what follows it there.
_BEGINS = re.compile(
    rf"(?:\[\s*)*\{{\s*{_STRING}\s*:|(?:\[\s*)+(?:{_STRING}|-?\d[\d.eE+-]*|true|false|null)\s*,\s*[\"\[\d-]"
)
_LONG_TEXT = re.compile(r'(?:\[\s*)+"(?:[^"\\]|\\.)*\\?')


@dataclass
class _Content:
    """The elements of a file, to go through as often as needed.

    Attributes:
        take: yields their numbers (0 where they count themselves) and values.
        listed: what they have in common.
        facts: for `Parsed.facts`.
        header: names of the cells of rows, where they stand elsewhere.
        notes: what was mended.
    """

    take: Callable[[], Iterator[tuple[int, Any]]]
    listed: Listed
    facts: dict[str, Any]
    header: tuple[str, ...] = ()
    notes: list[dict[str, Any]] = field(default_factory=list)


def sniff(path: Path) -> bool:
    """Whether the file begins with a list or an object, and not only with a bracket, as the cell `[note]` does."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    start = _decoded(head).lstrip("\ufeff \t\r\n")
    if not start.startswith(("{", "[")):
        return False
    try:
        _, end = DECODER.raw_decode(start)
    except RecursionError:
        return True
    except json.JSONDecodeError:
        cut = len(head) == _HEAD_BYTES
        return bool(_BEGINS.match(start) or (cut and _LONG_TEXT.fullmatch(start))) or _are_values(start, cut=cut)
    rest = start[end:].lstrip(" \t")
    return not rest or "\n" in start[:end] or rest[0] in "\r\n{[" or bool(re.match(r",\s*[{\[]", rest))


def _decoded(head: bytes) -> str:
    """The first bytes as text, good enough for brackets and quotes."""
    for mark, name in ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32")):
        if head.startswith(mark):
            return head.decode(name, "ignore")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return head.decode("utf-16", "ignore")
    zeros = [place for place, byte in enumerate(head[:4]) if not byte]
    wide = {(1, 2, 3): "utf-32-le", (0, 1, 2): "utf-32-be", (1, 3): "utf-16-le", (0, 2): "utf-16-be"}
    # Chinese after the bracket has no zero byte.
    wide |= {(1,): "utf-16-le", (0,): "utf-16-be"}
    return head.decode(wide.get(tuple(zeros), "utf-8"), "ignore")


def parse(path: Path, limits: Limits, options: ReadOptions) -> Parsed:
    """Read the file into a table of text: a column for each key, `a.b` for what is inside of objects.

    Lists stay JSON in one cell, conversations in one notation. `options.part` chooses one of several lists of records.

    Raises:
        UserError: `json_damaged` (with the line), `json_too_deep`, `file_cell_too_long`, `file_part_missing`,
            `encoding_unknown`, `file_encoding_unknown`, and what `TableBuilder` raises.
    """
    encoding = chosen(path, options.encoding) if options.encoding else detect(path)
    if _is_lines(path, encoding):
        content = _lines(path, encoding, limits)
    else:
        content = _document(path, encoding, limits, options.part)
    builder, rows = _rows(content, limits, options) if content.listed.is_rows else _records(content, limits)
    broken = 0
    for number, cells in rows:
        if max(map(len, cells), default=0) > limits.cell_characters:
            raise UserError("file_cell_too_long", limit=limits.cell_characters)
        broken += any("\ufffd" in text for text in cells)
        builder.add(number, cells)
    parsed = builder.finish(single_column=options.single_column)
    parsed.notes += content.notes
    if broken:
        parsed.notes.append({"code": "broken_characters", "rows": broken})
    named = content.facts["header"] and all(note["code"] != "header_missing" for note in parsed.notes)
    wrapping = {"container": "", "encoding": encoding.shown, "delimiter": "", "title_rows": 0, "part": "", "parts": []}
    parsed.facts = wrapping | content.facts | {"header": named}
    return parsed


def _is_lines(path: Path, encoding: Encoding) -> bool:
    with path.open(encoding=encoding.name, errors="replace", newline="") as file:
        head = file.read(_HEAD_CHARACTERS)
    return _are_values(head, cut=len(head) == _HEAD_CHARACTERS)


def _are_values(head: str, *, cut: bool) -> bool:
    """Whether most of the first lines hold a list or an object each."""
    lines = head.replace("\0", "").replace("\r", "\n").split("\n")
    found = [line for line in (line.strip(" \t\ufeff") for line in lines[: -1 if cut else None]) if line][:_HEAD_LINES]
    return len(found) > 1 and 2 * sum(map(_holds_value, found)) > len(found)


def _holds_value(line: str) -> bool:
    try:
        return isinstance(DECODER.decode(line), dict | list)
    except (json.JSONDecodeError, RecursionError):
        return False


def _lines(path: Path, encoding: Encoding, limits: Limits) -> _Content:
    source, listed = LineSource(path, encoding, limits), Listed()
    for _, value in source:
        listed.add(value, limits.columns)
    if source.damaged > _MOST_DAMAGED * (source.damaged + source.taken):
        raise UserError("json_damaged", line=source.first_damaged)
    facts = {"format": "jsonl", "header": True}
    return _Content(lambda: iter(LineSource(path, encoding, limits)), listed, facts, notes=source.notes)


def _document(path: Path, encoding: Encoding, limits: Limits, part: str | None) -> _Content:
    def opened() -> Source:
        return Source(path, encoding, limits)

    source = opened()
    found = outline(source, limits.columns)
    several = bool(source.peek())
    facts: dict[str, Any] = {"format": "json", "header": True}
    if several:
        place = Place((), 0, _values)
    elif choice := places(found):
        place = _chosen(choice, part)
        if len(choice) > 1:
            names = [one.name for one in choice][:_PARTS_SHOWN]
            facts |= {"part": place.name, "parts": names if place.name in names else [place.name, *names[:-1]]}
    else:
        place = Place((), 1, lambda source, _: [source.value()])
    listed = place.listed or Listed()
    if not place.listed:
        for element in place.elements(opened()):
            listed.add(element, limits.columns)
    return _Content(lambda: ((0, one) for one in place.elements(opened())), listed, facts, place.header, source.notes)


def _values(source: Source, depth: int) -> Iterator[Any]:
    """Documents one after the other, whatever stands between them."""
    while kind := source.peek():
        if kind == "[":
            yield from source.elements(depth)
        else:
            yield source.value(depth)
        if source.peek() == ",":
            source.take(",")


def _chosen(choice: list[Place], part: str | None) -> Place:
    """The place that a person asks for, else the one with most records, the first of equals."""
    if part is None or len(choice) < 2:
        return max(choice, key=lambda place: place.count)
    for place in choice:
        if place.name == part:
            return place
    names = ", ".join(place.name for place in choice[:10])
    raise UserError("file_part_missing", part=part[:60], parts=names)


def _records(content: _Content, limits: Limits) -> tuple[TableBuilder, Iterator[tuple[int, list[str]]]]:
    columns = content.listed.columns
    plain = not content.listed.objects and columns == [VALUE]
    names = ["text"] if plain else [clean(".".join(path)) for path in columns]
    places = {path: place for place, path in enumerate(columns)}
    return TableBuilder(names, 0, limits, joint=" ", named=True), _record_rows(content, places)


def _record_rows(content: _Content, places: dict[Keys, int]) -> Iterator[tuple[int, list[str]]]:
    position = 0
    for number, element in content.take():
        for record in records(element):
            position += 1
            cells = [""] * len(places)
            _fill(cells, places, record, ())
            yield number or position, cells


def _fill(cells: list[str], places: dict[Keys, int], record: dict[str, Any], around: Keys) -> None:
    for key, value in record.items():
        path = (*around, key)
        if isinstance(value, dict) and value:
            _fill(cells, places, value, path)
        elif value is not None and value != {} and path in places:
            cells[places[path]] = cell(value)


def _rows(
    content: _Content, limits: Limits, options: ReadOptions
) -> tuple[TableBuilder, Iterator[tuple[int, list[str]]]]:
    """Lists of cells. The first one names the columns if it is all text, or as the person says."""
    first, width = content.listed.first, content.listed.width
    is_header = bool(first) and isinstance(first, list) and options.header is not False
    if is_header and options.header is None:
        is_header = all(map(is_text, first))
    rows = (
        (number or position, list(map(cell, element)) if isinstance(element, list) else [cell(element)])
        for position, (number, element) in enumerate(content.take(), start=1)
    )
    if content.header:
        return TableBuilder(list(map(clean, content.header)), 0, limits, joint=" ", named=True), rows
    if is_header:
        number, names = next(rows)
        return TableBuilder(names, number, limits, joint=" ", named=options.header is not None), rows
    content.facts["header"] = False
    padded = ((number, cells + [""] * (width - len(cells))) for number, cells in rows)
    return TableBuilder([f"column {n}" for n in range(1, width + 1)], 1, limits, joint=" ", named=True), padded
