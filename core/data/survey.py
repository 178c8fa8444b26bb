"""What a table amounts to for training: findings, what the chosen fixes leave, rows by label and part.

A small table is surveyed at once; any other by a bounded child, so that the page's process stays small and no text that
a stranger wrote can hold it up. `python -m core.data.survey OPTIONS` is that child.
"""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.data import reading
from core.data.doctor.base import Sheet
from core.data.doctor.examining import Fixes, examine
from core.data.shapes import SHAPES, column_names
from core.errors import Fact, UserError
from core.processes import end_with, limit_self
from core.settings import Limits, Settings
from core.spec import SplitChoice

if TYPE_CHECKING:
    import pandas as pd

    from core.data.doctor.examining import Examination

ROWS_AT_ONCE = 2_000
_BYTES_AT_ONCE = 2**20
_BYTES_OF_ALL = 8 * 2**20


@dataclass(frozen=True)
class Survey:
    """The answer.

    Attributes:
        counts: label -> usable rows, the most frequent first; empty for tasks without labels.
        sizes: part -> rows; empty where the table cannot be used.
        findings: what was seen, as `Finding.as_dict()`; those with `applied` are mended.
        applied: finding's code -> fix, as it was really done.
        rows: rows of the table after the fixes.
        train_counts: label -> training rows.
        error: code and facts of why it cannot be trained on.
    """

    counts: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    findings: tuple[dict[str, Any], ...] = ()
    applied: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    train_counts: dict[str, int] = field(default_factory=dict)
    error: tuple[str, dict[str, Fact]] | None = None


@dataclass(frozen=True)
class Question:
    """What to survey.

    Attributes:
        table: path of a stored table.
        columns: role -> column or columns.
        task: id of a shape.
        fixes: finding's code -> fix, or `recommended`, or `all`.
        test_table: path of a stored table with test rows.
        validation_fraction: share held out for validation.
        test_fraction: share held out for the test.
        seed: of the split.
        split: how the rows are divided.
        out: where to write the mended table (parquet), None for nowhere.
    """

    table: str
    columns: dict[str, str | tuple[str, ...]]
    task: str = "classification"
    fixes: Fixes = "recommended"
    test_table: str | None = None
    validation_fraction: float = 0.15
    test_fraction: float = 0.15
    seed: int = 42
    split: SplitChoice = field(default_factory=SplitChoice)
    out: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The question, JSON-ready."""
        told = {name: getattr(self, name) for name in self.__dataclass_fields__}
        columns = {role: name if isinstance(name, str) else list(name) for role, name in self.columns.items()}
        fixes = self.fixes if isinstance(self.fixes, str) else dict(self.fixes)
        return told | {"columns": columns, "fixes": fixes, "split": self.split.model_dump()}


def question(told: dict[str, Any]) -> Question:
    """The question from `Question.as_dict()`."""
    columns = {role: name if isinstance(name, str) else tuple(name) for role, name in told["columns"].items()}
    return Question(**told | {"columns": columns, "split": SplitChoice(**told["split"])})


def survey(settings: Settings, rows: int, asked: Question) -> Survey:
    """Survey a stored table of so many rows.

    Raises:
        UserError: `check_too_heavy` where the child ran into its limits.
    """
    paths = [Path(path) for path in (asked.table, asked.test_table) if path]
    if rows <= ROWS_AT_ONCE and all(path.stat().st_size <= _BYTES_AT_ONCE for path in paths):
        return look(asked, settings.limits)
    options = json.dumps({"question": asked.as_dict(), "limits": asdict(settings.limits)})
    code, output = reading.run(settings, "core.data.survey", [options], settings.limits.doctor_wall)
    if code != 0:
        raise UserError("check_too_heavy")
    answer = json.loads(output)
    error = answer.pop("error")
    found = tuple(answer.pop("findings"))
    return Survey(**answer, findings=found, error=(error[0], error[1]) if error else None)


def look(asked: Question, limits: Limits) -> Survey:
    """The survey itself, in this process."""
    try:
        frame, test = frames(asked)
    except UserError as error:
        return Survey(error=(error.code, error.facts))
    by_column = asked.split.column if asked.split.method == "column" else None
    sheet = Sheet(frame, SHAPES[asked.task], asked.columns, limits, test, by_column)
    seen = examine(sheet, asked.fixes)
    if asked.out:
        _write(seen, Path(asked.out), asked)
    known = Survey(
        findings=tuple(finding.as_dict() for finding in seen.findings), applied=seen.applied, rows=len(seen.frame)
    )
    return _divided(asked, sheet, seen, known)


def frames(asked: Question) -> tuple["pd.DataFrame", "pd.DataFrame | None"]:
    """The columns that matter, of the table and of the test table; of a small table all, to suggest others."""
    names = column_names(asked.columns)
    divides = [asked.split.column] if asked.split.column and asked.split.method != "fraction" else []
    table = Path(asked.table)
    small = table.stat().st_size <= _BYTES_OF_ALL
    frame = reading.load(table, [*names, *divides])
    if small:
        others = reading.load(table)
        frame = others[[*frame.columns, *(name for name in others.columns if name not in frame.columns)]]
    return frame, reading.load(Path(asked.test_table), names) if asked.test_table else None


def _divided(asked: Question, sheet: Sheet, seen: "Examination", known: Survey) -> Survey:
    from core.data import preparing

    try:
        split = preparing.prepare_examined(
            sheet,
            seen,
            validation_fraction=asked.validation_fraction,
            test_fraction=asked.test_fraction,
            seed=asked.seed,
            split=asked.split,
        )
    except UserError as error:
        return Survey(findings=known.findings, applied=known.applied, rows=known.rows, error=(error.code, error.facts))
    codes = {finding["code"] for finding in known.findings}
    more = tuple(finding.as_dict() for finding in split.findings if finding.code not in codes)
    counts: dict[str, int] = {}
    for part in (split.train, split.validation, split.test):
        for label, rows in preparing.label_counts(part).items():
            counts[label] = counts.get(label, 0) + rows
    ordered = dict(sorted(counts.items(), key=lambda entry: -entry[1]))
    train = preparing.label_counts(split.train)
    return Survey(ordered, split.sizes(), (*known.findings, *more), known.applied, known.rows, train)


def _write(seen: "Examination", out: Path, asked: Question) -> None:
    """The whole mended table: the columns that have a role as mended, all others as they were."""
    whole = reading.load(Path(asked.table)).loc[seen.frame.index]
    for name in column_names(asked.columns):
        whole[name] = seen.frame[name]
    whole.to_parquet(out, index=False)


def main() -> None:
    """Answer one question on stdout."""
    options = json.loads(sys.argv[1])
    limits = Limits(**options["limits"])
    limit_self(limits.doctor_memory, limits.doctor_cpu)
    found = look(question(options["question"]), limits)
    sys.stdout.write(json.dumps(asdict(found), ensure_ascii=False))


if __name__ == "__main__":
    end_with(main)
