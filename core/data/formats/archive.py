"""ZIP archives: a text file for each example in a folder for each class, or files with tables, of which one is read."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from core.data.building import Parsed, TableBuilder
from core.data.decoding import Encoding, Lines, chosen, detect
from core.data.formats.compressed import copy, parse_inside, scratch
from core.data.kinds import HEAD_BYTES, is_binary, magic_kind, refuse_documents
from core.data.options import ReadOptions
from core.errors import UserError
from core.settings import MEBIBYTE, Limits

# Endings of files that hold tables: only a hint at which of the files are meant.
_TABLES = (
    ".csv", ".tsv", ".tab", ".psv", ".json", ".jsonl", ".ndjson", ".parquet", ".xlsx", ".xlsm", ".xls", ".po", ".pot",
    ".mo", ".tmx", ".gz",
)  # fmt: skip
_SPLITS = frozenset({"train", "training", "test", "testing", "valid", "validation", "val", "dev", "eval"})
_LITTER = frozenset(("__macosx", "thumbs.db", "desktop.ini"))
_PARTS_SHOWN = 200
_ENCRYPTED = 0x1
_UTF8_NAME = 0x800


@dataclass(frozen=True)
class _Entry:
    """A file in the archive: its path there, cleaned, as folders and a name."""

    info: zipfile.ZipInfo
    path: tuple[str, ...]

    @property
    def name(self) -> str:
        return "/".join(self.path)

    @property
    def is_table(self) -> bool:
        return self.path[-1].lower().endswith(_TABLES)


@dataclass(frozen=True)
class _Example:
    entry: _Entry
    label: str
    part: str


def sniff(path: Path) -> bool:
    """Whether the file begins as ZIP does. Workbooks are ZIP too and asked for before."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def parse(path: Path, limits: Limits, options: ReadOptions) -> Parsed:
    """Read the class folders into the columns text, label and file, or one of the files by its own reader.

    Folders named train and test around the classes make a further column, `part`. Nothing is written by its name.

    Raises:
        UserError: `file_damaged`, `file_zip_encrypted`, `file_unpacks_too_large`, `file_not_a_table`,
            `file_part_missing`, `file_cell_too_long`, and what the inner file's reader raises.
    """
    return open_container(path, limits, options, depth=1)


def open_container(path: Path, limits: Limits, options: ReadOptions, depth: int) -> Parsed:
    """As `parse`, as the `depth`-th container around the table, from 1."""
    with scratch() as (file, unpacked):
        with opened(path, limits) as archive:
            entries = _entries(archive)
            refuse_documents({entry.name for entry in entries})
            examples = [] if options.part else _examples(entries)
            if examples:
                return _folders(archive, examples, limits, options)
            entry, choice = _chosen(archive, entries, options.part)
            with archive.open(entry.info) as packed:
                copy(packed, file, limits)
        inner = options if len(choice) < 2 else replace(options, part=None)
        parsed = parse_inside(unpacked, limits, inner, depth)
    parsed.facts["container"] = "zip"
    if len(choice) > 1:
        parsed.facts |= {"part": entry.name, "parts": choice}
    return parsed


@contextmanager
def opened(path: Path, limits: Limits) -> Iterator[zipfile.ZipFile]:
    """The archive, once its directory was found sound. `zipfile` hands out no more of a file than is declared there.

    Raises:
        UserError: `file_damaged` (also for entries that overlap or lie outside of it), `file_zip_encrypted`,
            `file_unpacks_too_large` (all files together), `file_too_many_rows` (more entries than rows may be).
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_directory(archive.infolist(), limits)
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise UserError("file_damaged") from error


def check_directory(infos: list[zipfile.ZipInfo], limits: Limits) -> None:
    """Refuse an archive by its directory alone. See `opened`."""
    if len(infos) > limits.rows:
        raise UserError("file_too_many_rows", limit=limits.rows)
    if any(info.flag_bits & _ENCRYPTED for info in infos):
        raise UserError("file_zip_encrypted")
    if sum(info.file_size for info in infos) > limits.file_bytes:
        raise UserError("file_unpacks_too_large", limit_mb=limits.file_bytes // MEBIBYTE)
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise UserError("file_damaged")
        end = info.header_offset + info.compress_size


def _entries(archive: zipfile.ZipFile) -> list[_Entry]:
    """Files by their paths, without folders, hidden files and what operating systems leave behind."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    found = []
    for info, name in zip(infos, _names(infos), strict=True):
        if name.startswith(("/", "\\")) or name[1:3] in (":/", ":\\"):
            raise UserError("file_damaged")
        path = tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))
        if ".." in path:
            raise UserError("file_damaged")
        if path and not any(part.startswith(".") or part.lower() in _LITTER for part in path):
            found.append(_Entry(info, path))
    return sorted(found, key=lambda entry: entry.path)


