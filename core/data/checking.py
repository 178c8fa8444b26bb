"""What stops training: columns that are not there, rows that teach nothing."""

from typing import TYPE_CHECKING

from core.data.cleaning import text_key
from core.data.findings import named
from core.data.shapes import SHAPES, Columns, Shape
from core.errors import UserError
from core.settings import Limits

if TYPE_CHECKING:
    import pandas as pd

# A class needs a row to learn from, one to choose the best checkpoint by and one to be judged on.
ROWS_PER_CLASS = 3
_CLASSIFICATION = SHAPES["classification"]


def require_columns(frame: "pd.DataFrame", columns: Columns) -> None:
    """Pass silently where the frame has every column named in `columns`, and no two roles share one.

    Raises:
        UserError: `column_missing`, `text_is_label`, `column_used_twice`.
    """
    wrong = wrong_columns(frame, columns)
    if wrong:
        raise wrong


def wrong_columns(frame: "pd.DataFrame", columns: Columns) -> UserError | None:
    """The error that `require_columns` raises."""
    names = [str(name) for name in frame.columns]
    used: dict[str, str] = {}
    for role, given in columns.items():
        for column in [given] if isinstance(given, str) else given or ("",):
            if column not in names:
                return UserError("column_missing", column=column[:60], columns=", ".join(names[:20]))
            if column in used:
                if {role, used[column]} == {"text", "label"}:
                    return UserError("text_is_label", column=column)
                return UserError("column_used_twice", column=column, first=used[column], second=role)
            used[column] = role
    return None


def require_cleaned(
    rows: "pd.DataFrame", limits: Limits, shape: Shape = _CLASSIFICATION, rows_per_class: int = ROWS_PER_CLASS
) -> None:
    """Pass silently where a model can be trained on the rows of `cleaning.usable`.

    Args:
        rows: `row`, a column for each role, and `key` where it is known already which texts are the same.
        limits: bound on classes.
        shape: kind of the examples.
        rows_per_class: different texts that a class needs.

    Raises:
        UserError: `no_usable_rows`, and for labels `one_class`, `labels_all_different`, `too_many_classes`,
            `too_few_rows_per_class`.
    """
    wrong = unusable(rows, limits, shape, rows_per_class)
    if wrong:
        raise wrong


def unusable(
    rows: "pd.DataFrame", limits: Limits, shape: Shape = _CLASSIFICATION, rows_per_class: int = ROWS_PER_CLASS
) -> UserError | None:
    """The error that `require_cleaned` raises."""
    if len(rows) == 0:
        return UserError("no_usable_rows")
    labels = labels_of(rows, shape)
    if labels is None:
        return None
    return _unusable_labels(rows, labels, limits, rows_per_class, several="labels" in rows.columns)


def _unusable_labels(
    rows: "pd.DataFrame", labels: "pd.Series[str]", limits: Limits, rows_per_class: int, *, several: bool
) -> UserError | None:
    counts = labels.value_counts()
    given, classes = len(labels), len(counts)
    if classes == 0:
        return UserError("no_usable_rows")
    # One of several labels may be all there is, as long as some rows lack it.
    if classes == 1 and (not several or given == len(rows)):
        return UserError("one_class", label=named([str(counts.index[0])]), rows=given)
    if (classes == given and not (several and classes == 1)) or (given >= 10 and classes > 0.8 * given):
        return UserError("labels_all_different", classes=classes, rows=given)
    if classes > limits.classes:
        return UserError("too_many_classes", classes=classes, limit=limits.classes)
    rare = rare_classes(rows, labels, rows_per_class)
    if classes - len(rare) < (1 if several else 2):
        return UserError("too_few_rows_per_class", needed=rows_per_class, classes=classes, labels=named(rare))
    return None


def labels_of(rows: "pd.DataFrame", shape: Shape = _CLASSIFICATION) -> "pd.Series[str] | None":
    """Every label of every row, with the index of its row; None where the shape has no labels."""
    role = next((role for role in shape.roles if role.kind in ("label", "labels") and role.name in rows.columns), None)
    if role is None:
        return None
    labels = rows[role.name]
    return labels.explode().dropna().astype("str") if role.kind == "labels" else labels


def rare_classes(rows: "pd.DataFrame", labels: "pd.Series[str]", rows_per_class: int = ROWS_PER_CLASS) -> list[str]:
    """The labels with fewer different texts than a class needs, sorted.

    Args:
        rows: with `key`, or with `text` to make it from.
        labels: of `labels_of`.
        rows_per_class: what a class needs.
    """
    counts = labels.value_counts()
    keys = rows["key"] if "key" in rows.columns else rows["text"].map(text_key)
    pairs = keys.loc[labels.index].to_frame("key").assign(label=labels.to_numpy())
    different = pairs.drop_duplicates()["label"].value_counts()
    return sorted(str(label) for label in counts.index if different[label] < rows_per_class)
