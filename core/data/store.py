"""Tables on disk, by owner and content: the same content handed in twice is one table."""

import hashlib
import re
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files
from core.data import reading
from core.errors import UserError
from core.settings import MEBIBYTE, Limits, Settings

if TYPE_CHECKING:
    import pandas as pd

_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Table:
    """A stored table.

    Attributes:
        id: sha256 of the content, hexadecimal.
        owner: key of whom it belongs to.
        name: the file's name, for people.
        rows: number of rows below the header.
        columns: names, in the file's order.
        format: `csv` or `tsv`.
        encoding: codec that the file was decoded with.
        delimiter: character between cells, empty where there is one column.
        notes: what was mended while reading, as `{"code", "rows", …}`.
    """

    id: str
    owner: str
    name: str
    rows: int
    columns: tuple[str, ...]
    format: str
    encoding: str
    delimiter: str
    notes: tuple[dict[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """The table's facts, JSON-ready."""
        return asdict(self) | {"columns": list(self.columns), "notes": list(self.notes)}


class TableStore:
    """All tables below `home/tables`, a folder for each owner."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._root = settings.home / "tables"

    @property
    def limits(self) -> Limits:
        """Bounds on what may be handed in."""
        return self._settings.limits

    def add(self, path: Path, owner: str, name: str | None = None, *, single_column: bool = False) -> Table:
        """Read a file in the limited child and keep its table.

        Args:
            path: the file.
            owner: key of whom it will belong to.
            name: what people call it; by default the file's name.
            single_column: whether a file of one column will do.

        Raises:
            UserError: `disk_full`, `quota_full`, and what `reading.read` raises.
        """
        path = Path(path)
        folder = self._folder(owner)
        with files.disk_full_is_a_user_error():
            folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < self._settings.limits.free_disk:
            raise UserError("disk_full")
        staged = folder / f".{secrets.token_hex(8)}.part"
        try:
            facts = reading.read(path, staged, self._settings, single_column=single_column)
            table = _table({**facts, "owner": owner, "name": _shown_name(name or path.name)})
            self._check_quota(folder, staged, table.id)
            with files.disk_full_is_a_user_error():
                staged.replace(folder / f"{table.id}.parquet")
            files.write_json(folder / f"{table.id}.json", table.as_dict() | {"added": time.time()})
        finally:
            staged.unlink(missing_ok=True)
        return table

    def get(self, table_id: str, owner: str) -> Table:
        """The facts of a table; another owner's answers exactly as an unknown one.

        Raises:
            UserError: `table_unknown`.
        """
        return _table(files.read_json(self.path(table_id, owner).with_suffix(".json")))

    def list(self, owner: str) -> list[Table]:
        """The owner's tables, newest first. Damaged records are passed over."""
        found: list[tuple[float, Table]] = []
        for record in self._folder(owner).glob("*.json"):
            try:
                facts = files.read_json(record)
                found.append((float(facts["added"]), _table(facts)))
            except (OSError, ValueError, KeyError, TypeError):
                continue
        present = [(added, table) for added, table in found if (self._folder(owner) / f"{table.id}.parquet").is_file()]
        return [table for _, table in sorted(present, key=lambda pair: pair[0], reverse=True)]

    def frame(
        self, table_id: str, owner: str, columns: Sequence[str] | None = None, rows: int | None = None
    ) -> "pd.DataFrame":
        """The table or a part of it: every cell text, missing ones empty, the index the spreadsheet's row numbers.

        Args:
            table_id: its id.
            owner: who asks.
            columns: names of columns, all by default.
            rows: only the first so many.

        Raises:
            UserError: `table_unknown`, `column_missing`.
        """
        return reading.load(self.path(table_id, owner), columns, rows)

    def path(self, table_id: str, owner: str) -> Path:
        """Where the table's parquet file lies.

        Raises:
            UserError: `table_unknown`.
        """
        if _ID.fullmatch(table_id):
            path = self._folder(owner) / f"{table_id}.parquet"
            if path.is_file() and path.with_suffix(".json").is_file():
                return path
        raise UserError("table_unknown", table=table_id[:12])

    def delete(self, table_id: str, owner: str) -> None:
        """Forget a table.

        Raises:
            UserError: `table_unknown`.
        """
        path = self.path(table_id, owner)
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)

    def _folder(self, owner: str) -> Path:
        return self._root / hashlib.sha256(owner.encode()).hexdigest()[:16]

    def _check_quota(self, folder: Path, staged: Path, table_id: str) -> None:
        if (folder / f"{table_id}.parquet").is_file():
            return
        # Everything in the folder counts, also what is being read right now: two uploads at once cannot pass together.
        used, limit = files.folder_bytes(folder), self._settings.limits.owner_bytes
        if used > limit:
            raise UserError(
                "quota_full", used_mb=round((used - staged.stat().st_size) / MEBIBYTE), limit_mb=limit // MEBIBYTE
            )


def _table(facts: dict[str, Any]) -> Table:
    kept = {field.name: facts[field.name] for field in fields(Table)}
    return Table(**kept | {"columns": tuple(kept["columns"]), "notes": tuple(kept["notes"])})


def _shown_name(name: str) -> str:
    """A name without folders and control characters, short enough for a list."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in last if c.isprintable())[:120] or "table"
