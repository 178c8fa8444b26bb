"""What a table amounts to for training: usable rows by label, sizes of the parts, findings, or why it cannot be used.

A small table is surveyed at once; a large one by a bounded child, so that the page's process stays small.
`python -m core.data.survey OPTIONS` is that child.
"""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core.data import checking, preparing, reading
from core.errors import Fact, UserError
from core.processes import limit_self
from core.settings import Limits, Settings

ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Survey:
    """The answer.

    Attributes:
        counts: label -> usable rows, the most frequent first.
        sizes: part -> rows; empty where the table cannot be used.
        findings: what was seen and will be mended, as `{"code", "rows", "severity", …}`.
        error: code and facts of why it cannot be trained on.
    """

    counts: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    findings: tuple[dict[str, Any], ...] = ()
    error: tuple[str, dict[str, Fact]] | None = None


@dataclass(frozen=True)
class Question:
    """What to survey: stored tables, roles of columns, shares held out, and the seed of the split."""

    table: str
    columns: dict[str, str]
    test_table: str | None
    validation_fraction: float
    test_fraction: float
    seed: int


def survey(settings: Settings, rows: int, question: Question) -> Survey:
    """Survey a stored table of so many rows.

    Raises:
        UserError: `file_too_heavy` where the child ran into its limits.
    """
    if rows <= ROWS_AT_ONCE and question.test_table is None:
        return look(question, settings.limits)
    options = json.dumps({"question": asdict(question), "limits": asdict(settings.limits)})
    code, output = reading.run(settings, "core.data.survey", [options])
    if code != 0:
        raise UserError("file_too_heavy")
    answer = json.loads(output)
    error = answer["error"]
    found = tuple(answer["findings"])
    return Survey(answer["counts"], answer["sizes"], found, (error[0], error[1]) if error else None)


def look(question: Question, limits: Limits) -> Survey:
    """The survey itself, in this process."""
    seen: list[dict[str, Any]] = []
    try:
        frame = reading.load(Path(question.table), list(question.columns.values()))
        seen = [finding.as_dict() for finding in checking.check(frame, question.columns, limits)]
        checking.require_usable(frame, question.columns, limits)
        split = preparing.prepare(
            frame,
            question.columns,
            validation_fraction=question.validation_fraction,
            test_fraction=question.test_fraction,
            seed=question.seed,
            limits=limits,
            test_frame=reading.load(Path(question.test_table)) if question.test_table else None,
        )
    except UserError as error:
        return Survey(findings=tuple(seen), error=(error.code, error.facts))
    counts: dict[str, int] = {}
    for part in (split.train, split.validation, split.test):
        for label, rows in part["label"].value_counts().items():
            counts[str(label)] = counts.get(str(label), 0) + int(rows)
    known = {finding["code"] for finding in seen}
    done = [finding.as_dict() for finding in split.findings if finding.code not in known]
    ordered = dict(sorted(counts.items(), key=lambda entry: -entry[1]))
    return Survey(ordered, split.sizes(), (*seen, *done))


def main() -> None:
    """Answer one question on stdout."""
    options = json.loads(sys.argv[1])
    limits = Limits(**options["limits"])
    limit_self(limits.reader_memory, limits.reader_cpu)
    found = look(Question(**options["question"]), limits)
    sys.stdout.write(json.dumps(asdict(found), ensure_ascii=False))


if __name__ == "__main__":
    main()
