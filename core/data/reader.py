"""The reading child: `python -m core.data.reader PATH DESTINATION OPTIONS`, bounded before it opens a file."""

import json
import sys
from pathlib import Path
from typing import Any

from core import files
from core.data.building import Parsed
from core.data.formats import parse_any
from core.data.options import ReadOptions
from core.errors import UserError
from core.processes import end_with, limit_self
from core.settings import Limits

TOO_HEAVY = 3


def write(parsed: Parsed, destination: Path) -> dict[str, Any]:
    """Store the table as parquet and tell about it."""
    import pyarrow.parquet as parquet  # type: ignore[import-untyped]

    with files.disk_full_is_a_user_error():
        parquet.write_table(parsed.table, destination, compression="zstd", row_group_size=50_000)
    return {
        "id": parsed.id,
        "rows": parsed.table.num_rows,
        "columns": parsed.table.column_names[:-1],
        **parsed.facts,
        "notes": parsed.notes,
    }


def main(arguments: list[str]) -> int:
    """Read, write, and print `{"facts"}` or `{"error"}` as one JSON line."""
    asked = json.loads(arguments[2])
    limits = Limits(**asked["limits"])
    limit_self(limits.reader_memory, limits.reader_cpu)
    import pyarrow as pa

    # The default pool reserves address space far ahead of use, which the memory limit would count.
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        parsed = parse_any(Path(arguments[0]), limits, ReadOptions(**asked["options"]))
        answer: dict[str, Any] = {"facts": write(parsed, Path(arguments[1]))}
    except UserError as error:
        answer = {"error": error.as_dict()}
    except (MemoryError, RecursionError, pa.ArrowMemoryError):
        return TOO_HEAVY
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    end_with(main, sys.argv[1:])
