"""A look at a file without keeping it: what `python -m core inspect FILE` prints."""

import tempfile
from pathlib import Path
from typing import Any

from core import files
from core.data import reading
from core.data.checking import check, guess_columns
from core.data.cleaning import drop_empty, rows_of, spellings, text_key
from core.data.findings import from_note
from core.errors import UserError
from core.settings import Settings


def inspect(path: Path, settings: Settings) -> dict[str, Any]:
    """What is in a file, which column is what, and what stands out.

    Returns:
        `name`, `format`, `encoding`, `delimiter`, `rows`, `columns`, `suggested` (`task`, `text`, `label`; None where
        no column fits), `labels` (label -> rows, largest first, in the usual spelling), `findings`.

    Raises:
        UserError: what `reading.read` raises, and `disk_full`.
    """
    path = Path(path)
    with files.disk_full_is_a_user_error():
        settings.home.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".inspect-", dir=settings.home)
    with folder:
        table = Path(folder.name) / "table.parquet"
        facts = reading.read(path, table, settings)
        guessed = guess_columns(reading.load(table, rows=5000))
        frame = reading.load(table, list(guessed.values()))
    findings: list[dict[str, Any]] = [from_note(note).as_dict() for note in facts["notes"]]
    labels: dict[str, int] = {}
    if {"text", "label"} <= guessed.keys():
        findings += [finding.as_dict() for finding in check(frame, guessed, settings.limits)]
        labels = label_counts(frame, guessed)
    suggested = {"task": "classification", "text": guessed.get("text"), "label": guessed.get("label")}
    described = {name: facts[name] for name in ("format", "encoding", "delimiter", "rows", "columns")}
    return {"name": path.name, **described, "suggested": suggested, "labels": labels, "findings": findings}


def label_counts(frame: Any, columns: dict[str, str]) -> dict[str, int]:
    """Rows of each label in its usual spelling, largest first, doubles included. Blank ones do not count.

    Raises:
        UserError: `column_missing`.
    """
    if columns["label"] not in frame.columns:
        raise UserError("column_missing", column=columns["label"], columns=", ".join(map(str, frame.columns)))
    same = {"text": columns["label"], "label": columns["label"]}
    cells = drop_empty(rows_of(frame, same))[0]["label"]
    usual = spellings(cells)
    counts = cells.value_counts()
    merged: dict[str, int] = {}
    for label, rows in counts.items():
        spelled = usual[text_key(str(label))]
        merged[spelled] = merged.get(spelled, 0) + int(rows)
    return dict(sorted(merged.items(), key=lambda pair: (-pair[1], pair[0])))
