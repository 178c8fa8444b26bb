"""Checks of what texts are made of: wrong encodings, invisible characters, markup, nothing at all."""

import re

from core.data.cleaning import PLACEHOLDERS, joined_cells, needed_roles
from core.data.doctor.base import Check, Seen, Sheet, samples
from core.data.doctor.markup import HINT, strip_html
from core.data.doctor.rewriting import changed, changes_in_texts, dropped
from core.data.findings import Finding, examples, named
from core.data.shapes import Kind
from core.errors import Fact

_TEXTS: tuple[Kind, ...] = ("text", "answer", "messages")


def _misread(codec: str) -> str:
    """A pattern of what the two to four bytes of a UTF-8 character become when read in another encoding."""

    def characters(first: int, last: int) -> str:
        found = [bytes([byte]).decode(codec, "replace") for byte in range(first, last + 1)]
        return "[" + "".join(re.escape(c) for c in found if c.isprintable() or c > "\x7f") + "]"

    two, three, four, more = (characters(*ends) for ends in ((0xC2, 0xDF), (0xE0, 0xEF), (0xF0, 0xF4), (0x80, 0xBF)))
    return f"{two}{more}|{three}{more}{more}|{four}{more}{more}{more}"


# Latin-1 has control characters where Windows-1252 has quotes; texts hold both.
_CODECS = ("cp1252", "latin-1", "cp1251", "cp1250", "mac-roman", "cp437")
# What the first two bytes of Chinese characters and marks in UTF-8 are in GBK. Many of these are hardly ever written.
_GBK_MARKS = frozenset(
    bytes([lead, more]).decode("gb18030")
    for lead in (0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEF)
    for more in range(0x80, 0xC0)
)
# What is left of characters that could not be read, in two fashions.
_LOST = "\ufffd|锟斤拷"
_CHINESE = re.compile("[\u4e00-\u9fff]")
_GARBLED = "|".join([*map(_misread, _CODECS), "[\x80-\x9f]", "[" + "".join(sorted(_GBK_MARKS)) + "]", _LOST])


def garbled_text(sheet: Sheet) -> Seen | None:
    """Texts that were once read in a wrong encoding (`isnâ€™t`), and characters that are lost for good."""
    import numpy as np

    changes = changes_in_texts(sheet, _ungarbled, _GARBLED)
    lost = np.zeros(len(sheet.frame), dtype=bool)
    names = sheet.names(*_TEXTS)
    for name in names:
        lost |= sheet.frame[name].str.contains(_LOST, regex=True, na=False).to_numpy(dtype=bool)
    seen = changed(sheet, "garbled_text", "mend", changes, facts={"lost": int(lost.sum())})
    if seen is not None or not lost.any():
        return seen
    rows = sheet.frame.index[lost]
    facts: dict[str, Fact] = {"lost": len(rows)}
    return Seen(
        Finding("garbled_text", len(rows), "warning", facts, examples(rows), samples=samples(sheet, rows, names))
    )


def _ungarbled(text: str) -> str:
    """The text as it was meant, by ftfy's heuristic (Speer, 2019), and for UTF-8 that was read as GBK by trying."""
    import ftfy
    from ftfy.badness import is_bad

    if not _GBK_MARKS.isdisjoint(text):
        text = _from_gbk(text)
    # Nearly all such texts were read as Windows-1252 once; ftfy tries much more and takes twenty times as long.
    again = _read_again(text, "cp1252") if is_bad(text) else None
    return again if again is not None and not is_bad(again) else ftfy.fix_encoding(text)


def _from_gbk(text: str) -> str:
    """UTF-8 that was read as GBK. Of an odd number of bytes the last one was lost, and its character with it."""
    raw = text.rstrip("\ufffd").encode("gb18030", "replace")
    try:
        again = raw.decode("utf-8")
    except UnicodeDecodeError as wrong:
        again = raw[: wrong.start].decode("utf-8") if wrong.reason == "unexpected end of data" else ""
    return again if _CHINESE.search(again) else text


def _read_again(text: str, codec: str) -> str | None:
    """UTF-8 that was read in another encoding, None where it was not."""
    try:
        return text.encode(codec).decode("utf-8")
    except UnicodeError:
        return None


