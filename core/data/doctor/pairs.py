"""Pairs of texts that do not belong together: translations that are none, summaries that do not shorten."""

import math

from core.data import languages
from core.data.cleaning import text_key
from core.data.doctor.base import Check, Seen, Sheet, samples
from core.data.doctor.language import main_language, row_codes, strangers
from core.data.doctor.rewriting import dropped
from core.data.findings import Finding, examples

_TRANSLATION = ("source", "target")
_SUMMARY = ("text", "summary")
# A pair is out of proportion from a factor of three (e^1.1), or four times the usual distance, from the table's median.
_LOG_RATIO = 1.1
_DEVIATIONS = 4
_PAIRS = 20
# "OK" and "In Ordnung" are a factor of five apart. Of longer texts a word may be missing, not most of them.
_CHARACTERS = 40
_MAIN = 0.6
# A headline or a heading may well be how the text begins.
_COPIED = 40


def copied_pairs(sheet: Sheet) -> Seen | None:
    """Translations that are the source itself. Numbers and names are the same in many languages."""
    import numpy as np

    names = _columns(sheet, _TRANSLATION)
    if names is None:
        return None
    pairs = zip(*(sheet.frame[name].tolist() for name in names), strict=True)
    copied = np.array([_is_phrase(a) and text_key(a) == text_key(b) for a, b in pairs], dtype=bool)
    return dropped(sheet, "copied_pairs", copied, names)


def _is_phrase(text: str) -> bool:
    """Whether a text is more than a name: words, not all with a capital, or syllables in East Asian writing."""
    if text.isascii() or languages.script(text) not in ("Han", "Kana", "Thai"):
        words = [word for word in text.split() if word[0].isalpha()]
        return len(words) >= 2 and any(word[0].islower() or not word[0].isupper() for word in words)
    return sum(map(str.isalpha, text)) >= languages.SYLLABLES


def length_mismatch(sheet: Sheet) -> Seen | None:
    """Translations that are far longer or shorter than those of the table usually are."""
    import numpy as np

    names = _columns(sheet, _TRANSLATION)
    if names is None:
        return None
    lengths = np.array([[len(cell.strip()) for cell in sheet.frame[name].tolist()] for name in names], dtype=float)
    both = lengths.min(axis=0) > 0
    if both.sum() < _PAIRS:
        return None
    ratio = np.log(np.maximum(lengths[1], 1) / np.maximum(lengths[0], 1))
    median = float(np.median(ratio[both]))
    distance = np.abs(ratio - median)
    far = distance > max(_LOG_RATIO, _DEVIATIONS * float(np.median(distance[both])))
    far &= both & (lengths.max(axis=0) >= _CHARACTERS)
    if not far.any():
        return None
    rows = sheet.frame.index[far]
    finding = Finding(
        "length_mismatch",
        len(rows),
        "warning",
        {"ratio": round(math.exp(median), 2)},
        examples(rows),
        "drop",
        ("drop",),
        samples=samples(sheet, rows, names),
    )
    return Seen(finding, {"drop": lambda: sheet.frame[~far]})


def wrong_language_pairs(sheet: Sheet) -> Seen | None:
    """Pairs with a side that is surely not in its column's language: not translated, swapped, or a third language."""
    names = _columns(sheet, _TRANSLATION)
    if names is None:
        return None
    codes = [row_codes(sheet, name) for name in names]
    source, target = (main_language(column, _MAIN) for column in codes)
    if not source or not target or languages.akin(source, target):
        return None
    wrong = strangers(codes[0], source) | strangers(codes[1], target)
    return dropped(sheet, "wrong_language_pairs", wrong, names, {"source": source, "target": target})


def summary_too_long(sheet: Sheet) -> Seen | None:
    """Summaries that are no shorter than their text."""
    import numpy as np

    names = _columns(sheet, _SUMMARY)
    if names is None:
        return None
    pairs = zip(*(sheet.frame[name].tolist() for name in names), strict=True)
    long = np.array([0 < len(text.strip()) <= len(summary.strip()) for text, summary in pairs], dtype=bool)
    return dropped(sheet, "summary_too_long", long, names)


def summary_copied(sheet: Sheet) -> Seen | None:
    """Summaries that are the beginning of their text, word for word: a model learns to copy from them."""
    import numpy as np

    names = _columns(sheet, _SUMMARY)
    if names is None:
        return None
    pairs = zip(*(sheet.frame[name].tolist() for name in names), strict=True)
    copied = np.array([_begins(text, summary) for text, summary in pairs], dtype=bool)
    if not copied.any():
        return None
    rows = sheet.frame.index[copied]
    finding = Finding("summary_copied", len(rows), "info", {}, examples(rows), samples=samples(sheet, rows, names))
    return Seen(finding)


def _begins(text: str, summary: str) -> bool:
    if not _COPIED <= len(summary) < len(text):
        return False
    return text_key(text[: 2 * len(summary)]).startswith(text_key(summary))


def _columns(sheet: Sheet, roles: tuple[str, str]) -> list[str] | None:
    """The columns of a pair of roles, None where the examples are no such pairs."""
    found = [name for name in map(sheet.column, roles) if name]
    return found if len(found) == 2 and found[0] != found[1] else None


PAIR_CHECKS: tuple[Check, ...] = (
    Check("copied_pairs", ("answer",), copied_pairs),
    Check("wrong_language_pairs", ("answer",), wrong_language_pairs),
    Check("length_mismatch", ("answer",), length_mismatch),
    Check("summary_too_long", ("answer",), summary_too_long),
    Check("summary_copied", ("answer",), summary_copied),
)
