"""What every check of the doctor is given and gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from core.data.cleaning import rows_of, text_key, usable
from core.data.findings import Finding, Sample
from core.data.shapes import Columns, Kind, Shape
from core.settings import Limits

if TYPE_CHECKING:
    import pandas as pd

_SAMPLES = 3
_CELL_CHARACTERS = 240


@dataclass(frozen=True)
class Sheet:
    """A table as a check sees it. It is never changed: a fix makes another frame.

    Attributes:
        frame: the file's columns, every cell text, the index (named `row`) the numbers that a spreadsheet shows.
        shape: the kind of examples.
        columns: role -> column or columns; only columns that are in the frame.
        limits: bounds on what is accepted.
        test: rows of a separate test file with the same columns, None without one.
        part_column: the column that says which rows are for training and which for the test, None without one.
        tokens: what `core.data.profiling.token_lengths` counted for the text column, None where it was not counted.
        max_length: longest text in tokens that the chosen model reads; None where no model was chosen.
    """

    frame: "pd.DataFrame"
    shape: Shape
    columns: Columns
    limits: Limits = field(default_factory=Limits)
    test: "pd.DataFrame | None" = None
    part_column: str | None = None
    tokens: dict[str, object] | None = None
    max_length: int | None = None

    def names(self, *kinds: Kind) -> list[str]:
        """Columns whose role is of one of these kinds, in the order of the roles."""
        found: list[str] = []
        for role in self.shape.roles:
            given = self.columns.get(role.name)
            if given and role.kind in kinds:
                found += [given] if isinstance(given, str) else list(given)
        return found

    def column(self, role: str) -> str | None:
        """The column of a role, None where it has none or several."""
        given = self.columns.get(role)
        return given if isinstance(given, str) else None

    @cached_property
    def keys(self) -> "pd.Series[str]":
        """For each row what it shares with its exact duplicates: all that the model reads, without case and blanks."""
        import pandas as pd

        names = self.names("text", "messages")
        cells = [self.frame[name].tolist() for name in names]
        keys = [text_key("\n".join(parts)) for parts in zip(*cells, strict=True)] if names else []
        return pd.Series(keys, index=self.frame.index, dtype="str")

    @cached_property
    def rows(self) -> "pd.DataFrame":
        """The rows that are examples, as `cleaning.usable` gives them, with their `key`."""
        rows = rows_of(self.frame, self.columns, self.shape).assign(key=self.keys.array)
        return usable(rows, self.shape)[0]

    def with_frame(self, frame: "pd.DataFrame") -> "Sheet":
        """The same sheet with other rows or cells."""
        return replace(self, frame=frame)


Mend = Callable[[], "pd.DataFrame"]


@dataclass(frozen=True)
class Seen:
    """What a check found, and its fixes: name -> a function that makes the mended frame."""

    finding: Finding
    mends: Mapping[str, Mend] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One thing that the doctor looks for.

    Attributes:
        code: of its finding.
        kinds: it looks only where a role of one of these kinds has a column.
        look: the check itself; it never raises for what is in the data.
    """

    code: str
    kinds: tuple[Kind, ...]
    look: Callable[[Sheet], Seen | None]

    def concerns(self, sheet: Sheet) -> bool:
        """Whether the sheet has what the check looks at."""
        return bool(sheet.names(*self.kinds))


def samples(
    sheet: Sheet, rows: "pd.Index[int]", names: list[str], after: "pd.DataFrame | None" = None
) -> tuple[Sample, ...]:
    """The first three of some rows: `names` are the columns shown, `after` the mended frame (with the same index)."""
    shown: list[Sample] = []
    for row in rows[:_SAMPLES]:
        before = {name: _short(sheet.frame.at[row, name]) for name in names}
        then = None
        if after is not None and row in after.index:
            then = {name: _short(after.at[row, name]) for name in names}
        shown.append(Sample(int(row), before, then))
    return tuple(shown)


def _short(cell: object) -> str:
    text = str(cell)
    return text if len(text) <= _CELL_CHARACTERS else text[: _CELL_CHARACTERS - 1].rstrip() + "…"
