"""Several files of one data set become one table, in a bounded child: `python -m core.data.joining ASKED PATH…`."""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files, processes
from core.data import reading
from core.data.building import ROW_COLUMN, Parsed
from core.data.formats import parse_any
from core.data.options import ReadOptions
from core.data.reader import TOO_HEAVY
from core.errors import UserError
from core.settings import MEBIBYTE, Limits, Settings

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as parquet  # type: ignore[import-untyped]

# Large sets are prepared tables: a column of texts alone is one too.
_OPTIONS = ReadOptions(single_column=True)
_WITHOUT_ROWS = frozenset({"file_empty", "file_header_only"})


def join(paths: Sequence[Path], destination: Path, settings: Settings) -> dict[str, Any]:
    """Read files with the same columns one after the other into one table, stored as `reading.read` stores it.

    Args:
        paths: files of any kind, in the order of their rows.
        destination: where to write.
        settings: limits; those on bytes, rows, time and memory hold for all files together.

    Returns:
        The facts of `reading.read`: of how it was read, those of the first file; `notes` added up. Rows are numbered
        from 1.

    Raises:
        UserError: `shards_differ`, and what `reading.read` raises.
    """
    missing = next((path for path in paths if not path.is_file()), None)
    if missing or not paths:
        raise UserError("file_missing", name=missing.name if missing else "")
    size, limit = sum(path.stat().st_size for path in paths), settings.limits.file_bytes
    if size > limit:
        limit_mb = limit // MEBIBYTE
        raise UserError("file_too_large", mb=max(limit_mb + 1, round(size / MEBIBYTE)), limit_mb=limit_mb)
    asked = json.dumps({"limits": asdict(settings.limits), "destination": str(destination.resolve())})
    try:
        code, output = reading.run(settings, "core.data.joining", [asked, *(str(path.resolve()) for path in paths)])
        answer = _answer(code, output)
    except BaseException:
        destination.unlink(missing_ok=True)
        raise
    return answer


def _answer(code: int | None, output: bytes) -> dict[str, Any]:
    try:
        said = json.loads(output) if code == 0 else None
    except ValueError:
        said = None
    if said is None:
        raise UserError("file_too_heavy" if code is None or code < 0 or code == TOO_HEAVY else "file_unreadable")
    if "error" in said:
        raise UserError(said["error"]["code"], **said["error"]["facts"])
    facts: dict[str, Any] = said["facts"]
    return facts


class _Joined:
    """The table so far; only one file's rows are in memory at a time."""

    def __init__(self, destination: Path, limits: Limits, total: int) -> None:
        self._destination, self._limits, self._total = destination, limits, total
        self._writer: parquet.ParquetWriter | None = None
        self._first: Parsed | None = None
        self._columns: list[str] = []
        self.rows = 0
        self._notes: dict[str, dict[str, Any]] = {}
        self._digest = hashlib.sha256()

    def add(self, parsed: Parsed, number: int) -> None:
        """Take the rows of the file of this number, from 1.

        Raises:
            UserError: `shards_differ`, `file_too_many_rows`, `disk_full`.
        """
        import pyarrow.parquet as parquet

        columns = [name for name in parsed.table.column_names if name != ROW_COLUMN]
        self._columns = self._columns or columns
        if set(columns) != set(self._columns):
            raise UserError("shards_differ", number=number, total=self._total)
        table = self._numbered(parsed.table.select(self._columns))
        if self.rows > self._limits.rows:
            raise UserError("file_too_many_rows", limit=self._limits.rows)
        with files.disk_full_is_a_user_error():
            if self._writer is None:
                self._writer = parquet.ParquetWriter(self._destination, table.schema, compression="zstd")
            self._writer.write_table(table, row_group_size=50_000)
        self._digest.update(parsed.id.encode())
        for note in parsed.notes:
            _add_note(self._notes, note)
        if self._first is None:
            self._first = Parsed(table.slice(0, 0), parsed.id, parsed.facts)

    def _numbered(self, table: "pa.Table") -> "pa.Table":
        import pyarrow as pa

        first = self.rows + 1
        self.rows += table.num_rows
        numbers = pa.array(range(first, self.rows + 1), pa.int32())
        text = pa.schema([(name, pa.string()) for name in self._columns])
        return table.cast(text).append_column(ROW_COLUMN, numbers)

    def finish(self) -> dict[str, Any]:
        """Close the file and tell about it."""
        assert self._writer
        assert self._first
        with files.disk_full_is_a_user_error():
            self._writer.close()
        return {
            "id": self._digest.hexdigest(),
            "rows": self.rows,
            "columns": self._columns,
            **self._first.facts,
            "notes": list(self._notes.values()),
        }


def _add_note(notes: dict[str, dict[str, Any]], note: dict[str, Any]) -> None:
    """Add up the numbers of notes with the same code; words stay those of the first."""
    known = notes.get(note["code"])
    if known is None:
        notes[note["code"]] = dict(note)
        return
    for name, value in note.items():
        if isinstance(value, int):
            known[name] = known.get(name, 0) + value


def _read_all(paths: Sequence[Path], destination: Path, limits: Limits) -> _Joined:
    joined, empty = _Joined(destination, limits, len(paths)), None
    for number, path in enumerate(paths, start=1):
        try:
            parsed = parse_any(path, limits, _OPTIONS)
        except UserError as error:
            # Where rows are spread over files by chance, some may get none.
            if error.code not in _WITHOUT_ROWS:
                raise
            empty = error
        else:
            joined.add(parsed, number)
    if empty and not joined.rows:
        raise empty
    return joined


def main(arguments: list[str]) -> int:
    """Read, write, and print `{"facts"}` or `{"error"}` as one JSON line."""
    asked = json.loads(arguments[0])
    limits = Limits(**asked["limits"])
    processes.limit_self(limits.reader_memory, limits.reader_cpu)
    import pyarrow as pa

    # The default pool reserves address space far ahead of use, which the memory limit would count.
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        joined = _read_all([Path(path) for path in arguments[1:]], Path(asked["destination"]), limits)
        answer: dict[str, Any] = {"facts": joined.finish()}
    except UserError as error:
        answer = {"error": error.as_dict()}
    except (MemoryError, RecursionError, pa.ArrowMemoryError):
        return TOO_HEAVY
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    processes.end_with(main, sys.argv[1:])