def _names(infos: list[zipfile.ZipInfo]) -> list[str]:
    """Names as they were meant: Windows writes them in its own encoding and does not say which."""
    raw = [None if info.flag_bits & _UTF8_NAME else info.filename.encode("cp437", "replace") for info in infos]
    unmarked = b"\n".join(name for name in raw if name is not None)
    encoding = "cp437"
    if not unmarked.isascii():
        encoding = next((each for each in ("utf-8", "gb18030") if _decodes(unmarked, each)), encoding)
    return [info.filename if name is None else name.decode(encoding) for info, name in zip(infos, raw, strict=True)]


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _examples(entries: list[_Entry]) -> list[_Example]:
    """The files in class folders, none where the archive is not laid out like that.

    There may be one folder around the classes, and folders of the splits around those.
    """
    inside = [entry for entry in entries if not entry.is_table]
    start = 0
    if len({entry.path[0] for entry in inside}) == 1 and any(len(entry.path) > 2 for entry in inside):
        start = 1
    # A README beside the folders is no example.
    inside = [entry for entry in inside if len(entry.path) > start + 1]
    splits = bool(inside) and {entry.path[start].lower() for entry in inside} <= _SPLITS
    if splits:
        start += 1
        inside = [entry for entry in inside if len(entry.path) > start + 1]
    found = [_Example(entry, entry.path[start], entry.path[start - 1] if splits else "") for entry in inside]
    tables = sum(entry.is_table for entry in entries)
    return found if len({example.label for example in found}) > 1 and len(found) > tables else []


def _folders(archive: zipfile.ZipFile, examples: list[_Example], limits: Limits, options: ReadOptions) -> Parsed:
    contents: list[bytes] = []
    kept: list[_Example] = []
    for example in examples:
        content = archive.read(example.entry.info)
        if is_binary(content[:HEAD_BYTES]) or magic_kind(content[:HEAD_BYTES]):
            continue
        contents.append(content)
        kept.append(example)
    if not kept:
        raise UserError("file_not_a_table", kind="ZIP")
    texts, encoding, notes = _decoded(contents, options.encoding)
    split = any(example.part for example in kept)
    header = ["text", "label", "part", "file"] if split else ["text", "label", "file"]
    builder = TableBuilder(header, 1, limits, joint=" ", named=True)
    for number, (example, text) in enumerate(zip(kept, texts, strict=True), start=2):
        if len(text) > limits.cell_characters:
            raise UserError("file_cell_too_long", limit=limits.cell_characters)
        where = [example.part, example.entry.name] if split else [example.entry.name]
        builder.add(number, [text, example.label, *where])
    parsed = builder.finish(single_column=options.single_column)
    parsed.facts = {
        "format": "folders",
        "container": "zip",
        "encoding": encoding,
        "delimiter": "",
        "title_rows": 0,
        "header": True,
        "part": "",
        "parts": [],
    }
    parsed.notes += notes
    if len(kept) < len(examples):
        parsed.notes.append({"code": "files_left_out", "rows": len(examples) - len(kept)})
    return parsed


def _decoded(contents: list[bytes], encoding: str | None) -> tuple[list[str], str, list[dict[str, Any]]]:
    """Texts, their encoding, and notes. One text is often too short to tell its encoding, so all are asked together."""
    counts = {"nul_removed": 0, "broken_characters": 0}
    texts = []
    with scratch() as (file, path):
        _refill(file, b"\n".join(content for content in contents if encoding or not _speaks_for_itself(content)))
        common = chosen(path, encoding) if encoding else detect(path)
        for content in contents:
            own = common
            if not encoding and _speaks_for_itself(content):
                _refill(file, content)
                own = detect(path)
            text = _text(content, own, file, path)
            counts["broken_characters"] += "\ufffd" in text
            counts["nul_removed"] += "\0" in text
            texts.append(text.replace("\0", "").rstrip("\r\n"))
    shown = common if encoding or not all(map(_speaks_for_itself, contents)) else own
    return texts, shown.shown, [{"code": code, "rows": rows} for code, rows in counts.items() if rows]


def _text(content: bytes, encoding: Encoding, file: IO[bytes], path: Path) -> str:
    if encoding.other:  # of each line by itself, unless all of them are UTF-8
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            _refill(file, content)
            return "".join(Lines(path, encoding))
    return content.decode(encoding.name, encoding.errors).lstrip("\ufeff")


def _refill(file: IO[bytes], content: bytes) -> None:
    file.seek(0)
    file.truncate()
    file.write(content)
    file.flush()


def _speaks_for_itself(content: bytes) -> bool:
    """Whether it is UTF-16 or UTF-32 by its first characters."""
    return content.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")) or b"\0" in content[:8]


def _chosen(archive: zipfile.ZipFile, entries: list[_Entry], part: str | None) -> tuple[_Entry, list[str]]:
    """The file to read, and the names to choose from."""
    candidates = [entry for entry in entries if entry.is_table]
    if not candidates:
        candidates = [entry for entry in entries if _is_readable(archive, entry.info)]
    if not candidates:
        raise UserError("file_not_a_table", kind="ZIP")
    names = [entry.name for entry in candidates]
    chosen = max(candidates, key=lambda entry: entry.info.file_size)
    if part is not None and len(candidates) > 1:
        if part not in names:
            raise UserError("file_part_missing", part=part[:60], parts=", ".join(names[:10]))
        chosen = candidates[names.index(part)]
    shown = names[:_PARTS_SHOWN]
    return chosen, shown if chosen.name in shown else [chosen.name, *shown[:-1]]


def _is_readable(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    """Whether a file without a telling name may hold a table: it is not empty, no picture and the like."""
    with archive.open(info) as file:
        head = file.read(HEAD_BYTES)
    return bool(head) and not magic_kind(head) and not is_binary(head)
