"""Plain text from a text with HTML in it, leaving alone what only looks like it (`a < b`, `<3`, `List<int>`)."""

import html
import re
from html.entities import html5

# Elements of the HTML standard, and those that old pages have.
_BLOCK_NAMES = """
    address article aside blockquote body br center dd details dialog dir div dl dt fieldset figcaption figure footer
    form frameset h1 h2 h3 h4 h5 h6 head header hr html legend li main menu nav noscript ol optgroup option p pre
    section summary table tbody tfoot thead title tr ul
"""
_INLINE_NAMES = """
    a abbr acronym applet area audio b base basefont bdi bdo big button canvas caption cite code col colgroup data
    datalist del dfn em embed font frame i iframe img input ins kbd label link map mark marquee meta meter nobr object
    output param picture progress q rp rt ruby s samp script select slot small source span strike strong style sub sup
    svg template textarea time track tt u var video wbr
"""
# An opening tag of these needs no closing one; of any other, `<b>` without `</b>` is more likely a formula.
_ALONE_NAMES = "br hr p li dd dt td th tr tbody thead tfoot img wbr body html head div span"
_BLOCKS, _INLINE = frozenset(_BLOCK_NAMES.split()), frozenset(_INLINE_NAMES.split())
_ALONE = frozenset(_ALONE_NAMES.split())
_CELLS = frozenset(["td", "th"])
_DROPPED = frozenset(["script", "style"])

_NAMES = "|".join(sorted(_BLOCKS | _CELLS | _INLINE, key=lambda name: (-len(name), name)))
# Attributes have an equals sign, so that "<b and c>" is no tag. No part can match the "<" of the next one.
_TAG = re.compile(
    rf"<(?P<close>/)?(?P<name>{_NAMES})(?P<attributes>\s[^<>=]{{0,200}}=[^<>]{{0,5000}})?\s{{0,20}}/?\s{{0,20}}>"
    r"|<!doctype[^<>]{0,300}>|(?P<comment><!--)",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_DOUBLED = re.compile(r"&(?:amp;)+(?=#?[A-Za-z0-9]{1,32};)")
_PAIR = re.compile(r"&#(5[5-7]\d{3});&#(5[5-7]\d{3});")
_MANY_BREAKS = re.compile(r"\n{3,}")
_ROUNDS = 4

# Found in every text that `strip_html` changes.
HINT = "<[A-Za-z/!]|&[#A-Za-z]"


def strip_html(text: str) -> str:
    """The text without tags and comments, with entities as characters.

    Blocks and `<br>` become line breaks, scripts and styles vanish. Entities may have been escaped more than once. The
    time grows with the length alone.
    """
    for _ in range(_ROUNDS):
        new = _unescaped(_without_tags(text))
        if new == text:
            break
        text = new
    return text


def _unescaped(text: str) -> str:
    if "&" not in text:
        return text
    return _ENTITY.sub(_character, _PAIR.sub(_paired, _DOUBLED.sub("&", text)))


def _paired(halves: re.Match[str]) -> str:
    """An emoji that was written as the two halves of its UTF-16 code."""
    high, low = (int(half) for half in halves.groups())
    if 0xD800 <= high < 0xDC00 <= low < 0xE000:
        return chr(0x10000 + ((high - 0xD800) << 10) + low - 0xDC00)
    return halves.group()


def _character(entity: re.Match[str]) -> str:
    written = entity.group()
    if written[1] != "#" and written[1:] not in html5:
        return written
    # Numbers that are no character stand for nothing.
    return html.unescape(written).replace("\xa0", " ").replace("\ufffd", "")


def _without_tags(text: str) -> str:
    if "<" not in text:
        return text
    tags = list(_TAG.finditer(text))
    closed = {tag["name"].lower(): tag.start() for tag in tags if tag["close"]}
    kept: list[str] = []
    end, removed, comments_until = 0, False, text.rfind("-->")
    for tag in tags:
        if tag.start() < end:
            continue
        if tag["comment"]:
            # Without its end a comment is none.
            if tag.end() <= comments_until:
                kept.append(text[end : tag.start()])
                end, removed = text.find("-->", tag.end()) + 3, True
            continue
        name = (tag["name"] or "").lower()
        if not _is_markup(tag, name, closed):
            continue
        kept += [text[end : tag.start()], _instead(name)]
        end, removed = tag.end(), True
        if name in _DROPPED and not tag["close"] and closed.get(name, -1) > end:
            end = _closing(text, name, end)
    return _tidy("".join(kept) + text[end:]) if removed else text


def _is_markup(tag: re.Match[str], name: str, closed: dict[str, int]) -> bool:
    if not name or tag["close"] or tag["attributes"] or name in _ALONE:
        return True
    return closed.get(name, -1) > tag.start()


def _closing(text: str, name: str, begin: int) -> int:
    """Where the closing tag of a script begins. One exists."""
    found = re.compile(f"</{name}", re.IGNORECASE).search(text, begin)
    return found.start() if found else begin


def _instead(name: str) -> str:
    return "\n" if name in _BLOCKS else " " if name in _CELLS else ""


def _tidy(text: str) -> str:
    """No blanks at the ends of lines and no more than one blank line, which tags leave behind."""
    lines = "\n".join(line.strip(" \t") for line in text.split("\n"))
    return _MANY_BREAKS.sub("\n\n", lines).strip()
