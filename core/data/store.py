"""Tables on disk, by owner and content: the same content handed in twice is one table."""

import hashlib
import re
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files
from core.data import joining, reading
from core.data.options import DECIDE_YOURSELF, ReadOptions
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
        format: kind of file, see `building.Parsed`.
        encoding: codec that the file was decoded with, empty where there is none.
        delimiter: character between cells, empty where there is one column.
        notes: what was mended while reading, as `{"code", "rows", …}`.
        container: `gzip` or `zip` around the file, else empty.
        title_rows: rows above the header that were passed over.
        header: whether the names come from the file.
        part: sheet, list or file that was read, where there is a choice.
        parts: all there are to choose from.
        options: what a person decided about reading, see `ReadOptions`.
        origin: sha256 of the file that it was read from, empty where that is not kept.
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
    container: str = ""
    title_rows: int = 0
    header: bool = True
    part: str = ""
    parts: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    origin: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The table's facts, JSON-ready."""
        lists = {name: list(getattr(self, name)) for name in ("columns", "notes", "parts")}
        return asdict(self) | lists


class TableStore:
    """All tables below `home/tables`, a folder for each owner."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._root = settings.home / "tables"

    @property
    def limits(self) -> Limits:
        """Bounds on what may be handed in."""
        return self._settings.limits

    def add(
        self,
        path: Path,
        owner: str,
        name: str | None = None,
        options: ReadOptions = DECIDE_YOURSELF,
        *,
        keep_file: bool = False,
    ) -> Table:
        """Read a file in the limited child and keep its table.

        Args:
            path: the file.
            owner: key of whom it will belong to.
            name: what people call it; by default the file's name.
            options: what the person decided about reading.
            keep_file: whether to keep the file too, so that `read_again` can read it otherwise.

        Raises:
            UserError: `disk_full`, `quota_full`, and what `reading.read` raises.
        """
        path = Path(path)
        origin = self._keep(path, owner) if keep_file else ""
        try:
            return self._store(
                lambda staged: reading.read(path, staged, self._settings, options),
                owner,
                {"name": _shown_name(name or path.name), "options": options.as_dict(), "origin": origin},
            )
        except UserError:
            self._forget_files(owner)
            raise

    def read_again(self, table_id: str, owner: str, options: ReadOptions) -> Table:
        """Read the kept file of a table with other decisions. The earlier table stays.

        Raises:
            UserError: `table_unknown`, `file_not_kept`, and what `add` raises.
        """
        table = self.get(table_id, owner)
        kept = self._folder(owner) / f"{table.origin}.file"
        if not table.origin or not kept.is_file():
            raise UserError("file_not_kept")
        facts = {"name": table.name, "options": options.as_dict(), "origin": table.origin}
        return self._store(lambda staged: reading.read(kept, staged, self._settings, options), owner, facts)

    def add_joined(self, paths: Sequence[Path], owner: str, name: str) -> Table:
        """One table of several files with the same columns.

        Raises:
            UserError: `shards_differ`, and what `add` raises.
        """
        if len(paths) == 1:
            return self.add(paths[0], owner, name, ReadOptions(single_column=True))
        return self._store(
            lambda staged: joining.join(list(paths), staged, self._settings), owner, {"name": _shown_name(name)}
        )

    def _store(self, read: Callable[[Path], dict[str, Any]], owner: str, facts: dict[str, Any]) -> Table:
        folder = self._room(owner)
        staged = folder / f".{secrets.token_hex(8)}.part"
        try:
            table = _table({**read(staged), **facts, "owner": owner})
            self._check_quota(folder, staged, table.id)
            with files.disk_full_is_a_user_error():
                staged.replace(folder / f"{table.id}.parquet")
            files.write_json(folder / f"{table.id}.json", table.as_dict() | {"added": time.time()})
        finally:
            staged.unlink(missing_ok=True)
        return table

    def used_bytes(self, owner: str) -> int:
        """Bytes on disk of all that an owner handed in."""
        folder = self._folder(owner)
        return files.folder_bytes(folder) if folder.is_dir() else 0

    def _room(self, owner: str) -> Path:
        folder = self._folder(owner)
        with files.disk_full_is_a_user_error():
            folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < self._settings.limits.free_disk:
            raise UserError("disk_full")
        return folder

    def _keep(self, path: Path, owner: str) -> str:
        """A copy of the file under its digest; the upload itself is gradio's and goes."""
        if not path.is_file():
            raise UserError("file_missing", name=path.name)
        size, limit = path.stat().st_size, self._settings.limits.file_bytes
        if size > limit:
            raise UserError("file_too_large", mb=round(size / MEBIBYTE), limit_mb=limit // MEBIBYTE)
        folder, digest = self._room(owner), files.sha256(path)
        kept = folder / f"{digest}.file"
        if not kept.is_file():
            used, most = files.folder_bytes(folder), self._settings.limits.owner_bytes
            if used + size > most:
                raise UserError("quota_full", used_mb=round(used / MEBIBYTE), limit_mb=most // MEBIBYTE)
            staged = folder / f".{secrets.token_hex(8)}.part"
            try:
                with files.disk_full_is_a_user_error():
                    shutil.copyfile(path, staged)
                    staged.replace(kept)
            finally:
                staged.unlink(missing_ok=True)
        return digest

    def _forget_files(self, owner: str) -> None:
        """Remove kept files that no table came from."""
        used = {table.origin for table in self.list(owner)}
        for kept in self._folder(owner).glob("*.file"):
            if kept.stem not in used:
                kept.unlink(missing_ok=True)

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
        self, table_id: str, owner: str, columns: Sequence[str] | None = None, rows: int | None = None, start: int = 0
    ) -> "pd.DataFrame":
        """The table or a part of it: every cell text, missing ones empty, the index the spreadsheet's row numbers.

        Args:
            table_id: its id.
            owner: who asks.
            columns: names of columns, all by default.
            rows: only so many.
            start: rows to pass over before them.

        Raises:
            UserError: `table_unknown`, `column_missing`.
        """
        return reading.load(self.path(table_id, owner), columns, rows, start)

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
        self._forget_files(owner)

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
    kept: dict[str, Any] = {field.name: facts[field.name] for field in fields(Table) if field.name in facts}
    kept |= {name: tuple(kept[name]) for name in ("columns", "notes", "parts") if name in kept}
    return Table(**kept)


def _shown_name(name: str) -> str:
    """A name without folders and control characters, short enough for a list."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in last if c.isprintable())[:120] or "table"