# Scripts without joiners; in others (Persian, Hindi, emoji) they change what is read and stay.
_JOINERLESS = "A-Za-z0-9\u00c0-\u024f\u0370-\u052f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3"
# Scripts without blanks in which U+200B says where a line may break.
_BLANKLESS = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"
_BREAKS = "\x0b\x0c\x1c-\x1e\x85"
_INVISIBLE = "\x01-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u2060-\u2064\u202a-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb"
_TAGS = "\U000e0000-\U000e007f"
_CONTROL = re.compile(
    f"(?P<flag>\U0001f3f4[{_TAGS}]+)|(?P<break>[{_BREAKS}])|\x1f|[\x00{_INVISIBLE}{_TAGS}]|(?<![{_BLANKLESS}])\u200b"
    f"|(?<=[{_JOINERLESS}])[\u200c\u200d]+(?=[{_JOINERLESS}])"
)
_CONTROL_HINT = rf"[\x00{_BREAKS}{_INVISIBLE}{_TAGS}" + "\x1f\u200b-\u200d]"


def control_characters(sheet: Sheet) -> Seen | None:
    """Characters that nobody sees: of old terminals, without width inside words, for the direction of writing."""
    changes = changes_in_texts(sheet, without_controls, _CONTROL_HINT)
    return changed(sheet, "control_characters", "remove", changes, "info")


def without_controls(text: str) -> str:
    """The text without them; old marks of a new line or page become line breaks."""
    return _CONTROL.sub(_instead, text)


def _instead(found: re.Match[str]) -> str:
    if found["flag"]:
        return found.group()
    return "\n" if found["break"] else " " if found.group() == "\x1f" else ""


def html_markup(sheet: Sheet) -> Seen | None:
    """Tags and entities of web pages."""
    changes = changes_in_texts(sheet, _plain, HINT)
    return changed(sheet, "html", "strip", changes, "info")


def _plain(text: str) -> str:
    stripped = strip_html(text)
    # An entity may stand for a character that nobody sees.
    return text if stripped == text else without_controls(stripped)


def blank_text(sheet: Sheet) -> Seen | None:
    """Rows without a text for the model to read."""
    return _blank(sheet, "blank_text", "text")


def blank_answer(sheet: Sheet) -> Seen | None:
    """Rows without the text that the model shall learn to write."""
    return _blank(sheet, "blank_answer", "answer")


def _blank(sheet: Sheet, code: str, kind: Kind) -> Seen | None:
    import numpy as np

    unfit = np.zeros(len(sheet.frame), dtype=bool)
    roles: list[str] = []
    for role in needed_roles(sheet.shape, sheet.columns):
        if role.kind == kind:
            blank = (joined_cells(sheet.frame, sheet.columns[role.name]) == "").to_numpy(dtype=bool)
            roles += [role.name] if blank.any() else []
            unfit |= blank
    facts: dict[str, Fact] = {"role": ", ".join(roles)} if kind == "answer" else {}
    return dropped(sheet, code, unfit, sheet.names("text", "answer", "label", "labels"), facts)


def placeholder_text(sheet: Sheet) -> Seen | None:
    """Texts and answers that a program wrote for "no value"."""
    import numpy as np

    unfit = np.zeros(len(sheet.frame), dtype=bool)
    written: set[str] = set()
    for role in needed_roles(sheet.shape, sheet.columns):
        if role.kind not in ("text", "answer"):
            continue
        cells = joined_cells(sheet.frame, sheet.columns[role.name])
        placeholder = cells.str.lower().isin(PLACEHOLDERS).to_numpy(dtype=bool)
        written |= set(cells[placeholder].unique().tolist())
        unfit |= placeholder
    names = sheet.names("text", "answer", "label", "labels")
    return dropped(sheet, "placeholder_text", unfit, names, {"texts": named(sorted(written))})


CHARACTER_CHECKS: tuple[Check, ...] = (
    Check("garbled_text", _TEXTS, garbled_text),
    Check("control_characters", _TEXTS, control_characters),
    Check("html", _TEXTS, html_markup),
)
BLANK_CHECKS: tuple[Check, ...] = (
    Check("blank_text", ("text",), blank_text),
    Check("blank_answer", ("answer",), blank_answer),
)
PLACEHOLDER_CHECKS: tuple[Check, ...] = (Check("placeholder_text", ("text", "answer"), placeholder_text),)
