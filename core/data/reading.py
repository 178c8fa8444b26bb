"""A file becomes a table, in a child process that cannot take the page down with it."""

import json
import logging
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from core.data.building import ROW_COLUMN
from core.data.options import DECIDE_YOURSELF, ReadOptions
from core.data.reader import TOO_HEAVY
from core.errors import UserError
from core.processes import spawn, turn
from core.settings import MEBIBYTE, Settings

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
_PLACE = re.compile(r'^  File "(?:.*[/\\])?(.+?)", line (\d+)', re.MULTILINE)
_KIND = re.compile(r"^(?:\w+\.)*(\w+(?:Error|Exception))\b", re.MULTILINE)
_MOST_SAID = 32 * 1024  # bytes


def read(path: Path, destination: Path, settings: Settings, options: ReadOptions = DECIDE_YOURSELF) -> dict[str, Any]:
    """Read `path` in a child and store its table at `destination` (parquet, every column text).

    Args:
        path: a file of any kind; its content decides, not its name.
        destination: where to write.
        settings: limits.
        options: what a person decided about reading.

    Returns:
        `id`, `rows`, `columns`, `notes`, and what `building.Parsed.facts` lists.

    Raises:
        UserError: `file_missing`, `file_too_large`, `file_too_heavy`, `file_unreadable`, `disk_full`, and the reader's
            own: `file_empty`, `file_header_only`, `file_one_column`, `file_not_a_table`, `file_is_excel`,
            `file_is_binary`, `file_encoding_unknown`, `file_too_many_rows`, `file_too_many_columns`,
            `file_cell_too_long`.
    """
    limits = settings.limits
    if not path.is_file():
        raise UserError("file_missing", name=path.name)
    size = path.stat().st_size
    if size > limits.file_bytes:
        limit_mb = limits.file_bytes // MEBIBYTE
        raise UserError("file_too_large", mb=max(limit_mb + 1, round(size / MEBIBYTE)), limit_mb=limit_mb)
    asked = json.dumps({"limits": asdict(limits), "options": asdict(options)})
    code, output = run(settings, "core.data.reader", [str(path.resolve()), str(destination.resolve()), asked])
    try:
        answer = json.loads(output) if code == 0 else None
    except ValueError:
        answer = None
    if answer is None:
        destination.unlink(missing_ok=True)
        # Negative: ended by a signal, which is how the limits on processor time and memory bite.
        raise UserError("file_too_heavy" if code is None or code < 0 or code == TOO_HEAVY else "file_unreadable")
    if "error" in answer:
        destination.unlink(missing_ok=True)
        raise UserError(answer["error"]["code"], **answer["error"]["facts"])
    facts: dict[str, Any] = answer["facts"]
    return facts


def run(settings: Settings, module: str, arguments: list[str], wall: float | None = None) -> tuple[int | None, bytes]:
    """Exit status and output of a bounded child; None as status where the wall clock (`reader_wall`) ended it.

    Raises:
        UserError: `too_busy`.
    """
    limits = settings.limits
    with turn(settings, most=limits.children, seconds=limits.doctor_wall):
        return _run(settings, module, arguments, wall or limits.reader_wall)


def _run(settings: Settings, module: str, arguments: list[str], wall: float) -> tuple[int | None, bytes]:
    with tempfile.TemporaryFile() as said:
        child = spawn(settings, module, arguments, stdout=subprocess.PIPE, stderr=said)
        try:
            output, _ = child.communicate(timeout=wall)
        except subprocess.TimeoutExpired:
            return None, b""
        finally:
            if child.poll() is None:
                _kill(child)
                child.communicate()
        if child.returncode not in (0, TOO_HEAVY):
            log.warning("%s ended with %s: %s", module, child.returncode, _where(said))
    return child.returncode, output


def _where(said: IO[bytes]) -> str:
    """The kind of error that a traceback ends with, and its places. Its other words may be somebody's data."""
    said.seek(max(0, said.seek(0, os.SEEK_END) - _MOST_SAID))
    words = said.read().decode("utf-8", "replace")
    places = " ".join(f"{file}:{line}" for file, line in _PLACE.findall(words)[-6:])
    return f"{''.join(_KIND.findall(words)[-1:])} {places}".strip() or "it said nothing"


def _kill(child: "subprocess.Popen[bytes]") -> None:
    if os.name == "posix":
        os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()


def load(path: Path, columns: Sequence[str] | None = None, rows: int | None = None, start: int = 0) -> "pd.DataFrame":
    """A stored table, or `rows` of it from `start` on, as text; the index holds the rows' numbers in the spreadsheet.

    Raises:
        UserError: `column_missing`.
    """
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as parquet  # type: ignore[import-untyped]

    with parquet.ParquetFile(path) as file:
        known = [name for name in file.schema_arrow.names if name != ROW_COLUMN]
        wanted = list(dict.fromkeys(columns)) if columns is not None else known
        for name in wanted:
            if name not in known:
                raise UserError("column_missing", column=name[:60], columns=", ".join(known[:20]))
        if rows is None:
            table = file.read([*wanted, ROW_COLUMN]).slice(start)
        else:
            table = pa.Table.from_batches(_some(file, [*wanted, ROW_COLUMN], rows, start))
        frame: pd.DataFrame = table.select([*wanted, ROW_COLUMN]).to_pandas()
    numbers = frame.pop(ROW_COLUMN)
    frame.index = numbers.to_numpy()
    frame.index.name = "row"
    return frame


def _some(file: Any, columns: list[str], rows: int, start: int) -> list[Any]:
    """Batches of some rows; groups of rows before them are passed over unread."""
    first, groups = 0, list(range(file.num_row_groups))
    while len(groups) > 1 and first + file.metadata.row_group(groups[0]).num_rows <= start:
        first += file.metadata.row_group(groups.pop(0)).num_rows
    batches, skip, missing = [], start - first, rows
    for batch in file.iter_batches(max(1, min(rows + skip, 10_000)), row_groups=groups, columns=columns):
        batches.append(batch.slice(min(skip, batch.num_rows), missing))
        skip = max(0, skip - batch.num_rows)
        missing -= batches[-1].num_rows
        if missing <= 0:
            break
    return batches
