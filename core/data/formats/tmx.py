"""Translation memories: TMX 1.1 to 1.4 (LISA, "TMX 1.4b specification"), a column for each language."""

import re
from collections import Counter
from html.entities import html5
from pathlib import Path
from typing import Any
from xml.sax import SAXException
from xml.sax.handler import ContentHandler, feature_external_ges

from core.data.building import Parsed, TableBuilder
from core.data.decoding import Encoding, chosen, detect
from core.data.formats._declared import base, code, declared
from core.data.formats._pieces import Pieces
from core.data.options import ReadOptions
from core.errors import UserError
from core.settings import Limits

_HEAD_BYTES = 8192
_LANGUAGES = 20
# What stands before the root element: declaration, comments, and the document type.
_BEFORE = rb"\s*(?:<\?.*?\?>\s*|<!--.*?-->\s*)*"
_BEGINS = re.compile(rb"(?:\xef\xbb\xbf)*" + _BEFORE + rb"(?:<!DOCTYPE\s+tmx\b|<tmx[\s>])", re.DOTALL | re.IGNORECASE)
_DECLARED = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]{1,40})["']""")
# Codes of formatting inside a segment: their content is no text, but for what `sub` marks as such.
_CODES = frozenset({"bpt", "ept", "ph", "it", "ut"})


def sniff(path: Path) -> bool:
    """Whether the root element is `tmx`, in any width of characters."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return bool(_BEGINS.match(head.removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff").replace(b"\0", b"")))


def parse(path: Path, limits: Limits, options: ReadOptions) -> Parsed:
    """Read the units into a table with a column for each language, the most frequent first.

    Nothing that the file refers to is fetched, and declared entities are refused.

    Raises:
        UserError: `file_damaged`, `file_cell_too_long`, `encoding_unknown`, `file_encoding_unknown`, and what
            `TableBuilder` raises.
    """
    encoding = chosen(path, options.encoding) if options.encoding else _encoding(path)
    units = _Units(limits)
    pieces = Pieces(path, encoding)
    _feed(pieces, units)
    names = _columns(units.found)
    columns = list(dict.fromkeys(names.values()))[:_LANGUAGES]
    places = {language: columns.index(name) for language, name in names.items() if name in columns}
    builder = TableBuilder(columns, 0, limits, joint=" ", named=True)
    broken = 0
    for number, unit in enumerate(units.found, start=1):
        cells = [""] * len(columns)
        for language, text in unit:
            if language in places and not cells[places[language]]:
                cells[places[language]] = text
        broken += any("\ufffd" in text for text in cells)
        builder.add(number, cells)
    parsed = builder.finish(single_column=options.single_column)
    parsed.notes += pieces.notes
    if broken:
        parsed.notes.append({"code": "broken_characters", "rows": broken})
    parsed.facts = {"format": "tmx", "container": "", "encoding": encoding.shown, "delimiter": "", "title_rows": 0}
    parsed.facts |= {"header": True, "part": "", "parts": []}
    return parsed


def _encoding(path: Path) -> Encoding:
    """Unicode where the bytes say so, else what the file declares."""
    with path.open("rb") as file:
        named = _DECLARED.search(file.read(_HEAD_BYTES))
    said = declared(path, named[1].decode()) if named else None
    try:
        found = detect(path)
    except UserError:
        if said:
            return said
        raise
    certain = found.name.startswith("utf") and found.errors == "strict"
    return said if said and not certain else found


def _feed(pieces: Pieces, units: "_Units") -> None:
    from defusedxml.common import DefusedXmlException  # type: ignore[import-untyped]
    from defusedxml.expatreader import DefusedExpatParser  # type: ignore[import-untyped]

    # A document type as real files have it names a file to fetch. That is not done: the feature is off.
    parser = DefusedExpatParser(forbid_entities=True, forbid_external=False)
    parser.setFeature(feature_external_ges, False)
    parser.setContentHandler(units)
    try:
        # Text and not bytes: the parser then asks no more for the declared encoding.
        for piece in pieces:
            parser.feed(piece.replace("\0", ""))
        parser.close()
    except (SAXException, DefusedXmlException, UnicodeError, ValueError) as error:
        raise UserError("file_damaged") from error


class _Units(ContentHandler):
    """Hears the parser.

    Attributes:
        found: for each unit its languages and texts, the first text of a language only.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.found: list[tuple[tuple[str, str], ...]] = []
        self._limits = limits
        self._unit: dict[str, str] = {}
        self._language = ""
        self._pieces: list[str] = []
        self._length = self._depth = 0
        # Whether text counts, for the segment and each element inside of it.
        self._heard: list[bool] = []

    def startElement(self, name: str, attrs: Any) -> None:  # noqa: N802 (the parser's name)
        """Note a unit, a language or a segment. Names may have a prefix."""
        self._depth += 1
        if self._depth > self._limits.depth:
            raise UserError("file_damaged")
        tag = name.rpartition(":")[2].lower()
        if self._heard:
            self._heard.append(tag not in _CODES and (tag == "sub" or self._heard[-1]))
        elif tag == "seg":
            self._heard, self._pieces, self._length = [True], [], 0
        elif tag == "tuv":
            self._language = code(attrs.get("xml:lang") or attrs.get("lang") or "")
        elif tag == "tu":
            self._unit = {}

    def characters(self, content: str) -> None:
        """Gather the text of a segment.

        Raises:
            UserError: `file_cell_too_long`.
        """
        if not self._heard or not self._heard[-1]:
            return
        self._pieces.append(content)
        self._length += len(content)
        if self._length > self._limits.cell_characters:
            raise UserError("file_cell_too_long", limit=self._limits.cell_characters)

    def skippedEntity(self, name: str) -> None:  # noqa: N802 (the parser's name)
        """Put the character for an entity that the document type would declare, such as `&nbsp;`."""
        self.characters(html5.get(f"{name};", f"&{name};"))

    def endElement(self, name: str) -> None:  # noqa: N802 (the parser's name)
        """Keep a segment, or a unit.

        Raises:
            UserError: `file_too_many_rows`.
        """
        self._depth -= 1
        if self._heard:
            self._heard.pop()
            if not self._heard and self._language:
                self._unit.setdefault(self._language, "".join(self._pieces))
        elif name.rpartition(":")[2].lower() == "tu":
            self.found.append(tuple(self._unit.items()))
            if len(self.found) > self._limits.rows:
                raise UserError("file_too_many_rows", limit=self._limits.rows)


def _columns(units: list[tuple[tuple[str, str], ...]]) -> dict[str, str]:
    """Each language's column, the most frequent first. Regions share one unless a unit has two of them."""
    together = {tuple(language for language, _ in unit) for unit in units}
    apart: set[str] = set()
    for languages in together:
        bases = Counter(map(base, languages))
        apart |= {one for one, count in bases.items() if count > 1}
    counts = Counter(language for unit in units for language, _ in unit)
    named = {language: language if base(language) in apart else base(language) for language in counts}
    totals: Counter[str] = Counter()
    for language, count in counts.items():
        totals[named[language]] += count
    order = [name for name, _ in totals.most_common()]
    return dict(sorted(named.items(), key=lambda item: order.index(item[1])))
