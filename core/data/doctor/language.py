"""Rows in another language than the rest of their column."""

from collections import Counter
from typing import TYPE_CHECKING

from core.data import languages
from core.data.doctor.base import Check, Seen, Sheet, samples
from core.data.findings import Finding, examples, named

if TYPE_CHECKING:
    import numpy as np

# The main language of a column: so many of the rows that can be told, and so many rows at least.
_MAIN = 0.8
_TOLD = 10
# What a single row is told by; a wrong word about one of a thousand rows is noticed.
SURE = 0.8


def other_language(sheet: Sheet) -> Seen | None:
    """Texts in another language than four of five of their column. Pairs of languages are looked at as pairs."""
    import numpy as np

    if sheet.columns.get("source") and sheet.columns.get("target"):
        return None
    strange = np.zeros(len(sheet.frame), dtype=bool)
    most: tuple[int, str, list[str]] = (0, "", [])
    names = sheet.names("text", "answer")
    for name in names:
        codes = row_codes(sheet, name)
        main = main_language(codes)
        found = strangers(codes, main) if main else np.zeros(len(codes), dtype=bool)
        strange |= found
        others = [code for code, _ in Counter(np.array(codes)[found].tolist()).most_common()]
        most = max(most, (int(found.sum()), main, others), key=lambda entry: entry[0])
    if not strange.any():
        return None
    rows = sheet.frame.index[strange]
    finding = Finding(
        "other_language",
        len(rows),
        "info",
        {"language": most[1], "other": named(most[2])},
        examples(rows),
        "drop",
        ("drop",),
        samples=samples(sheet, rows, names),
    )
    return Seen(finding, {"drop": lambda: sheet.frame[~strange]})


def row_codes(sheet: Sheet, name: str) -> list[str]:
    """The language of each cell of a column where it is beyond doubt, else empty."""
    return languages.codes(sheet.frame[name].tolist(), SURE, languages.LETTERS)


def main_language(codes: list[str], least: float = _MAIN) -> str:
    """The language of at least a share of the rows that can be told, empty where there is none."""
    told = Counter(code for code in codes if code)
    if told.total() < _TOLD:
        return ""
    code, n = told.most_common(1)[0]
    return code if n >= least * told.total() else ""


def strangers(codes: list[str], main: str) -> "np.ndarray":
    """Which rows are in a language that nobody takes for the main one, bool of shape (rows,)."""
    import numpy as np

    return np.array([bool(code) and not languages.akin(code, main) for code in codes], dtype=bool)


LANGUAGE_CHECKS: tuple[Check, ...] = (Check("other_language", ("text", "answer"), other_language),)
