"""A look at a file without keeping it, and its mended copy: what `python -m core inspect FILE` does."""

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core import files
from core.data import reading
from core.data.doctor.counts import cut_texts
from core.data.doctor.examining import Fixes
from core.data.findings import from_note
from core.data.mending import mend
from core.data.options import DECIDE_YOURSELF, ReadOptions
from core.data.profiling import measured_columns, token_lengths
from core.data.shapes import SHAPES, Columns, Shape, column_names
from core.data.survey import Question, Survey, survey
from core.data.understanding import SAMPLE_ROWS, Guess, known_columns, understand
from core.errors import UserError
from core.settings import Settings


@dataclass(frozen=True)
class Request:
    """What to look at.

    Attributes:
        path: the file.
        task: id of a shape; None to guess it.
        columns: role -> column, for the roles that shall not be guessed.
        options: decisions about reading.
        fixes: what to mend; `{}` for nothing.
        out: where to write the mended table.
        tokenizer: a `tokenizer.json` to count the lengths of the texts with, None not to count them.
        reads: longest text in tokens that its model reads.
    """

    path: Path
    task: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    options: ReadOptions = DECIDE_YOURSELF
    fixes: Fixes = field(default_factory=dict)
    out: Path | None = None
    tokenizer: Path | None = None
    reads: int | None = None


def inspect(asked: Request, settings: Settings) -> dict[str, Any]:
    """What is in a file, what it is for, which column is what, what stands out and can be mended.

    Returns:
        `name`, `format`, `container`, `encoding`, `delimiter`, `title_rows`, `part`, `parts`, `rows`, `columns`,
        `suggested` (`task`, `reason`, `languages`, and each role with its column, None where no column fits), `labels`
        (label -> usable rows, largest first), `sizes` (rows of each part), `findings` (`code`, `rows`, `severity`,
        `fix` and more, see `Finding`), `error` (why it cannot be trained on, None if it can), and with a file to
        write `mended` (`out`, `rows`, `applied`).

    Raises:
        UserError: `task_unknown`, what `reading.read` and `mending.mend` raise, and `disk_full`.
    """
    if asked.task is not None and asked.task not in SHAPES:
        raise UserError("task_unknown", task=asked.task[:40], known=", ".join(SHAPES))
    with files.disk_full_is_a_user_error():
        settings.home.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".inspect-", dir=settings.home)
    with folder:
        table = Path(folder.name) / "table.parquet"
        facts = reading.read(asked.path, table, settings, replace(asked.options, single_column=True))
        guess = understand(reading.load(table, rows=SAMPLE_ROWS), asked.task)
        columns = {**guess.columns, **known_columns(asked.columns, facts["columns"])}
        question = Question(str(table), columns, guess.task, asked.fixes)
        found = _survey(settings, facts["rows"], question, asked)
        cut = _cut(asked, settings, table, SHAPES[guess.task], columns, facts["rows"])
    described = {name: facts[name] for name in _DESCRIBED if name in facts}
    return {
        "name": asked.path.name,
        **described,
        "suggested": _suggested(guess, columns),
        "labels": found.counts,
        "sizes": found.sizes,
        "findings": [*(from_note(note).as_dict() for note in facts["notes"]), *found.findings, *cut],
        "error": {"code": found.error[0], "facts": found.error[1]} if found.error else None,
    } | ({"mended": {"out": str(asked.out), "rows": found.rows, "applied": found.applied}} if asked.out else {})


_DESCRIBED = (
    "format", "container", "encoding", "delimiter", "title_rows", "header", "part", "parts", "rows", "columns",
)  # fmt: skip


def _survey(settings: Settings, rows: int, question: Question, asked: Request) -> Survey:
    missing = SHAPES[question.task].missing(question.columns)
    if asked.out is not None:
        if not column_names(question.columns):
            raise UserError("column_not_guessed", role=missing or "text", columns="")
        return mend(settings, rows, question, asked.out, asked.path)
    if missing and not column_names(question.columns):
        return Survey(error=("column_not_chosen", {"role": missing}))
    found = survey(settings, rows, question)
    return replace(found, error=("column_not_chosen", {"role": missing})) if missing else found


def _cut(
    asked: Request, settings: Settings, table: Path, shape: Shape, columns: Columns, rows: int
) -> list[dict[str, Any]]:
    """How much of the texts the model would not read."""
    read, _ = measured_columns(shape, columns)
    if asked.tokenizer is None or not read:
        return []
    found = cut_texts(token_lengths(settings, table, read, asked.tokenizer), asked.reads, rows)
    return [found.as_dict()] if found else []


def _suggested(guess: Guess, columns: dict[str, str | tuple[str, ...]]) -> dict[str, Any]:
    roles: dict[str, Any] = {role.name: None for role in SHAPES[guess.task].roles}
    roles |= {role: name if isinstance(name, str) else list(name) for role, name in columns.items()}
    return {"task": guess.task, "reason": guess.reason, "languages": guess.languages, **roles}
