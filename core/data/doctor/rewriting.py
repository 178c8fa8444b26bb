"""Finding cells that a change would alter, and making the frame in which they are altered."""

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from core.data.doctor.base import Seen, Sheet, samples
from core.data.findings import Finding, Severity, examples
from core.errors import Fact

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Change = Callable[[str], str]
# Column -> place of a row -> its new cell.
Changes = dict[str, dict[int, str]]
# Texts come from strangers: what lies behind so many characters is left as it is.
CELL_CHARACTERS = 50_000
_PLAIN_CELLS: tuple[Literal["text", "answer"], ...] = ("text", "answer")


def changes_in_texts(sheet: Sheet, change: Change, hint: str) -> Changes:
    """What a change makes of the texts, answers and messages.

    Args:
        sheet: the table.
        change: of a text; it is given at most `CELL_CHARACTERS`.
        hint: a regular expression, as RE2 and Python read it alike, that is found in every text that would be changed.
    """
    plain = sheet.names(*_PLAIN_CELLS)
    made: Changes = {}
    for name in dict.fromkeys([*plain, *sheet.names("messages")]):
        if name in plain:
            found = _changed(sheet.frame[name], partial(_bounded, change), hint)
        else:
            # In JSON a character may be written as \u00e9, which no hint foresees.
            found = _changed(sheet.frame[name], _in_messages(change), hint + r"|\\u")
        if found:
            made[name] = found
    return made


def _changed(cells: "pd.Series[str]", change: Change, hint: str) -> dict[int, str]:
    places = cells.str.contains(hint, regex=True, na=False).to_numpy().nonzero()[0]
    values = cells.array
    found: dict[int, str] = {}
    for place in places.tolist():
        cell = str(values[place])
        new = change(cell)
        if new != cell:
            found[place] = new
    return found


def _bounded(change: Change, text: str) -> str:
    return change(text) if len(text) <= CELL_CHARACTERS else change(text[:CELL_CHARACTERS]) + text[CELL_CHARACTERS:]


def _in_messages(change: Change) -> Change:
    """The change of every text in a conversation (JSON); a cell that holds none stays."""

    def walk(value: Any, key: str = "") -> Any:
        if isinstance(value, str):
            return value if key in ("role", "from", "type") else _bounded(change, value)
        if isinstance(value, list):
            return [walk(entry) for entry in value]
        if isinstance(value, dict):
            return {name: walk(entry, name) for name, entry in value.items()}
        return value

    def changed(cell: str) -> str:
        try:
            told = json.loads(cell)
            new = walk(told)
        except (ValueError, RecursionError):
            return cell
        return cell if new == told else _as_json(new)

    return changed


def _as_json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can hold
        return json.dumps(value)
    return text


def with_cells(frame: "pd.DataFrame", changes: Changes) -> "pd.DataFrame":
    """Another frame with the new cells."""
    import pandas as pd

    made = frame.copy(deep=False)
    for name, cells in changes.items():
        values = frame[name].to_numpy(dtype=object, copy=True)
        values[list(cells)] = list(cells.values())
        made[name] = pd.Series(values, index=frame.index, dtype=frame[name].dtype)
    return made


def places_of(changes: Changes) -> list[int]:
    """The rows with a new cell, in order."""
    return sorted({place for cells in changes.values() for place in cells})


def changed(
    sheet: Sheet,
    code: str,
    fix: str,
    changes: Changes,
    severity: Severity = "warning",
    facts: dict[str, Fact] | None = None,
    *,
    recommended: bool = True,
) -> Seen | None:
    """What a check saw whose one fix puts new cells; None without changes."""
    places = places_of(changes)
    if not places:
        return None
    rows = sheet.frame.index[places]
    shown = sheet.frame.iloc[places[:3]]
    after = with_cells(shown, {name: _first(cells, places[:3]) for name, cells in changes.items()})
    finding = Finding(
        code, len(places), severity, facts or {}, examples(rows), fix, (fix,), recommended,
        samples=samples(sheet, rows, list(changes), after),
    )  # fmt: skip
    return Seen(finding, {fix: lambda: with_cells(sheet.frame, changes)})


def _first(cells: dict[int, str], places: list[int]) -> dict[int, str]:
    return {number: cells[place] for number, place in enumerate(places) if place in cells}


def dropped(
    sheet: Sheet, code: str, unfit: "np.ndarray", names: Iterable[str], facts: dict[str, Fact] | None = None
) -> Seen | None:
    """What a check saw whose one fix takes rows out; None where no row is unfit.

    Args:
        sheet: the table.
        code: of the finding.
        unfit: bool of shape (rows,).
        names: columns to show.
        facts: for its sentence.
    """
    if not unfit.any():
        return None
    rows = sheet.frame.index[unfit]
    shown = samples(sheet, rows, list(names))
    finding = Finding(
        code, len(rows), "warning", facts or {}, examples(rows), "drop", ("drop",), True, samples=shown
    )  # fmt: skip
    return Seen(finding, {"drop": lambda: sheet.frame[~unfit]})
