"""A file becomes a table, in a child process that cannot take the page down with it."""

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.data.building import ROW_COLUMN
from core.data.reader import TOO_HEAVY
from core.errors import UserError
from core.processes import spawn
from core.settings import MEBIBYTE, Settings

if TYPE_CHECKING:
    import pandas as pd


def read(path: Path, destination: Path, settings: Settings, *, single_column: bool = False) -> dict[str, Any]:
    """Read `path` in a child and store its table at `destination` (parquet, every column text).

    Args:
        path: a file of any kind; its content decides, not its name.
        destination: where to write.
        settings: limits.
        single_column: whether a file of one column will do, as for texts to predict.

    Returns:
        `id`, `rows`, `columns`, `format`, `encoding`, `delimiter`, `notes`.

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
    options = json.dumps({"limits": asdict(limits), "single_column": single_column})
    code, output = run(settings, "core.data.reader", [str(path.resolve()), str(destination.resolve()), options])
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


def run(settings: Settings, module: str, arguments: list[str]) -> tuple[int | None, bytes]:
    """Exit status and output of a bounded child; None as status where the wall clock ended it."""
    child = spawn(settings, module, arguments, stdout=subprocess.PIPE)
    try:
        output, _ = child.communicate(timeout=settings.limits.reader_wall)
    except subprocess.TimeoutExpired:
        return None, b""
    finally:
        if child.poll() is None:
            _kill(child)
            child.communicate()
    return child.returncode, output


def _kill(child: "subprocess.Popen[bytes]") -> None:
    if os.name == "posix":
        os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()


def load(path: Path, columns: Sequence[str] | None = None, rows: int | None = None) -> "pd.DataFrame":
    """A stored table, or the first `rows` of it, as text; the index holds the rows' numbers in the spreadsheet.

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
            table = file.read([*wanted, ROW_COLUMN])
        else:
            batches, missing = [], rows
            for batch in file.iter_batches(max(1, min(rows, 10_000)), columns=[*wanted, ROW_COLUMN]):
                batches.append(batch.slice(0, missing))
                missing -= batches[-1].num_rows
                if missing <= 0:
                    break
            table = pa.Table.from_batches(batches)
        frame: pd.DataFrame = table.select([*wanted, ROW_COLUMN]).to_pandas()
    numbers = frame.pop(ROW_COLUMN)
    frame.index = numbers.to_numpy()
    frame.index.name = "row"
    return frame
