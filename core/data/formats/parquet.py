"""Parquet files, as data sets on the Hub and pandas write them: read batch by batch, every value as text."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.data.building import Parsed, TableBuilder
from core.data.options import ReadOptions
from core.errors import UserError
from core.settings import MEBIBYTE, Limits

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

_MAGIC = b"PAR1"
# A file of a few hundred bytes can hold rows of megabytes each, so few are unfolded at a time.
_BATCH_ROWS = 1024
# Zeros at the end of a fraction of a second.
_NO_NEWS = re.compile(r"(\.\d*[1-9])0+$|\.0+$")


@dataclass(frozen=True)
class _Column:
    """A column to be: where it lies in the file, and the names of its numbers where these are classes."""

    name: str
    path: tuple[int, ...]
    classes: tuple[str, ...] = ()


def sniff(path: Path) -> bool:
    """Whether the file begins as Parquet does."""
    with path.open("rb") as file:
        return file.read(4) == _MAGIC


def parse(path: Path, limits: Limits, options: ReadOptions) -> Parsed:
    """Read the file into a table of text, rows numbered from 1.

    Numbers keep no ".0", booleans are true and false, lists and maps are JSON, the fields of a struct are columns with
    dotted names. Numbers that the Hub's metadata calls classes become the classes' names. Columns of bytes that are no
    text are left out and said (`columns_left_out`).

    Raises:
        UserError: `file_damaged`, `file_too_many_rows`, `file_too_many_columns`, `file_cell_too_long`,
            `file_unpacks_too_large`, and what `TableBuilder` raises.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet  # type: ignore[import-untyped]

    try:
        with parquet.ParquetFile(path, buffer_size=MEBIBYTE, pre_buffer=False) as file:
            if file.metadata.num_rows > limits.rows:
                raise UserError("file_too_many_rows", limit=limits.rows)
            if file.metadata.num_columns > limits.columns:
                raise UserError("file_too_many_columns", columns=file.metadata.num_columns, limit=limits.columns)
            batches = file.iter_batches(_BATCH_ROWS, use_threads=False)
            parsed = _parse(batches, list(_columns(file.schema_arrow, limits.depth)), limits, options)
    except pa.ArrowMemoryError:
        raise
    except (pa.ArrowException, OSError, OverflowError, UnicodeDecodeError) as error:
        raise UserError("file_damaged") from error
    parsed.facts = {
        "format": "parquet",
        "container": "",
        "encoding": "",
        "delimiter": "",
        "title_rows": 0,
        "header": True,
        "part": "",
        "parts": [],
    }
    return parsed


