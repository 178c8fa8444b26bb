"""A table becomes training, validation and test rows. Nothing is left out without a finding that counts it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core.data import cleaning
from core.data.checking import require_cleaned, require_columns
from core.data.doctor.base import Sheet
from core.data.doctor.classes import rows_needed
from core.data.doctor.examining import Examination, Fixes, examine
from core.data.findings import Finding, examples, named
from core.data.parting import divided
from core.data.rows import flat_labels, keyed, label_sets, without
from core.data.shapes import SHAPES, Columns, Shape
from core.errors import UserError
from core.settings import Limits
from core.spec import SplitChoice

if TYPE_CHECKING:
    import pandas as pd

# Fixes that take rows out of the table; a finding with one of these applied counts the rows that are in no part.
REMOVING_FIXES = frozenset({"drop", "majority"})
# Findings of these codes are about rows of a separate test file.
TEST_CODES = frozenset({"test_rows_unusable", "test_labels_unknown"})


@dataclass(frozen=True)
class Split:
    """Rows by what they are for. No text is in two parts.

    Attributes:
        train: to learn from; columns `row` (number in the spreadsheet, header 1) and one for each role of the task:
            `text`, `label`; `labels` holds a tuple for each row.
        validation: to choose the best checkpoint by; same columns.
        test: to judge by, once; same columns.
        labels: sorted, in their usual spelling; empty for tasks without labels.
        findings: what was done to the rows, and what the division could not do.
    """

    train: "pd.DataFrame"
    validation: "pd.DataFrame"
    test: "pd.DataFrame"
    labels: tuple[str, ...]
    findings: tuple[Finding, ...]

    def sizes(self) -> dict[str, int]:
        """Rows of each part."""
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}


def left_out(findings: Iterable[Finding]) -> int:
    """How many rows of the table are in no part, by what the findings count; those of a test file are not meant."""
    return sum(f.rows for f in findings if f.applied in REMOVING_FIXES and f.code not in TEST_CODES)


def label_counts(part: "pd.DataFrame") -> dict[str, int]:
    """Rows of each label in a part; a row with several counts for each. Empty for tasks without labels."""
    return {str(label): int(rows) for label, rows in flat_labels(part).value_counts().items()}


def prepare(
    frame: "pd.DataFrame",
    columns: Columns,
    *,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    limits: Limits,
    test_frame: "pd.DataFrame | None" = None,
    fixes: Fixes = "recommended",
    split: SplitChoice | None = None,
    shape: Shape = SHAPES["classification"],
) -> Split:
    """Mend the rows as chosen and divide them with a fixed seed.

    Args:
        frame: the table.
        columns: role -> column or columns.
        validation_fraction: share of each class held out for validation.
        test_fraction: share of each class held out for the test; unused with a test file.
        seed: decides which rows go where.
        limits: bound on classes.
        test_frame: rows of a separate test file, with the same columns. It stays as given but for rows that cannot be
            scored; rows of the first table whose text is in it are left out, so that the test stays unseen.
        fixes: what the doctor mends. Rows without a text, a label or an answer are left out whatever is chosen.
        split: how the rows are divided; by fraction if None.
        shape: kind of the examples.

    Raises:
        UserError: `column_not_chosen`, `test_file_unusable`, and what `checking.require_columns`,
            `checking.require_cleaned` and `prepare_examined` raise.
    """
    missing = shape.missing(columns)
    if missing:
        raise UserError("column_not_chosen", role=missing)
    for table in (frame,) if test_frame is None else (frame, test_frame):
        require_columns(table, columns)
    chosen = split or SplitChoice()
    by_column = chosen.column if chosen.method == "column" else None
    sheet = Sheet(_numbered(frame), shape, columns, limits, test_frame, by_column)
    return prepare_examined(
        sheet,
        examine(sheet, fixes),
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        seed=seed,
        split=chosen,
    )


def prepare_examined(
    sheet: Sheet,
    seen: Examination,
    *,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    split: SplitChoice,
) -> Split:
    """Divide what an examination of the sheet left.

    Raises:
        UserError: what stops training in `checking.require_cleaned`; `column_missing` for the column of the split;
            `part_names_unknown`, `part_missing`, `test_given_twice`, `groups_too_few`, `texts_too_few`,
            `test_file_unusable`.
    """
    rows, findings = cleaning.usable(cleaning.rows_of(seen.frame, sheet.columns, sheet.shape), sheet.shape)
    rows = keyed(rows, sheet.shape)
    given: pd.DataFrame | None = None
    of_test: list[Finding] = []
    if sheet.test is not None:
        given, of_test = _given_test(sheet.test, sheet)
        rows, found = without(rows, rows["key"].isin(set(given["key"])), "train_rows_in_test")
        findings += found
    fractions = (validation_fraction,) if given is not None else (validation_fraction, test_fraction)
    require_cleaned(rows, sheet.limits, sheet.shape, rows_needed(sheet))
    rows, part, found = divided(rows, seen.frame, split, fractions, seed)
    findings += found
    labels = tuple(sorted(set(flat_labels(rows))))
    train, validation, test = (_shown(rows[part == number]) for number in range(3))
    if given is not None:
        known, found = _known_labels(given, train)
        of_test += found
        test = _shown(known)
    mended = [finding for finding in seen.findings if finding.applied]
    return Split(train, validation, test, labels, _merged([*mended, *findings, *of_test]))


def _numbered(frame: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    if frame.index.name == "row":
        return frame
    return frame.set_axis(pd.RangeIndex(2, len(frame) + 2, name="row"))


def _given_test(frame: "pd.DataFrame", sheet: Sheet) -> tuple["pd.DataFrame", list[Finding]]:
    """Rows of the test file that can be scored; doubles and contradictions stay as its author left them."""
    before = cleaning.rows_of(frame, sheet.columns, sheet.shape)
    rows, found = cleaning.usable(before, sheet.shape)
    lost = len(before) - len(rows)
    where = examples(sorted(row for finding in found for row in finding.examples))
    finding = Finding("test_rows_unusable", lost, "warning", {}, where, "drop", ("drop",), applied="drop")
    return keyed(rows, sheet.shape), [finding] if lost else []


def _known_labels(given: "pd.DataFrame", train: "pd.DataFrame") -> tuple["pd.DataFrame", list[Finding]]:
    """Test rows whose labels the model will have learned, in the spelling of the training rows."""
    learned = set(flat_labels(train))
    usual = {cleaning.label_key(label): label for label in sorted(learned)}

    def spelled(label: str) -> str:
        return usual.get(cleaning.label_key(label), label)

    if "label" in given.columns:
        given = given.assign(label=given["label"].map(spelled).astype("str"))
    elif "labels" in given.columns:
        given = given.assign(labels=given["labels"].map(lambda row: tuple(map(spelled, row))))
    unknown = [sorted(set(row) - learned) for row in label_sets(given)]
    names = sorted({label for row in unknown for label in row})
    rows, found = without(given, [bool(row) for row in unknown], "test_labels_unknown", labels=named(names))
    if rows.empty:
        raise UserError("test_file_unusable")
    return rows, found


def _merged(findings: list[Finding]) -> tuple[Finding, ...]:
    """Findings of one code and fix as one: a fix may bring about what an earlier check has already looked for."""
    merged: dict[tuple[str, str | None], Finding] = {}
    for finding in findings:
        key = finding.code, finding.applied
        if key in merged:
            first = merged[key]
            rows = examples(sorted({*first.examples, *finding.examples}))
            finding = replace(first, rows=first.rows + finding.rows, examples=rows)
        merged[key] = finding
    return tuple(merged.values())


def _shown(rows: "pd.DataFrame") -> "pd.DataFrame":
    return rows.drop(columns="key").reset_index(drop=True)
