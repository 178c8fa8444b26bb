"""Encoded rows: made some at a time, kept on disk under what they follow from, and read from there as they are needed.

As Python's numbers those of a long table take gigabytes. Of a file that is mapped into memory, the system keeps as much
there as it has room for.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files
from core.spec import TrainSpec

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa  # type: ignore[import-untyped]
    from datasets import Dataset

# Column -> its values for some rows.
Columns = dict[str, Any]
# Rows that are encoded at a time.
ROWS = 1_000


def blocks(rows: "pd.DataFrame") -> "Iterator[pd.DataFrame]":
    """The rows, `ROWS` at a time."""
    for start in range(0, len(rows), ROWS):
        yield rows.iloc[start : start + ROWS]


def in_memory(pieces: Iterable[Columns]) -> "Dataset":
    """The rows of all pieces, one after another."""
    import pyarrow as pa
    from datasets import Dataset
    from datasets.table import InMemoryTable

    return Dataset(InMemoryTable(pa.Table.from_batches([_batch(piece) for piece in pieces])))


def on_disk(folder: Path, origin: str, pieces: Iterable[Columns]) -> "Dataset":
    """The same, read from a file in `folder`. What is whole there already is not made again.

    Args:
        origin: name of all that the rows follow from, as `origin_of` gives it.

    Raises:
        UserError: `disk_full`, and what making a piece raises.
    """
    from datasets import Dataset

    path, note = folder / f"{origin}.arrow", folder / f"{origin}.json"
    if not _whole(path, note):
        with files.disk_full_is_a_user_error():
            folder.mkdir(parents=True, exist_ok=True)
            _write(path, pieces)
            # Not synced: what a power cut takes away is told by its digest.
            files.write_json(note, {"sha256": files.sha256(path)})
    return Dataset.from_file(str(path))


def origin_of(
    task_id: str, rows: "pd.DataFrame", labels: tuple[str, ...], model: Any, tokenizer: Any, spec: TrainSpec
) -> str:
    """Digest of all that encoded rows follow from: rows, tokenizer and settings, some of them noted in the model."""
    tokenizer("a")  # what an earlier call has set, as padding, is no part of it
    backend = getattr(tokenizer, "backend_tokenizer", None)
    words = backend.to_str() if backend else json.dumps(sorted(tokenizer.get_vocab().items()))
    told = (
        task_id, labels, model.config.to_json_string(use_diff=False), words, type(tokenizer).__name__,
        tokenizer.chat_template, tokenizer.special_tokens_map, tokenizer.model_max_length, spec.model_dump_json(),
    )  # fmt: skip
    digest = hashlib.sha256(json.dumps(told, default=str).encode())
    for some in blocks(rows):
        digest.update(json.dumps(some.to_dict("list"), default=str).encode())
    return digest.hexdigest()[:32]


def _batch(piece: Columns) -> "pa.RecordBatch":
    import numpy as np
    import pyarrow as pa

    tokens, kinds = pa.list_(pa.int32()), {"attention_mask": pa.list_(pa.int8()), "length": pa.int32()}
    columns: dict[str, pa.Array] = {}
    for name, values in piece.items():
        if isinstance(values, np.ndarray):
            columns[name] = pa.array(values if values.ndim == 1 else list(values))
        else:
            columns[name] = pa.array(values, type=kinds.get(name, tokens))
    return pa.RecordBatch.from_pydict(columns)


def _write(path: Path, pieces: Iterable[Columns]) -> None:
    import pyarrow as pa

    staged = path.with_suffix(".part")
    try:
        with staged.open("wb") as file:
            writer: Any = None
            for batch in map(_batch, pieces):
                writer = writer or pa.ipc.new_stream(file, batch.schema)
                writer.write_batch(batch)
            writer.close()
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def _whole(path: Path, note: Path) -> bool:
    try:
        return bool(files.read_json(note)["sha256"] == files.sha256(path))
    except (OSError, ValueError, KeyError, TypeError):
        return False
