"""What became of runs: their size on disk, what was set differently in them, and whether scores can be told apart."""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.runs.store import ACTIVE, RunStore
from core.spec import TrainSpec, knobs, switches

LONGEST_NAME, LONGEST_NOTE = 80, 2_000


def run_bytes(runs: RunStore, run_id: str) -> int:
    """Size in bytes of a run's files; those that vanish meanwhile, as an active run's do, count for nothing.

    Raises:
        UserError: `run_unknown`.
    """
    total = 0
    for folder, _, names in os.walk(runs.folder(run_id)):
        for name in names:
            with suppress(FileNotFoundError):
                found = Path(folder, name).lstat()
                total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total


def used_bytes(runs: RunStore, owner: str) -> int:
    """Bytes on disk of all runs of an owner."""
    total = 0
    for record in runs.list(owner):
        with suppress(UserError):  # deleted meanwhile
            total += run_bytes(runs, record.id)
    return total


def delete(runs: RunStore, run_id: str, owner: str) -> None:
    """Remove an ended run of an owner and free its disk.

    Raises:
        UserError: `run_unknown`, `run_still_active`; `run_needed` where a run that works or waits begins from it.
    """
    record = runs.get(run_id, owner)
    for other in runs.list(owner):
        if other.state in (*ACTIVE, "QUEUED") and other.id != record.id:
            start = runs.spec(other.id).model
            if start.source == "run" and start.name == record.id:
                raise UserError("run_needed", name=other.name or other.id[:8])
    runs.delete(record.id)


def describe(runs: RunStore, run_id: str, owner: str, name: str, note: str) -> None:
    """Give a run another name and note. An empty name leaves the one that it has.

    Raises:
        UserError: `run_unknown`.
    """
    record = runs.get(run_id, owner)
    runs.annotate(record.id, name=one_line(name) or record.name, note=several_lines(note))


def one_line(words: str, longest: int = LONGEST_NAME) -> str:
    """Words as a name: one line without control characters, at most so many characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in words).split())[:longest].strip()


def several_lines(words: str, longest: int = LONGEST_NOTE) -> str:
    """Words as a note: line breaks are kept, other control characters are not."""
    lines = words.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in lines if c == "\n" or c.isprintable())[:longest].strip()


def settings_of(spec: TrainSpec) -> dict[str, Any]:
    """Everything that a run was told, by name: what it learned from, where it began, then knobs and switches."""
    data = spec.data
    told = {
        "task": spec.task,
        "model": spec.model,
        "table": data.table,
        "columns": data.columns,
        "fixes": data.fixes,
        "split": data.split,
        "augment": data.augment,
        "test_table": data.test_table,
    }
    return told | {name: getattr(spec, name) for name in (*knobs(), *switches())}


def differing(specs: Sequence[TrainSpec]) -> tuple[str, ...]:
    """Names of the settings in which runs differ, in the order of `settings_of`."""
    told = [settings_of(spec) for spec in specs]
    return tuple(name for name in told[0] if any(other[name] != told[0][name] for other in told[1:]))


def same_test_rows(one: TrainSpec, other: TrainSpec) -> bool:
    """Whether two runs were judged on the same rows: their scores can be compared only then."""
    return _tested_on(one) == _tested_on(other)


def _tested_on(spec: TrainSpec) -> tuple[Any, ...]:
    data, shares = spec.data, tuple(getattr(spec, name) for name in knobs("data"))
    return (spec.task, data.table, data.test_table, data.columns, data.fixes, data.split, spec.seed, shares)


def overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two intervals [low, high] have a value in common."""
    return one[0] <= other[1] and other[0] <= one[1]