def _parse(batches: "Iterator[pa.RecordBatch]", columns: list[_Column], limits: Limits, options: ReadOptions) -> Parsed:
    first = next(batches, None)
    left_out = [column for column in columns if first is not None and not _is_text(_array(first, column))]
    columns = [column for column in columns if column not in left_out]
    builder = TableBuilder([column.name for column in columns], 0, limits, joint=" ", named=True)
    number = characters = 0
    while first is not None:
        texts = [_texts(_array(first, column), column.classes) for column in columns]
        for cells in texts:
            if max(map(len, cells), default=0) > limits.cell_characters:
                raise UserError("file_cell_too_long", limit=limits.cell_characters)
            characters += sum(map(len, cells))
        if characters > limits.file_bytes:
            raise UserError("file_unpacks_too_large", limit_mb=limits.file_bytes // MEBIBYTE)
        for row in zip(*texts, strict=True):
            number += 1
            builder.add(number, list(row))
        first = next(batches, None)
    parsed = builder.finish(single_column=options.single_column)
    if left_out:
        names = ", ".join(column.name for column in left_out[:5])
        parsed.notes.append({"code": "columns_left_out", "rows": 0, "columns": names})
    return parsed


def _columns(schema: "pa.Schema", depth: int) -> Iterator[_Column]:
    """Columns in the file's order, structs opened."""
    features = _features(schema.metadata)
    for place, field in enumerate(schema):
        yield from _opened(field.name, field.type, (place,), features.get(field.name), depth)


def _opened(name: str, kind: "pa.DataType", path: tuple[int, ...], feature: Any, depth: int) -> Iterator[_Column]:
    import pyarrow as pa

    kind = _storage(kind)
    if not pa.types.is_struct(kind) or kind.num_fields == 0:
        yield _Column(name, path, _classes(feature))
        return
    if len(path) > depth:
        raise UserError("file_damaged")
    for place, field in enumerate(kind):
        inner = feature.get(field.name) if isinstance(feature, dict) else None
        yield from _opened(f"{name}.{field.name}", field.type, (*path, place), inner, depth)


def _features(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """What `datasets` (its `Features`) wrote about the columns."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _classes(feature: Any) -> tuple[str, ...]:
    """Names of a `ClassLabel`, or of the list of them that a column of several labels is."""
    while isinstance(feature, dict) and isinstance(feature.get("feature"), dict):
        feature = feature["feature"]
    if isinstance(feature, list) and len(feature) == 1:
        feature = feature[0]
    names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()


def _array(batch: "pa.RecordBatch", column: _Column) -> "pa.Array":
    """The column's values, taken out of the structs around them."""
    array = batch.column(column.path[0])
    for place in column.path[1:]:
        array = _plain(array).flatten()[place]
    return _plain(array)


def _storage(kind: "pa.DataType") -> "pa.DataType":
    import pyarrow as pa

    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _plain(array: "pa.Array") -> "pa.Array":
    """Without the wrapping of an extension type."""
    import pyarrow as pa

    return array.storage if isinstance(array.type, pa.BaseExtensionType) else array


def _is_bytes(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
    return any(test(kind) for test in tests)


def _is_text(array: "pa.Array") -> bool:
    """Whether there is no value that is bytes and no UTF-8."""
    if hasattr(array, "dictionary"):
        array = array.dictionary
    if not _is_bytes(array.type):
        return True
    try:
        for value in array.to_pylist():
            (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _texts(array: "pa.Array", classes: tuple[str, ...]) -> list[str]:
    import pyarrow as pa

    kind = array.type
    if pa.types.is_dictionary(kind):  # only what is used, and that once: a long value is soon repeated too often
        used = array.indices.unique().drop_null()
        known = dict(zip(used.to_pylist(), _texts(array.dictionary.take(used), classes), strict=True))
        return [known.get(place, "") for place in array.indices.to_pylist()]
    if pa.types.is_nested(kind):
        values = array.to_pylist(maps_as_pydicts="lossy")
        return ["" if value is None else _json(_named(value, classes)) for value in values]
    if classes and pa.types.is_integer(kind):
        return ["" if value is None else _named(value, classes) for value in array.to_pylist()]
    if _is_bytes(kind):
        return [(value or b"").decode(errors="replace") for value in array.to_pylist()]
    if pa.types.is_duration(kind) or pa.types.is_interval(kind):
        return ["" if value is None else str(value) for value in array.to_pylist()]
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        return _times(array)
    texts = [text or "" for text in array.cast(pa.string()).to_pylist()]
    return ["" if text == "nan" else text for text in texts] if pa.types.is_floating(kind) else texts


def _times(array: "pa.Array") -> list[str]:
    """Dates with times in ISO 8601, those with a zone in UTC; zeros below the second are no news."""
    import pyarrow as pa

    zone = "Z" if pa.types.is_timestamp(array.type) and array.type.tz else ""
    if zone:  # to UTC, for which the system's table of zones need not be there
        array = array.cast(pa.timestamp(array.type.unit))
    texts = array.cast(pa.string()).to_pylist()
    return ["" if text is None else _NO_NEWS.sub(r"\1", text) + zone for text in texts]


def _named(value: Any, classes: tuple[str, ...]) -> Any:
    """Numbers of classes as their names; -1, which stands for "not known" in test sets, as blank."""
    if not classes:
        return value
    if isinstance(value, list):
        return [_named(each, classes) for each in value]
    if isinstance(value, int):
        return classes[value] if 0 <= value < len(classes) else "" if value == -1 else str(value)
    return value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_other)


def _other(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
