"""How long the texts are in a model's own tokens, counted in a child process: a tokenizer is a stranger's file too."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.data.reading import run
from core.errors import UserError
from core.settings import Settings


def token_lengths(
    settings: Settings, table_path: Path, column: str, tokenizer: Path, sample: int = 5000
) -> dict[str, Any]:
    """Lengths of the texts of a column in tokens, the special ones included.

    Args:
        settings: limits of the child.
        table_path: a stored table, see `TableStore.path`.
        column: name of the text column.
        tokenizer: a `tokenizer.json`.
        sample: at most so many rows, spread evenly over the table.

    Returns:
        `sampled` and `rows` (counts of rows), `p50`, `p95`, `max` (tokens), and `histogram`: `[low, high, count]` for
        each bar, both ends included; the last bar reaches to `max`.

    Raises:
        UserError: `column_missing`, `profile_failed`.
    """
    options = json.dumps({"limits": asdict(settings.limits), "column": column, "sample": sample})
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
