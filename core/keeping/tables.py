"""A table that was kept comes back: a child with limits reads what a stranger could have made, and writes it anew.

The child is `python -m core.keeping.tables PATH DESTINATION LIMITS`.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from core import files
from core.data import reading
from core.data.building import ROW_COLUMN
from core.data.reader import TOO_HEAVY
from core.data.store import Table, TableStore
from core.errors import UserError
from core.processes import end_with, limit_self
from core.settings import MEBIBYTE, Limits, Settings

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

_facts: TypeAdapter[Table] = TypeAdapter(Table)
_NOT_A_TABLE = 4
_LONGEST_NAME = 120


class Shelf(TableStore):
    """The table store, which also takes back a table that it wrote once."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._place = settings

    def has(self, table_id: str, owner: str) -> bool:
        """Whether the owner has this table."""
        try:
            self.path(table_id, owner)
        except UserError:
            return False
        return True

    def take_back(self, table_id: str, owner: str, parquet: Path, facts: Path) -> None:
        """Store the table in `parquet`, with the facts in `facts`, under the id that it had.

        Raises:
            UserError: `kept_damaged`, `too_busy`, `disk_full`, `quota_full`.
        """
        try:
            told = _facts.validate_python(files.read_json(facts) | {"id": table_id, "owner": owner, "origin": ""})
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise UserError("kept_damaged") from error
        known = {name: value for name, value in told.as_dict().items() if name not in ("rows", "columns")}
        known["name"] = "".join(letter for letter in told.name if letter.isprintable())[:_LONGEST_NAME]
        self._store(lambda staged: self._read(parquet, staged), owner, known)

    def _read(self, parquet: Path, staged: Path) -> dict[str, Any]:
        arguments = [str(parquet.resolve()), str(staged.resolve()), json.dumps(asdict(self.limits))]
        status, output = reading.run(self._place, "core.keeping.tables", arguments)
        if status != 0:
            raise UserError("kept_damaged")
        found: dict[str, Any] = json.loads(output)
        return found


def rewrite(source: Path, destination: Path, limits: Limits) -> dict[str, Any] | None:
    """Write the table in `source` to `destination`; `rows` and `columns`, or None where the table store wrote no such.

    Raises:
        pyarrow.ArrowException, OSError, ValueError: it is no table at all.
    """
    import pyarrow.parquet as parquet  # type: ignore[import-untyped]

    with parquet.ParquetFile(source, buffer_size=MEBIBYTE, pre_buffer=False) as file:
        told = file.metadata
        if told.num_rows > limits.rows or told.num_columns > limits.columns + 1:
            return None
        table = file.read(use_threads=False)
    if not _is_ours(table, limits):
        return None
    parquet.write_table(table.replace_schema_metadata(None), destination, compression="zstd", row_group_size=50_000)
    return {"rows": table.num_rows, "columns": table.column_names[:-1]}


def _is_ours(table: "pa.Table", limits: Limits) -> bool:
    """Whether it is columns of text, every cell there, and the rows' numbers."""
    import pyarrow as pa
    import pyarrow.compute as compute  # type: ignore[import-untyped]

    table.validate(full=True)
    *names, last = table.column_names
    if not names or last != ROW_COLUMN or table.schema.field(last).type != pa.int32():
        return False
    if len({*names}) != len(names) or any(table.schema.field(name).type != pa.string() for name in names):
        return False
    if any(column.null_count for column in table.columns):
        return False
    longest = (compute.max(compute.utf8_length(table.column(name))).as_py() or 0 for name in names)
    return all(length <= limits.cell_characters for length in longest)


def main(arguments: list[str]) -> int:
    """Read, check, write."""
    limits = Limits(**json.loads(arguments[2]))
    limit_self(limits.reader_memory, limits.reader_cpu)
    import pyarrow as pa

    # The default pool reserves address space far ahead of use, which the memory limit would count.
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        facts = rewrite(Path(arguments[0]), Path(arguments[1]), limits)
    except (MemoryError, pa.ArrowMemoryError):
        return TOO_HEAVY
    except (pa.ArrowException, OSError, ValueError):
        return _NOT_A_TABLE
    if facts is None:
        return _NOT_A_TABLE
    sys.stdout.write(json.dumps(facts) + "\n")
    return 0


if __name__ == "__main__":
    end_with(main, sys.argv[1:])
