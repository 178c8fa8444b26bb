"""Checks for what can be traced to a person: addresses, telephone numbers, card numbers, links. All is only offered.

The patterns would rather miss something than take an order number for a telephone number.
"""

import re
from collections.abc import Callable

from core.data.doctor.base import Check, Seen, Sheet
from core.data.doctor.rewriting import Change, changed, changes_in_texts
from core.data.findings import Severity
from core.data.shapes import Kind

_TEXTS: tuple[Kind, ...] = ("text", "answer", "messages")

_EMAIL = re.compile(
    r"(?<![A-Za-z0-9_%+-])[A-Za-z0-9_%+-][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])"
)
# Not ASCII alone, for there are addresses in other scripts; marks of East Asian writing end an address.
_URL = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:https?|ftp)://|www\.)[^\s<>\"'`|\\^{}\[\]“”‘’«»\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]{1,3000}"
    r"(?<![.,;:!?)])",
    re.IGNORECASE,
)

_BEGIN, _END = r"(?<![A-Za-z0-9_#+/-])(?<!\d[.,:])", r"(?![A-Za-z0-9_]|[-.,/:]\d)"
_PHONE = re.compile(
    _BEGIN + r"(?:"
    # +49 (0) 30 123456, +1-555-010-9999
    r"(?:\+|00(?=[1-9]\d?[ .-]))[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4}\d{0,4}"
    # (555) 010-9999, (020) 7946 0958
    r"|\(\d{2,5}\)[ -]?\d{3,4}[ .-]?\d{3,4}"
    # 555-010-9999, 555.010.9999, and with 1- before it
    r"|(?:1[-. ])?[2-9]\d{2}[-.]\d{3}[-.]\d{4}"
    # Mobile telephones in China, bare or in groups, and numbers with an area code there
    r"|(?:86[- ]?)?1[3-9]\d(?:\d{8}|[- ]\d{4}[- ]\d{4})|0[1-9]\d{1,2}-\d{7,8}"
    # 06 12 34 56 78, 0221/123456, 020 7946 0958, 07700 900123
    r"|0[1-9](?: \d{2}){4}|0[1-9]\d{1,3} ?/ ?\d{5,8}|0[1-9]\d{1,3} \d{3,4} \d{3,4}|0[1-9]\d{2,3} \d{6}"
    r")" + _END
)
_FEWEST_DIGITS, _MOST_DIGITS = 9, 15

_CARD = re.compile(
    r"(?<![A-Za-z0-9_.+-])"
    r"(?:(?P<four>\d{4}([ -])\d{4}\2\d{4}\2\d{4})(?P<more>\2\d{3})?|\d{4}([ -])\d{6}\4\d{4,5}|\d{13,19})"
    r"(?![A-Za-z0-9_]|[.-]\d)"
)
# Beginnings and lengths of the numbers that issuers give out (ISO/IEC 7812).
_ISSUED = re.compile(r"4\d{12}(?:\d{3}){0,2}|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3[068]\d{12}|35\d{14}|6\d{15,18}")


def mask_emails(text: str) -> str:
    """The text with [EMAIL] in place of e-mail addresses."""
    return _EMAIL.sub("[EMAIL]", text)


def mask_urls(text: str) -> str:
    """The text with [URL] in place of links."""
    return _URL.sub("[URL]", text)


def mask_phones(text: str) -> str:
    """The text with [PHONE] in place of telephone numbers."""
    return _PHONE.sub(_phone, text)


def _phone(found: re.Match[str]) -> str:
    number = found.group()
    digits = sum(c.isdigit() for c in number)
    return "[PHONE]" if _FEWEST_DIGITS <= digits <= _MOST_DIGITS else number


def mask_cards(text: str) -> str:
    """The text with [CARD] in place of numbers of payment cards."""
    return _CARD.sub(_card, text)


def _card(found: re.Match[str]) -> str:
    if _is_card(found.group()):
        return "[CARD]"
    # Three digits behind a card's number are the code on its back, or nothing that belongs to it.
    return f"[CARD]{found['more']}" if found["more"] and _is_card(found["four"]) else found.group()


def _is_card(number: str) -> bool:
    digits = number.replace(" ", "").replace("-", "")
    return _ISSUED.fullmatch(digits) is not None and is_luhn(digits)


def is_luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _look(code: str, mask: Change, hint: str, severity: Severity) -> Callable[[Sheet], Seen | None]:
    def look(sheet: Sheet) -> Seen | None:
        return changed(sheet, code, "mask", changes_in_texts(sheet, mask, hint), severity, recommended=False)

    return look


def _check(code: str, mask: Change, hint: str, severity: Severity = "warning") -> Check:
    return Check(code, _TEXTS, _look(code, mask, hint, severity))


PRIVACY_CHECKS: tuple[Check, ...] = (
    _check("personal_emails", mask_emails, r"[A-Za-z0-9_%+-]@[A-Za-z0-9]"),
    _check("personal_phones", mask_phones, r"\d{2}[0-9 ()./-]{6,20}\d"),
    _check("personal_cards", mask_cards, r"\d[0-9 -]{11,40}\d"),
    _check("personal_urls", mask_urls, r"(?i:://|www\.)", "info"),
)
