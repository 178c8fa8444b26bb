"""A model as one zip file: its parts and its card, stored as they are, so that the size is known before the first byte.

Written by hand because `zipfile` cannot put checksums in front of the content of a stream, which some unpackers need
for stored entries. Source: PKWARE APPNOTE 6.3, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.16 (end).
"""

import json
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from core.errors import UserError
from core.models import parts

_CHUNK = 2**20
_MOST_BYTES = 2**32 - 2**20
_LOCAL, _CENTRAL, _END = "<4s5H3I2H", "<4s6H3I5H2I", "<4s4H2IH"
_VERSION, _UNIX, _UTF8 = 20, 3 << 8, 0x800
_CONFIGS = frozenset({"config.json", "generation_config.json", "tokenizer_config.json", "adapter_config.json"})
# Entries that tell where on this machine a model lay, and how its tokenizer was opened here.
_PLACES = ("_name_or_path", "name_or_path", "is_local", "local_files_only")


@dataclass(frozen=True)
class Entry:
    """A file of the result: `content` where it is made up, else `file` on disk."""

    name: str
    size: int
    content: bytes | None = None
    file: Path | None = None

    def chunks(self) -> Iterator[bytes]:
        """The content, a mebibyte at a time."""
        if self.content is not None:
            yield self.content
        elif self.file is not None:
            with self.file.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    yield chunk


def entries(folder: Path, card: str) -> list[Entry]:
    """What leaves the house of a result: the parts of the model, and its card as `README.md`. Nothing else.

    `report.json` stays: it quotes rows of the person's table.

    Raises:
        UserError: `run_has_no_model`.
    """
    found = parts.model_files(folder)
    if not any(parts.is_weights(f.name) for f in found) or not any(f.name == "config.json" for f in found):
        raise UserError("run_has_no_model", run=folder.parent.name[:8])
    return described(found, card)


def described(found: list[Path], card: str) -> list[Entry]:
    """Files with their card as `README.md`; nothing in them tells where they lay on this machine."""
    readme = card.encode()
    return [Entry("README.md", len(readme), readme), *(_entry(file) for file in found)]


def _entry(file: Path) -> Entry:
    if file.name not in _CONFIGS:
        return Entry(file.name, file.stat().st_size, file=file)
    config = json.loads(file.read_bytes())
    told = {key: value for key, value in config.items() if key not in _PLACES and not _is_place(key, value)}
    content = (json.dumps(told, ensure_ascii=False, indent=2) + "\n").encode()
    return Entry(file.name, len(content), content)


def _is_place(name: str, value: object) -> bool:
    """Whether an entry tells where something lies on this machine, as libraries note the files that they read."""
    return name.endswith(("_file", "_path")) and isinstance(value, str) and Path(value).is_absolute()


def archive_bytes(found: list[Entry]) -> int:
    """Size of the zip, for a `Content-Length`.

    Raises:
        UserError: `model_too_large_to_zip`.
    """
    fixed = struct.calcsize(_LOCAL) + struct.calcsize(_CENTRAL)
    total = sum(fixed + 2 * len(e.name) + e.size for e in found) + struct.calcsize(_END)
    if total > _MOST_BYTES:
        raise UserError("model_too_large_to_zip", gigabytes=round(total / 1e9, 1))
    return total


def stream_zip(found: list[Entry]) -> Iterator[bytes]:
    """The zip in pieces of a mebibyte at most; each file is read twice, never held.

    Raises:
        UserError: `model_too_large_to_zip`, before the first piece.
    """
    archive_bytes(found)
    return _pieces(found)


def _pieces(found: list[Entry]) -> Iterator[bytes]:
    moment = time.localtime()
    clock = moment.tm_hour << 11 | moment.tm_min << 5 | moment.tm_sec // 2
    day = max(0, moment.tm_year - 1980) << 9 | moment.tm_mon << 5 | moment.tm_mday
    directory, offset = b"", 0
    for entry in found:
        name, checksum = entry.name.encode(), 0
        for chunk in entry.chunks():
            checksum = zlib.crc32(chunk, checksum)
        facts = (_VERSION, _UTF8, 0, clock, day, checksum, entry.size, entry.size, len(name), 0)
        yield struct.pack(_LOCAL, b"PK\3\4", *facts) + name
        yield from entry.chunks()
        mode = 0o100644 << 16
        directory += struct.pack(_CENTRAL, b"PK\1\2", _UNIX | _VERSION, *facts, 0, 0, 0, mode, offset) + name
        offset += struct.calcsize(_LOCAL) + len(name) + entry.size
    count = len(found)
    yield directory + struct.pack(_END, b"PK\5\6", 0, 0, count, count, len(directory), offset, 0)


def write_zip(folder: Path, out: BinaryIO | Path, card: str) -> None:
    """Write the zip of a result. Unpacked, the folder loads with `from_pretrained`.

    Raises:
        UserError: `run_has_no_model`, `model_too_large_to_zip`.
    """
    pieces = stream_zip(entries(folder, card))
    if isinstance(out, Path):
        with out.open("wb") as file:
            file.writelines(pieces)
    else:
        out.writelines(pieces)
