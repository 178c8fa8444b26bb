"""Hidden states of texts on disk, in the order in which they were computed, found again by a text's tokens."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from core import files

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 2**22


class HiddenStates:
    """One file of (tokens, width), and a note of how much of it is whole.

    Of a text that comes twice, the states that were computed last count.

    Args:
        folder: where; what an earlier attempt left there is gone on with, if it has the same origin and is undamaged.
        origin: digest of all that the states follow from: weights, texts, and how they are computed.
        width: numbers of a token.
        dtype: of the states.
    """

    def __init__(self, folder: Path, origin: str, width: int, dtype: Any) -> None:
        self._file, self._note = folder / "states.bin", folder / "states.json"
        self._origin, self._width, self._dtype = origin, width, dtype
        # Text -> number of its first token in the file.
        self._begins: dict[bytes, int] = {}
        self._placed = self._added = self._before = 0
        self._digest = hashlib.sha256()
        folder.mkdir(parents=True, exist_ok=True)
        self._go_on()
        self._out: BinaryIO = self._file.open("ab")

    def place(self, ids: "Tensor", mask: "Tensor") -> bool:
        """Give the texts of a batch the next places in the file; whether their states are there already.

        Args:
            ids: of shape (rows, tokens), padded on the right.
            mask: of the same shape, 1 where there is a token.
        """
        for text, length in _texts(ids, mask):
            self._begins[text] = self._placed
            self._placed += length
        return self._placed <= self._before

    def add(self, states: "Tensor") -> None:
        """The states, of shape (tokens, width), of the texts that were placed last, one text after another.

        Raises:
            OSError: there is no room.
        """
        import torch

        content = states.to(self._dtype).contiguous().view(torch.uint8).numpy().tobytes()
        self._out.write(content)
        self._digest.update(content)
        self._added += len(states)

    def note(self) -> None:
        """What was added until now survives a power cut.

        Raises:
            OSError, UserError: there is no room.
        """
        self._out.flush()
        files.sync(self._file)
        told = {"origin": self._origin, "tokens": self._added, "digest": self._digest.hexdigest()}
        files.write_json(self._note, told)

    def of(self, ids: "Tensor", mask: "Tensor") -> "Tensor":
        """The states of a batch, of shape (rows, tokens, width), zero where there is no token.

        The file is mapped anew for each batch: pages that were read long ago do not count as this process's memory.

        Raises:
            KeyError: a text that was never placed.
        """
        import torch

        found = torch.zeros((*ids.shape, self._width), dtype=self._dtype)
        numbers = self._placed * self._width
        mapped = torch.from_file(str(self._file), shared=False, size=numbers, dtype=self._dtype).view(-1, self._width)
        for row, (text, length) in enumerate(_texts(ids, mask)):
            begin = self._begins[text]
            found[row, :length] = mapped[begin : begin + length]
        return found

    def close(self) -> None:
        """Nothing is added any more; what was is noted.

        Raises:
            OSError, UserError: there is no room.
        """
        try:
            self.note()
        finally:
            self._out.close()

    def _go_on(self) -> None:
        """Take up what is whole of an earlier attempt; the rest goes."""
        try:
            noted = files.read_json(self._note)
            tokens = int(noted["tokens"]) if noted["origin"] == self._origin else 0
            undamaged = self._read(tokens * self._width * self._dtype.itemsize) == noted["digest"]
        except (OSError, ValueError, KeyError, TypeError):
            undamaged = False
        if undamaged:
            self._before = self._added = tokens
        else:
            self._digest = hashlib.sha256()
        with self._file.open("ab") as file:
            file.truncate(self._before * self._width * self._dtype.itemsize)

    def _read(self, size: int) -> str:
        """Digest of the first bytes of the file, with which the digest of all goes on."""
        with self._file.open("rb") as file:
            while size > 0 and (block := file.read(min(size, _BLOCK))):
                self._digest.update(block)
                size -= len(block)
        return self._digest.hexdigest()


def _texts(ids: "Tensor", mask: "Tensor") -> list[tuple[bytes, int]]:
    """What tells each text of a batch from others, and its tokens."""
    lengths: list[int] = mask.sum(dim=1).tolist()
    rows = ids.cpu().numpy()
    return [
        (hashlib.blake2b(rows[place, :length].tobytes(), digest_size=16).digest(), length)
        for place, length in enumerate(lengths)
    ]
