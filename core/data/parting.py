"""The parts of a table as a person chose to divide it: by share, by a column that names them, or group by group."""

from typing import TYPE_CHECKING

from core.data import splitting
from core.data.findings import Finding
from core.data.rows import label_sets, without
from core.errors import UserError
from core.spec import SplitChoice

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def divided(
    rows: "pd.DataFrame", frame: "pd.DataFrame", split: SplitChoice, fractions: tuple[float, ...], seed: int
) -> tuple["pd.DataFrame", "np.ndarray", list[Finding]]:
    """The rows, the part of each (0 training, 1 validation, 2 test), and what is to be said about it."""
    findings: list[Finding] = []
    column = _split_column(frame, split)
    if column is not None and split.method == "column":
        part = splitting.by_column(frame[column].loc[rows["row"]], test_needed=len(fractions) == 2)
        if len(fractions) == 1 and (part == 2).any():
            raise UserError("test_given_twice", column=column)
        rows, part, findings = _each_text_in_one(rows, part)
        part = _with_validation(rows, part, fractions[0], seed)
    else:
        groups = None if column is None else frame[column].loc[rows["row"]].fillna("").str.strip().tolist()
        part = splitting.divide(rows, labels=label_sets(rows), groups=groups, fractions=fractions, seed=seed)
    _require_parts(rows, frame, part, column, split, len(fractions) + 1)
    uneven = fractions if split.method == "group" else None
    return rows, part, findings + splitting.shortcomings(part, rows, label_sets(rows), uneven)


def _split_column(frame: "pd.DataFrame", split: SplitChoice) -> str | None:
    if split.method == "fraction":
        return None
    if split.column not in frame.columns:
        raise UserError("column_missing", column=split.column or "", columns=", ".join(map(str, frame.columns)))
    return split.column


def _each_text_in_one(rows: "pd.DataFrame", part: "np.ndarray") -> tuple["pd.DataFrame", "np.ndarray", list[Finding]]:
    """Where a text is in two parts that a column names, it stays in the later one: what is judged must be unseen."""
    latest = rows.assign(part=part).groupby("key", sort=False)["part"].transform("max").to_numpy()
    kept, findings = without(rows, part < latest, "texts_in_two_parts")
    return kept, part[part == latest], findings


def _with_validation(rows: "pd.DataFrame", part: "np.ndarray", fraction: float, seed: int) -> "np.ndarray":
    """Validation rows drawn from the training rows where the column names none."""
    if (part == 1).any():
        return part
    train = rows[part == 0].reset_index(drop=True)
    drawn = splitting.divide(train, labels=label_sets(train), groups=None, fractions=(fraction,), seed=seed)
    part = part.copy()
    part[part == 0] = drawn
    return part


def _require_parts(
    rows: "pd.DataFrame", frame: "pd.DataFrame", part: "np.ndarray", column: str | None, split: SplitChoice, needed: int
) -> None:
    """Pass silently where no part is empty."""
    empty = [number for number in range(needed) if not (part == number).any()]
    if not empty:
        return
    texts = int(rows["key"].nunique())
    if column is None or texts < needed:
        raise UserError("texts_too_few", texts=texts, needed=needed)
    if split.method == "column":
        raise UserError("part_missing", column=column, part=splitting.PARTS[empty[0]])
    groups = int(frame[column].loc[rows["row"]].nunique())
    raise UserError("groups_too_few", column=column, groups=groups, needed=needed)
