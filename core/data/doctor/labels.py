"""Checks of how labels are written: missing ones, several spellings of one, misspelled ones, and ids."""

import re
from collections import Counter
from typing import TYPE_CHECKING

from core.data.cleaning import PLACEHOLDERS, label_key, trim
from core.data.doctor.base import Check, Seen, Sheet, samples
from core.data.doctor.labelling import all_labels, has_flags, label_column, renamed
from core.data.doctor.misspelling import misspelled
from core.data.doctor.rewriting import changed, dropped
from core.data.findings import Finding, examples, named
from core.data.label_cells import BLANKS
from core.data.shapes import Kind
from core.data.understanding import label_score
from core.errors import Fact

if TYPE_CHECKING:
    import pandas as pd

_LABELS: tuple[Kind, ...] = ("label", "labels")
_SAMPLE_ROWS = 5_000
# Beyond so many different labels the column is hardly one of classes.
_COMPARED = 3_000
# A comma before three digits separates thousands, before one or two zeros it is the point of another language.
_WHOLE = re.compile(r"[-+]?(?:0|[1-9]\d{0,14})(?:\.\d{1,10}|,0{1,2})?")


def blank_label(sheet: Sheet) -> Seen | None:
    """Rows without their one label."""
    column = label_column(sheet)
    if column is None:
        return None
    blank = (trim(sheet.frame[column]) == "").to_numpy(dtype=bool)
    return dropped(sheet, "blank_label", blank, sheet.names("text", "label"))


def placeholder_label(sheet: Sheet) -> Seen | None:
    """Rows whose label is what a program wrote for "no value"."""
    column = label_column(sheet)
    if column is None:
        return None
    labels = trim(sheet.frame[column])
    unfit = labels.str.lower().isin(PLACEHOLDERS).to_numpy(dtype=bool)
    written = sorted(set(labels[unfit].unique().tolist()))
    return dropped(sheet, "placeholder_label", unfit, sheet.names("text", "label"), {"labels": named(written)})


def without_labels(sheet: Sheet) -> Seen | None:
    """Rows that have none of several labels, which may be meant."""
    places = set(all_labels(sheet).index.tolist())
    rows = sheet.frame.index[[place for place in range(len(sheet.frame)) if place not in places]]
    if len(rows) == 0 or len(rows) == len(sheet.frame):
        return None
    shown = samples(sheet, rows, sheet.names("text"))
    return Seen(Finding("without_labels", len(rows), "info", {}, examples(rows), samples=shown))


def numeric_labels(sheet: Sheet) -> Seen | None:
    """Numbers that are written in two ways, as spreadsheets do: 1 and 1.0."""
    if has_flags(sheet):
        return None
    plain = {label: _plain_number(label) for label in all_labels(sheet).unique().tolist() if _WHOLE.fullmatch(label)}
    if len(set(plain.values())) == len(plain):
        return None
    return _merged(sheet, "numeric_labels", {label: number for label, number in plain.items() if label != number})


def _plain_number(label: str) -> str:
    number = label.lstrip("+").replace(",", ".")
    number = number.rstrip("0").rstrip(".") if "." in number else number
    return "0" if number == "-0" else number


def label_variants(sheet: Sheet) -> Seen | None:
    """Labels that differ only in case, blanks or the width of their letters."""
    if has_flags(sheet):
        return None
    counts = Counter(all_labels(sheet).tolist())
    usual: dict[str, str] = {}
    several: set[str] = set()
    # The most frequent spelling counts, of equals the first one: a Counter keeps the order of first sight.
    for label, _ in counts.most_common():
        key = label_key(label)
        if key in usual:
            several.add(key)
        usual.setdefault(key, " ".join(label.split()))
    new = {label: usual[key] for label in counts if (key := label_key(label)) in several and usual[key] != label}
    changes = renamed(sheet, new)
    names, spelled = set(new), set(new.values())
    column = label_column(sheet)
    if column is not None:
        # Nobody learns from blanks at the ends, but in the file they are still there.
        ends = _without_ends(sheet.frame[column], new)
        changes = {column: {**ends, **changes.get(column, {})}}
        names &= set(sheet.frame[column].unique().tolist())
        names |= {_with_marks(sheet.frame[column].iloc[place]) for place in ends}
        spelled |= set(ends.values())
    facts: dict[str, Fact] = {"labels": named(sorted(names)), "spellings": named(sorted(spelled))}
    return changed(sheet, "label_variants", "merge", changes, "info", facts)


