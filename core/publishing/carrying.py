"""A run as one file, to keep or to take to another machine; `core.publishing.taking_in` is the way back.

The file is a zip: `manifest.json` with the size and the sha256 of all others, `run.json` (name, note, when it began),
`spec.json`, `report.json`, `events.jsonl`, the files of the model below `model/`, those of its adapter below
`adapter/`. Whose it was, and where on this machine anything lay, is not in it.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.models import parts
from core.publishing import archive
from core.publishing.carried import carried_spec
from core.runs.store import RunRecord, RunStore

FORMAT, VERSION = "tuning-fork run", 1
MANIFEST = "manifest.json"
_LONGEST_QUOTE = 4_000


def entries(runs: RunStore, run_id: str, owner: str) -> list[archive.Entry]:
    """What the file of a run holds, for `core.publishing.archive.stream_zip`.

    Raises:
        UserError: `run_unknown`; `run_has_no_model` for one without a result.
    """
    record, report = runs.get(run_id, owner), runs.report(run_id)
    if not record.has_result or report is None:
        raise UserError("run_has_no_model", run=run_id[:8])
    folder, spec = runs.folder(run_id), carried_spec(runs.spec(run_id))
    made = {
        "run.json": _run_facts(record),
        "spec.json": spec.model_dump(mode="json"),
        "report.json": _with_short_quotes(report) | {"spec": spec.model_dump(mode="json")},
    }
    found = [_written(name, content) for name, content in made.items()]
    told = folder / "events.jsonl"
    found.append(_file("events.jsonl", told) if told.is_file() else archive.Entry("events.jsonl", 0, b""))
    found += _below("model", parts.model_files(runs.model_folder(run_id)))
    if (folder / "adapter").is_dir():
        found += _below("adapter", parts.adapter_files(folder / "adapter"))
    listed = {e.name: {"bytes": e.size, "sha256": _digest(e.chunks())} for e in found}
    return [_written(MANIFEST, {"format": FORMAT, "version": VERSION, "files": listed}), *found]


def _run_facts(record: RunRecord) -> dict[str, Any]:
    told = asdict(record)
    return {name: told[name] for name in ("name", "note", "task", "state", "created", "seconds", "headline")}


def _with_short_quotes(report: dict[str, Any]) -> dict[str, Any]:
    """A report whose quoted rows are no longer than those of written answers are anyway."""
    wrong = report.get("errors")
    if wrong is None:
        return report
    return report | {"errors": [row | {"text": row["text"][:_LONGEST_QUOTE]} for row in wrong]}


def _written(name: str, content: Any) -> archive.Entry:
    made = (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()
    return archive.Entry(name, len(made), made)


def _file(name: str, file: Path) -> archive.Entry:
    return archive.Entry(name, file.stat().st_size, file=file)


def _below(folder: str, found: list[Path]) -> Iterator[archive.Entry]:
    """The files of a model, as they leave the house: nothing in them tells where they lay on this machine."""
    _, *entries = archive.described(found, "")  # the first one is a card, which a run needs none of
    return (replace(entry, name=f"{folder}/{entry.name}") for entry in entries)


def _digest(chunks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
