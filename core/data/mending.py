"""The mended table as a file for the person: a child applies the fixes, and the rows are written as they asked."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from core import files
from core.data.survey import Question, Survey, survey
from core.data.writing import check_target, write_table
from core.errors import UserError
from core.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".jsonl", ".parquet")


def mend(
    settings: Settings,
    rows: int,
    asked: Question,
    out: Path,
    source: Path | None = None,
    *,
    for_excel: bool = False,
) -> Survey:
    """Apply the fixes of a question to its table and write the whole table to `out`.

    CSV opens in any spreadsheet and runs nothing there; JSON lines and Parquet hold every cell to the letter.

    Args:
        settings: limits and home.
        rows: of the table.
        asked: which table, which fixes.
        out: a file ending in `.csv`, `.jsonl` or `.parquet`; replaced if it exists.
        source: the person's file, which must not be replaced.
        for_excel: see `writing.write_table`.

    Raises:
        UserError: `output_kind_unknown`, `check_too_heavy`, `disk_full`, and what `writing.check_target` raises.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise UserError("output_kind_unknown", name=out.name, known=", ".join(SUFFIXES))
    check_target(out, source)
    with files.disk_full_is_a_user_error():
        settings.home.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".mend-", dir=settings.home)
    with folder:
        staged = Path(folder.name) / "mended.parquet"
        found = survey(settings, rows, replace(asked, out=str(staged)))
        if not staged.is_file():
            code, facts = found.error or ("check_too_heavy", {})
            raise UserError(code, **facts)
        write_table(_read(staged), out, source=source, for_excel=for_excel)
    return found


def _read(path: Path) -> "pd.DataFrame":
    import pandas as pd

    return pd.read_parquet(path)
