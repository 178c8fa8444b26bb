"""What a person may decide about reading a file; what is left open is found out from the content."""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class ReadOptions:
    """Decisions of a person; None leaves one to us.

    Attributes:
        encoding: codec of a text file, a name that `codecs.lookup` knows.
        delimiter: character between cells; empty for lines that are one cell each.
        title_rows: rows above the header to pass over.
        header: whether the first row that counts holds the names of the columns.
        part: sheet of a workbook, list inside a JSON document, file inside an archive.
        single_column: whether a table of one column will do, as for texts to predict.
    """

    encoding: str | None = None
    delimiter: str | None = None
    title_rows: int | None = None
    header: bool | None = None
    part: str | None = None
    single_column: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The decisions that were made, JSON-ready."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value not in (None, False) or name == "header"}


DECIDE_YOURSELF = ReadOptions()
