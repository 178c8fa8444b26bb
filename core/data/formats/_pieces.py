"""The text of a file in pieces, for formats in which a line may be as long as the file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.data.decoding import Encoding, Lines

_PIECE = 2**20


class Pieces:
    """Decoded text, a megabyte or a line at a time, without byte order marks before it."""

    def __init__(self, path: Path, encoding: Encoding) -> None:
        self._path = path
        self._encoding = encoding
        self._lines = Lines(path, encoding)

    def __iter__(self) -> Iterator[str]:
        if self._encoding.other:
            yield from self._lines
            return
        with self._path.open(encoding=self._encoding.name, errors=self._encoding.errors, newline="") as file:
            if first := file.read(_PIECE).lstrip("\ufeff"):
                yield first
                while piece := file.read(_PIECE):
                    yield piece

    @property
    def notes(self) -> list[dict[str, Any]]:
        """The note on lines that were in another encoding, once the text was read."""
        return mixed_notes(self._lines, self._encoding)


def mixed_notes(lines: Lines, encoding: Encoding) -> list[dict[str, Any]]:
    """The note on lines that were in another encoding than the rest, if there were any."""
    if not encoding.other or not lines.mixed:
        return []
    return [{"code": "mixed_encodings", "rows": lines.mixed, "encoding": encoding.other.shown}]