def _without_ends(cells: "pd.Series[str]", new: dict[str, str]) -> dict[int, str]:
    """The labels that have blanks at their ends, by place, as they shall be written."""
    bare = trim(cells)
    places = ((bare != cells) & (bare != "")).to_numpy().nonzero()[0].tolist()
    return {place: new.get(label, label) for place, label in zip(places, bare.iloc[places].tolist(), strict=True)}


def _with_marks(cell: str) -> str:
    """A label whose blanks at the ends can be seen."""
    bare = cell.strip(BLANKS)
    begin = cell.index(bare)
    return "␣" * begin + bare + "␣" * (len(cell) - begin - len(bare))


def label_typos(sheet: Sheet) -> Seen | None:
    """Rare labels that are a letter or two away from a frequent one."""
    if has_flags(sheet):
        return None
    counts = Counter(all_labels(sheet).tolist())
    if len(counts) > _COMPARED:
        return None
    new = misspelled(counts)
    facts: dict[str, Fact] = {"pairs": named([f"{label} → {right}" for label, right in sorted(new.items())])}
    return changed(sheet, "label_typos", "merge", renamed(sheet, new), "info", facts, recommended=False)


def _merged(sheet: Sheet, code: str, new: dict[str, str]) -> Seen | None:
    facts: dict[str, Fact] = {"labels": named(sorted(new)), "spellings": named(sorted(set(new.values())))}
    return changed(sheet, code, "merge", renamed(sheet, new), "info", facts)


def label_is_id(sheet: Sheet) -> Seen | None:
    """A label column of ids: nearly every row has another value, short and mostly with digits."""
    column = label_column(sheet)
    if column is None:
        return None
    labels = all_labels(sheet)
    classes = int(labels.nunique())
    if len(labels) < 10 or classes <= 0.8 * len(labels):
        return None
    head = labels.head(_SAMPLE_ROWS)
    digits = float(head.str.contains(r"\d", regex=True).mean())
    words = float(head.str.contains(r"\s", regex=True).mean())
    if float(head.str.len().mean()) > 40 or (digits < 0.5 and words > 0.1):
        return None
    facts: dict[str, Fact] = {
        "column": column[:60], "classes": classes, "rows": len(labels), "suggested": named(_others(sheet)) or "–",
    }  # fmt: skip
    return Seen(Finding("label_is_id", len(labels), "error", facts))


def _others(sheet: Sheet) -> list[str]:
    """Columns without a role that could hold classes, the best first."""
    taken = set(sheet.names("text", "label"))
    scores: dict[str, float] = {}
    for name in map(str, sheet.frame.columns):
        if name not in taken:
            scores[name] = label_score(_filled(sheet.frame[name]), name)
    return sorted((name for name, score in scores.items() if score > 0), key=lambda name: -scores[name])


def _filled(cells: "pd.Series[str]") -> "pd.Series[str]":
    trimmed = trim(cells.head(_SAMPLE_ROWS))
    return trimmed[trimmed != ""]


BLANK_LABEL_CHECKS: tuple[Check, ...] = (
    Check("blank_label", ("label",), blank_label),
    Check("without_labels", ("labels",), without_labels),
)
PLACEHOLDER_LABEL_CHECKS: tuple[Check, ...] = (Check("placeholder_label", ("label",), placeholder_label),)
SPELLING_CHECKS: tuple[Check, ...] = (
    Check("numeric_labels", _LABELS, numeric_labels),
    Check("label_variants", _LABELS, label_variants),
    Check("label_typos", _LABELS, label_typos),
)
