"""Checks of how many rows the labels have: too few of one, too many labels, nothing that can be learned."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from core.data.checking import ROWS_PER_CLASS, labels_of, rare_classes, unusable
from core.data.cleaning import label_key
from core.data.doctor.base import Check, Mend, Seen, Sheet, samples
from core.data.doctor.labelling import all_labels, has_flags, label_column, renamed
from core.data.doctor.labels import label_is_id
from core.data.doctor.rewriting import with_cells
from core.data.findings import Finding, examples, named
from core.data.label_cells import BLANKS
from core.data.shapes import Kind
from core.errors import Fact

if TYPE_CHECKING:
    import pandas as pd

MANY_CLASSES = 100
UNBALANCED = 10
_LABELS: tuple[Kind, ...] = ("label", "labels")
# How people name what fits nowhere else. The first is used where there is none, the second among Chinese labels.
_OTHER, _OTHER_CHINESE = "other", "其他"
_OTHER_NAMES = """
    other others misc miscellaneous rest 其他 其它 其余 其餘 sonstiges sonstige andere anderes autre autres otro otros
    otra otras outro outros altro altri другое прочее その他 기타 inne diğer
"""
_OTHERS = frozenset(_OTHER_NAMES.split())


def rows_needed(sheet: Sheet) -> int:
    """Different texts that a class needs: one less where the test rows are given."""
    given = sheet.test is not None or sheet.part_column is not None
    return ROWS_PER_CLASS - 1 if given else ROWS_PER_CLASS


def rare_labels(sheet: Sheet) -> Seen | None:
    """Classes with too few different texts to be in every part, unless fewer than two classes would be left.

    Their rows go; rows with several labels lose only the rare ones.
    """
    labels = labels_of(sheet.rows, sheet.shape)
    if labels is None or labels.empty or len(sheet.rows) == 0:
        return None
    needed = rows_needed(sheet)
    rare = rare_classes(sheet.rows, labels, needed)
    if not rare or labels.nunique() - len(rare) < (2 if label_column(sheet) else 1):
        return None
    found = all_labels(sheet)
    rows = sheet.frame.index[sorted(set(found[found.isin(rare)].index.tolist()))]
    first: tuple[str, Mend] = ("drop", lambda: sheet.frame.drop(rows))
    if label_column(sheet) is None:
        first = ("remove", lambda: with_cells(sheet.frame, renamed(sheet, dict.fromkeys(rare, None))))
    mends: dict[str, Mend] = dict([first])
    other = _other_label(sheet, labels, rare, needed)
    if other is not None:
        new = {label: other for label in rare if label != other}
        mends["other"] = lambda: with_cells(sheet.frame, renamed(sheet, new))
    facts: dict[str, Fact] = {"labels": named(rare), "classes": len(rare), "needed": needed}
    shown = samples(sheet, rows, sheet.names("text", *_LABELS))
    finding = Finding(
        "rare_labels", len(rows), "warning", facts, examples(rows), first[0], tuple(mends), True, samples=shown
    )  # fmt: skip
    return Seen(finding, mends)


def _other_label(sheet: Sheet, labels: "pd.Series[str]", rare: list[str], needed: int) -> str | None:
    """Name of the class for what fits nowhere else; None where even together the rare ones are too few."""
    names = labels.unique().tolist()
    known = next((label for label in names if label_key(label) in _OTHERS), None)
    if has_flags(sheet):
        columns = {label_key(name): name.strip(BLANKS) for name in sheet.names("labels")}
        known = next((columns[key] for key in columns if key in _OTHERS), None)
        if known is None:
            return None
    keys = sheet.rows["key"].loc[labels.index]
    together = keys[labels.isin([*rare, *([known] if known else [])]).to_numpy()].nunique()
    if together < needed or rare == [known]:
        return None
    chinese = sum(any("\u4e00" <= c <= "\u9fff" for c in name) for name in names)
    return known or (_OTHER_CHINESE if 2 * chinese > len(names) else _OTHER)


def unbalanced(sheet: Sheet) -> Seen | None:
    """A class with many times the rows of another one."""
    counts = _counts(sheet)
    if counts.empty or int(counts.iloc[0]) < UNBALANCED * int(counts.iloc[-1]):
        return None
    facts: dict[str, Fact] = {
        "largest": int(counts.iloc[0]),
        "smallest": int(counts.iloc[-1]),
        "largest_label": named([str(counts.index[0])]),
        "smallest_label": named([str(counts.index[-1])]),
    }
    return Seen(Finding("unbalanced", int(counts.sum()), "warning", facts))


def many_classes(sheet: Sheet) -> Seen | None:
    """More classes than are learned with ease."""
    counts = _counts(sheet)
    if len(counts) <= MANY_CLASSES:
        return None
    return Seen(Finding("many_classes", int(counts.sum()), "warning", {"classes": len(counts)}))


def _counts(sheet: Sheet) -> "pd.Series[int]":
    """Rows of each class that has enough, the largest first; empty where nothing can be learned anyway."""
    import pandas as pd

    needed = rows_needed(sheet)
    labels = labels_of(sheet.rows, sheet.shape)
    if labels is None or unusable(sheet.rows, sheet.limits, sheet.shape, needed):
        return pd.Series(dtype="int64")
    counts = labels.value_counts()
    return counts[counts >= needed]


def _stops(code: str) -> Callable[[Sheet], Seen | None]:
    """The check that tells an error which would stop training."""

    def look(sheet: Sheet) -> Seen | None:
        wrong = unusable(sheet.rows, sheet.limits, sheet.shape, rows_needed(sheet))
        if wrong is None or wrong.code != code or (code == "labels_all_different" and label_is_id(sheet)):
            return None
        return Seen(Finding(code, int(wrong.facts.get("rows", 0)), "error", wrong.facts))

    return look


CLASS_CHECKS: tuple[Check, ...] = (
    Check("rare_labels", _LABELS, rare_labels),
    Check("unbalanced", _LABELS, unbalanced),
    Check("many_classes", _LABELS, many_classes),
)
ERROR_CHECKS: tuple[Check, ...] = (
    Check("no_usable_rows", ("text", "messages"), _stops("no_usable_rows")),
    Check("label_is_id", ("label",), label_is_id),
    *(
        Check(code, _LABELS, _stops(code))
        for code in ("one_class", "labels_all_different", "too_many_classes", "too_few_rows_per_class")
    ),
)
