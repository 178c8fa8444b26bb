"""How long the texts are in a model's own tokens, counted in a child process: a tokenizer is a stranger's file too."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.data.reading import run
from core.data.shapes import Columns, Shape
from core.errors import UserError
from core.settings import Settings


def measured_columns(shape: Shape, columns: Columns) -> tuple[tuple[str, ...], str | None]:
    """The columns of what a model reads of an example, and that of the answer it shall write, None where it shall not.

    A conversation is one column with both.
    """
    read: list[str] = []
    for role in shape.roles:
        given = columns.get(role.name)
        if given and role.kind in ("text", "messages"):
            read += [given] if isinstance(given, str) else list(given)
    answers = (columns.get(role.name) for role in shape.roles if role.kind == "answer")
    answer = next((column for column in answers if isinstance(column, str) and column), None)
    return tuple(read), answer


def token_lengths(
    settings: Settings,
    table_path: Path,
    columns: Sequence[str],
    tokenizer: Path,
    sample: int = 5000,
    answer: str | None = None,
) -> dict[str, Any]:
    """Lengths of the texts of one column, or of several together, in tokens, the special ones included.

    Args:
        settings: limits of the child.
        table_path: a stored table, see `TableStore.path`.
        columns: names of the text columns.
        tokenizer: a `tokenizer.json`.
        sample: at most so many rows, spread evenly over the table.
        answer: name of the column of the answers, None where there is none.

    Returns:
        `sampled` and `rows` (counts of rows), `p50`, `p95`, `max` (tokens), and `histogram`: `[low, high, count]` for
        each bar, both ends included; the last bar reaches to `max`; with an answer `answer_p95`.

    Raises:
        UserError: `column_missing`, `profile_failed`.
    """
    asked = {"columns": list(columns), "sample": sample, "answer": answer}
    options = json.dumps({"limits": asdict(settings.limits), **asked})
    code, output = run(settings, "core.data.profiler", [str(table_path.resolve()), str(tokenizer.resolve()), options])
    try:
        answer = json.loads(output) if code == 0 else None
    except ValueError:
        answer = None
    if answer is None:
        raise UserError("profile_failed")
    if "error" in answer:
        raise UserError(answer["error"]["code"], **answer["error"]["facts"])
    facts: dict[str, Any] = answer["facts"]
    return facts
