"""A table becomes training, validation and test rows. Nothing is left out without a finding that counts it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.data import cleaning
from core.data.checking import ROWS_PER_CLASS, rare_labels, require_cleaned, require_columns
from core.data.cleaning import Cleaned
from core.data.findings import Finding, examples, named
from core.errors import UserError
from core.settings import Limits

if TYPE_CHECKING:
    import pandas as pd

# Findings of these codes count rows of the first table that are in no part; TEST_REMOVING those of the test file.
REMOVING = frozenset(
    {
        "blank_text", "blank_label", "placeholder_label", "conflicting_labels", "duplicate_rows", "rare_labels_dropped",
        "train_rows_in_test",
    }
)  # fmt: skip
TEST_REMOVING = frozenset({"test_rows_unusable", "test_labels_unknown"})


@dataclass(frozen=True)
class Split:
    """Rows by what they are for. No text is in two parts, and every label is in each (but for a given test file).

    Attributes:
        train: to learn from; columns `row` (number in the spreadsheet, header 1), `text`, `label`.
        validation: to choose the best checkpoint by; same columns.
        test: to judge by, once; same columns.
        labels: sorted, in their usual spelling.
        findings: what was done to the rows.
    """

    train: "pd.DataFrame"
    validation: "pd.DataFrame"
    test: "pd.DataFrame"
    labels: tuple[str, ...]
    findings: tuple[Finding, ...]

    def sizes(self) -> dict[str, int]:
        """Rows of each part."""
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}


def prepare(
    frame: "pd.DataFrame",
    columns: dict[str, str],
    *,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    limits: Limits,
    test_frame: "pd.DataFrame | None" = None,
) -> Split:
    """Clean the rows and split them by class with a fixed seed.

    Args:
        frame: the table.
        columns: names of the `text` and the `label` column.
        validation_fraction: share of each class held out for validation, at least one row.
        test_fraction: share of each class held out for the test, at least one row; unused with a test file.
        seed: decides which rows go where.
        limits: bound on classes.
        test_frame: rows of a separate test file, with the same columns. It stays as given but for rows that cannot be
            scored; rows of the first table whose text is in it are left out, so that the test stays unseen.

    Raises:
        UserError: what `checking.require_usable` raises, and `test_file_unusable`.
    """
    require_columns(frame, columns)
    cleaned = cleaning.clean(frame, columns)
    if test_frame is None:
        kept, findings = _drop_rare(cleaned, limits, ROWS_PER_CLASS)
        train, validation, test = _parts(kept, (validation_fraction, test_fraction), seed)
    else:
        require_columns(test_frame, columns)
        given = _given_test(test_frame, columns)
        cleaned = _without_test_texts(cleaned, given.rows)
        kept, findings = _drop_rare(cleaned, limits, ROWS_PER_CLASS - 1)
        train, validation = _parts(kept, (validation_fraction,), seed)
        test, more = _known_labels(given, kept)
        findings += more
    labels = tuple(sorted(kept["label"].unique().tolist()))
    return Split(_shown(train), _shown(validation), _shown(test), labels, findings)


def _drop_rare(cleaned: Cleaned, limits: Limits, rows_per_class: int) -> tuple["pd.DataFrame", tuple[Finding, ...]]:
    require_cleaned(cleaned, limits, rows_per_class)
    rare = rare_labels(cleaned, rows_per_class)
    if rare is None:
        return cleaned.rows, cleaned.findings
    sizes = cleaned.rows.groupby("label")["label"].transform("size")
    return cleaned.rows[sizes >= rows_per_class].reset_index(drop=True), (*cleaned.findings, rare)


def _given_test(frame: "pd.DataFrame", columns: dict[str, str]) -> Cleaned:
    """Rows of the test file that have text and label; doubles and contradictions stay as its author left them."""
    before = cleaning.rows_of(frame, columns)
    rows, found = cleaning.drop_empty(before)
    keys = [cleaning.text_key(text) for text in rows["text"]]
    rows = rows.assign(key=keys).reset_index(drop=True)
    lost = len(before) - len(rows)
    where = examples(sorted(row for finding in found for row in finding.examples))
    return Cleaned(rows, (Finding("test_rows_unusable", lost, "warning", {}, where, "drop"),) if lost else ())


def _without_test_texts(cleaned: Cleaned, test: "pd.DataFrame") -> Cleaned:
    shared = cleaned.rows["key"].isin(set(test["key"]))
    if not shared.any():
        return cleaned
    where = examples(cleaned.rows.loc[shared, "row"].tolist())
    finding = Finding("train_rows_in_test", int(shared.sum()), "warning", {}, where, "drop")
    return Cleaned(cleaned.rows[~shared].reset_index(drop=True), (*cleaned.findings, finding))


def _known_labels(given: Cleaned, kept: "pd.DataFrame") -> tuple["pd.DataFrame", tuple[Finding, ...]]:
    """Test rows whose label the model will have learned, in the spelling of the training rows."""
    usual = {cleaning.text_key(label): label for label in kept["label"].unique()}
    rows, _ = cleaning.unify_labels(given.rows, usual)
    unknown = ~rows["label"].isin(set(usual.values()))
    findings = list(given.findings)
    if unknown.any():
        facts = {"labels": named(sorted(set(rows.loc[unknown, "label"])))}
        where = examples(rows.loc[unknown, "row"].tolist())
        findings.append(Finding("test_labels_unknown", int(unknown.sum()), "warning", {**facts}, where, "drop"))
    if unknown.all():
        raise UserError("test_file_unusable")
    return rows[~unknown], tuple(findings)


def _parts(rows: "pd.DataFrame", fractions: tuple[float, ...], seed: int) -> list["pd.DataFrame"]:
    """Training rows, then a part for each fraction, drawn class by class; each keeps the file's order."""
    import numpy as np

    generator = np.random.default_rng(seed)
    part = np.zeros(len(rows), dtype=np.int8)
    for _, places in sorted(rows.groupby("label", sort=False).indices.items()):
        shuffled: np.ndarray = generator.permutation(places)
        begin = 0
        for number, size in enumerate(_sizes(len(places), fractions), start=1):
            part[shuffled[begin : begin + size]] = number
            begin += size
    return [rows[part == number] for number in range(len(fractions) + 1)]


def _sizes(rows: int, fractions: tuple[float, ...]) -> list[int]:
    """Rows of a class for each held-out part: at least one each, and at least one left to learn from."""
    sizes: list[int] = []
    for later, fraction in zip(range(len(fractions) - 1, -1, -1), fractions, strict=True):
        most = rows - sum(sizes) - later - 1
        sizes.append(max(1, min(round(rows * fraction), most)))
    return sizes


def _shown(rows: "pd.DataFrame") -> "pd.DataFrame":
    return rows[["row", "text", "label"]].reset_index(drop=True)
