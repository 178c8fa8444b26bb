"""Translations of programs: gettext's .po and .mo, read by polib."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from core.data.building import Parsed, TableBuilder
from core.data.decoding import Encoding, Lines, chosen, detect
from core.data.formats._declared import base, declared
from core.data.formats._pieces import mixed_notes
from core.data.formats.compressed import scratch
from core.data.options import ReadOptions
from core.errors import UserError
from core.settings import Limits

if TYPE_CHECKING:
    import polib  # type: ignore[import-untyped]

_HEAD_BYTES = 65_536
_MAGIC = (b"\xde\x12\x04\x95", b"\x95\x04\x12\xde")
_BEGINS = re.compile(rb"(?:msgid|msgctxt|domain)\s+\"")
_ENTRY = re.compile(rb"^[ \t]*msgid[ \t]+\".*?^[ \t]*msgstr(?:\[\d+\])?[ \t]+\"", re.MULTILINE | re.DOTALL)
_CHARSET = re.compile(rb"Content-Type:[^\r\n]*?charset=([\w.:-]{1,40})", re.IGNORECASE)
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]{4})?")
_MO_HEADER = 20


def sniff(path: Path) -> bool:
    """Whether it is a compiled catalogue by its first bytes, or a text that begins with an entry, but for comments."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(_MAGIC):
        return True
    lines = (line.strip() for line in head.lstrip(b"\xef\xbb\xbf").splitlines())
    first = next((line for line in lines if line and not line.startswith(b"#")), b"")
    return bool(_BEGINS.match(first) and _ENTRY.search(head))


def parse(path: Path, limits: Limits, options: ReadOptions) -> Parsed:
    """Read the entries into the columns source, target and context, with a further row for each plural form.

    Obsolete entries and those marked as fuzzy are left out.

    Raises:
        UserError: `file_damaged`, `file_cell_too_long`, `encoding_unknown`, `file_encoding_unknown`, and what
            `TableBuilder` raises.
    """
    with path.open("rb") as file:
        compiled = file.read(4) in _MAGIC
    if compiled:
        _check_compiled(path)
    encoding = _encoding(path, options, compiled=compiled)
    lines = Lines(path, encoding)
    entries = _compiled(path, encoding) if compiled else _plain(lines)
    builder = TableBuilder(["source", "target", "context"], 0, limits, joint=" ", named=True)
    number = fuzzy = 0
    for entry in entries:
        if entry.obsolete or not entry.msgid:
            continue
        if "fuzzy" in entry.flags:
            fuzzy += 1
            continue
        for cells in _rows(entry):
            if max(map(len, cells)) > limits.cell_characters:
                raise UserError("file_cell_too_long", limit=limits.cell_characters)
            number += 1
            builder.add(number, cells)
    parsed = builder.finish(single_column=options.single_column)
    parsed.notes += mixed_notes(lines, encoding)
    if fuzzy:
        parsed.notes.append({"code": "fuzzy_left_out", "rows": fuzzy})
    parsed.facts = {"format": "mo" if compiled else "po", "container": "", "encoding": encoding.shown, "delimiter": ""}
    parsed.facts |= {"title_rows": 0, "header": True, "part": "", "parts": []}
    language = base(entries.metadata.get("Language", ""))
    if _LANGUAGE.fullmatch(language):
        parsed.facts["languages"] = {"target": language}
    return parsed


def _rows(entry: "polib.POEntry | polib.MOEntry") -> Iterator[list[str]]:
    """The singular with the first form and the plural with the others; languages with one form have it for both."""
    context = entry.msgctxt or ""
    if not entry.msgid_plural:
        yield _cleaned(entry.msgid, entry.msgstr, context)
        return
    # polib's keys are numbers, or text where an entry is damaged.
    forms = [entry.msgstr_plural[key] for key in sorted(entry.msgstr_plural, key=int)] or [""]
    yield _cleaned(entry.msgid, forms[0], context)
    for form in dict.fromkeys(forms[1:] or forms):
        yield _cleaned(entry.msgid_plural, form, context)


def _cleaned(*cells: str) -> list[str]:
    return [cell.replace("\0", "") for cell in cells]


def _compiled(path: Path, encoding: Encoding) -> "polib.MOFile":
    import polib

    try:
        return polib.mofile(str(path), encoding=encoding.name)
    except (OSError, ValueError, struct.error) as error:
        raise UserError("file_damaged") from error


def _plain(lines: Lines) -> "polib.POFile":
    """Read by way of a file in UTF-8: in a text, polib takes more for line ends than gettext does."""
    import polib

    with scratch() as (file, copied):
        file.writelines(line.encode("utf-8", "replace") for line in lines)
        file.flush()
        try:
            return polib.pofile(str(copied), encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UserError("file_damaged") from error


def _encoding(path: Path, options: ReadOptions, *, compiled: bool) -> Encoding:
    """What the person says, else what the header declares if it is known and fits, else what fits."""
    if options.encoding:
        return chosen(path, options.encoding)
    named = _CHARSET.search(path.read_bytes())
    # CHARSET is what a template has in its place.
    found = declared(path, named[1].decode()) if named and named[1] != b"CHARSET" else None
    # Nothing fits a compiled file as a whole, only the strings in it.
    if compiled:
        return found or Encoding("utf-8")
    return found if found and found.errors == "strict" else detect(path)


def _check_compiled(path: Path) -> None:
    """Make sure that every string lies in the file, and that together they are no larger than it.

    The format: GNU gettext manual, "The Format of GNU MO Files".

    Raises:
        UserError: `file_damaged`.
    """
    content = path.read_bytes()
    order = "<" if content.startswith(_MAGIC[0]) else ">"
    if len(content) < _MO_HEADER:
        raise UserError("file_damaged")
    count, *tables = struct.unpack_from(f"{order}3I", content, 8)
    total = 0
    for start in tables:
        if start + 8 * count > len(content):
            raise UserError("file_damaged")
        places = struct.unpack_from(f"{order}{2 * count}I", content, start)
        lengths, starts = places[::2], places[1::2]
        if any(begin + length > len(content) for length, begin in zip(lengths, starts, strict=True)):
            raise UserError("file_damaged")
        total += sum(lengths)
    if total > len(content):
        raise UserError("file_damaged")
