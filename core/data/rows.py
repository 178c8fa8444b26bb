"""Rows on their way to a part: which have the same text, which labels they have, and which are left out."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from core.data import cleaning
from core.data.findings import Finding, examples
from core.data.shapes import Shape

if TYPE_CHECKING:
    import pandas as pd


def keyed(rows: "pd.DataFrame", shape: Shape) -> "pd.DataFrame":
    """The rows of `cleaning.rows_of` with `key`: what a row shares with those that have the same text."""
    import pandas as pd

    names = [role.name for role in shape.roles if role.kind in ("text", "messages") and role.name in rows.columns]
    cells = zip(*(rows[name].tolist() for name in names), strict=True)
    keys = [cleaning.text_key("\n".join(row)) for row in cells]
    return rows.assign(key=pd.Series(keys, index=rows.index, dtype="str"))


def flat_labels(rows: "pd.DataFrame") -> "pd.Series[str]":
    """Every label of every row."""
    if "labels" in rows.columns:
        return rows["labels"].explode().dropna().astype("str")
    return rows["label"] if "label" in rows.columns else rows["row"].iloc[:0].astype("str")


def label_sets(rows: "pd.DataFrame") -> list[tuple[str, ...]]:
    """The labels of each row; an empty tuple for tasks without."""
    if "labels" in rows.columns:
        return list(rows["labels"])
    return [(label,) for label in rows["label"]] if "label" in rows.columns else [()] * len(rows)


def without(
    rows: "pd.DataFrame", unfit: "Iterable[bool]", code: str, **facts: str
) -> tuple["pd.DataFrame", list[Finding]]:
    """The other rows, numbered anew, and a finding that counts these as left out.

    Args:
        rows: with `row`, their numbers.
        unfit: for each row whether it goes.
        code: of the finding.
        facts: for its sentence.
    """
    import numpy as np

    gone = np.asarray(unfit, dtype=bool)
    if not gone.any():
        return rows, []
    numbers = rows.loc[gone, "row"].tolist()
    finding = Finding(
        code, len(numbers), "warning", dict(facts), examples(numbers), "drop", ("drop",), True, applied="drop"
    )
    return rows[~gone].reset_index(drop=True), [finding]
