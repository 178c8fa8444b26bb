"""Several labels of one row: a list in a cell, or a column for each label."""

import ast
import json
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# White space as Unicode knows it, and characters without width that come along with pasted text.
BLANKS = (
    " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
)
# What programs write for "no value". "none" and "na" are missing on purpose: people use both as real labels.
_NOTHING = "nan n/a #n/a <na> <nan> null (null) #null! #value! #ref! #name? #div/0! #num! - -- – —"
PLACEHOLDERS = frozenset(_NOTHING.split())

LIST = "json"
# What separates labels, the least likely to be part of one first; a half-width mark stands for its wide form too.
_SEPARATORS = {"|": "|｜", ";": ";；", "、": "、", "\n": "\n", "，": "，,", ",": ",，"}
_LIST_CHARACTERS = 20_000
_NO_MARKS = "0 false f no n off 否 无 無 不 没有 nein non нет いいえ ✗ ✘ ☐ ?"
_YES_MARKS = "1 true t yes y on x ✓ ✔ ☑ ● • * ja oui si sí да はい 是 有 对 對 √"
_NO = frozenset(_NO_MARKS.split()) | PLACEHOLDERS | {""}
_YES = frozenset(_YES_MARKS.split())
_NUMBER = re.compile(r"[-+]?\d{1,15}(?:[.,]\d{1,15})?")


def label_separator(cells: Iterable[str]) -> str:
    """What separates the labels in the cells of a column.

    Returns:
        A character of ``| ; 、 ， ,`` or a line break, `LIST` for lists in brackets, empty where cells hold at most
        one label.
    """
    filled = [cell for cell in (cell.strip(BLANKS) for cell in cells) if cell]
    if not filled:
        return ""
    lists = sum(_as_list(cell) is not None for cell in filled)
    if 2 * lists > len(filled):
        return LIST
    for separator, marks in _SEPARATORS.items():
        # A narrow comma beside a wide one separates too, but alone it is the narrow one.
        sought = separator if separator == "，" else marks
        if any(any(mark in cell.strip(marks + BLANKS) for mark in sought) for cell in filled):
            return separator
    return ""


def split_labels(cell: str, separator: str | None = None) -> tuple[str, ...]:
    """The labels in a cell, trimmed, each once, in their order; none for a blank or a placeholder such as "null".

    Args:
        cell: what is in the file.
        separator: what `label_separator` found for the column; None decides by this cell alone.
    """
    cell = cell.strip(BLANKS)
    if separator is None:
        separator = label_separator([cell])
    parts = _as_list(cell) if separator == LIST else None
    if parts is None:
        marks = _SEPARATORS.get(separator, "")
        parts = re.split(f"[{re.escape(marks)}]", cell) if marks else [cell]
    trimmed = (part.strip(BLANKS) for part in parts)
    return tuple(dict.fromkeys(part for part in trimmed if part and part.lower() not in PLACEHOLDERS))


def join_labels(labels: Sequence[str], separator: str) -> str:
    """The cell that `split_labels` reads as these labels."""
    if separator == LIST:
        return json.dumps(list(labels), ensure_ascii=False)
    return (separator + " " if separator in (",", ";") else separator).join(labels)


def _as_list(cell: str) -> list[str] | None:
    """A JSON list of plain values, or one as Python writes it; None for anything else."""
    if not (cell.startswith("[") and cell.endswith("]")) or len(cell) > _LIST_CHARACTERS:
        return None
    try:
        values = json.loads(cell)
    except (ValueError, RecursionError):
        values = _python_list(cell)
    if not isinstance(values, list) or any(isinstance(value, (list, dict)) for value in values):
        return None
    return ["" if value is None else str(value) for value in values]


def _python_list(cell: str) -> object:
    # Brackets inside the outer ones are no list of labels, and deep ones could exhaust the parser.
    if cell.count("[") + cell.count("(") + cell.count("{") > 1:
        return None
    try:
        return ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def is_yes(cell: str) -> bool:
    """Whether a cell of a label's own column says that the row has the label: any mark that does not mean no."""
    cell = cell.strip(BLANKS).casefold()
    if _NUMBER.fullmatch(cell):
        return float(cell.replace(",", ".")) >= 0.5
    return cell not in _NO


def are_flags(frame: "pd.DataFrame", columns: Sequence[str]) -> bool:
    """Whether the cells of the columns say yes or no (1/0, true/false, x/blank), rather than name labels."""
    for name in columns:
        marks = {cell.strip(BLANKS).casefold() for cell in frame[name].unique().tolist()}
        known = marks - _YES - _NO - {name.strip(BLANKS).casefold()}
        if any(not _NUMBER.fullmatch(mark) for mark in known):
            return False
    return True


def one_hot_labels(frame: "pd.DataFrame", columns: Sequence[str]) -> "pd.Series[Any]":
    """The labels of each row from a column for each label, whose name is the label."""
    labels: list[list[str]] = [[] for _ in range(len(frame))]
    for name in columns:
        label = name.strip(BLANKS)
        known = {cell: is_yes(cell) for cell in frame[name].unique().tolist()}
        for row, cell in zip(labels, frame[name].tolist(), strict=True):
            if known[cell]:
                row.append(label)
    return _series([tuple(row) for row in labels], frame)


def label_sets(frame: "pd.DataFrame", given: str | Sequence[str]) -> "pd.Series[Any]":
    """The labels of each row, a tuple of text: from one column of lists, from a column for each label, or from several
    columns that name labels ("first topic", "second topic")."""
    if not isinstance(given, str):
        if are_flags(frame, given):
            return one_hot_labels(frame, given)
        parts = [label_sets(frame, name).tolist() for name in given]
        joined = [tuple(dict.fromkeys(label for part in row for label in part)) for row in zip(*parts, strict=True)]
        return _series(joined, frame)
    cells = frame[given].tolist()
    different = set(cells)
    separator = label_separator(different)
    split = {cell: split_labels(cell, separator) for cell in different}
    return _series([split[cell] for cell in cells], frame)


def _series(labels: list[tuple[str, ...]], frame: "pd.DataFrame") -> "pd.Series[Any]":
    import pandas as pd

    return pd.Series(labels, index=frame.index, dtype="object")
