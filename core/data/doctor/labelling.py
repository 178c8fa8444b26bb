"""The labels of a sheet, whichever way they are written, and cells in which some are renamed or taken out."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from core.data.cleaning import trim
from core.data.doctor.base import Sheet
from core.data.doctor.rewriting import Changes
from core.data.label_cells import (
    BLANKS,
    PLACEHOLDERS,
    are_flags,
    is_yes,
    join_labels,
    label_separator,
    label_sets,
    split_labels,
)

if TYPE_CHECKING:
    import pandas as pd

# Label -> its new name, None to take it out.
Renaming = Mapping[str, str | None]


def label_column(sheet: Sheet) -> str | None:
    """The column of a sheet with one label a row; None for any other sheet."""
    names = sheet.names("label")
    return names[0] if names else None


def has_flags(sheet: Sheet) -> bool:
    """Whether there is a column for each label, whose name is the label."""
    names = sheet.names("labels")
    return len(names) > 1 and are_flags(sheet.frame, names)


def all_labels(sheet: Sheet) -> "pd.Series[str]":
    """Every label of every row, trimmed, without blanks and placeholders; the index repeats the places of the rows."""
    import pandas as pd

    column = label_column(sheet)
    if column is not None:
        labels = trim(sheet.frame[column]).reset_index(drop=True)
        return labels[(labels != "") & ~labels.str.lower().isin(PLACEHOLDERS)]
    names = sheet.names("labels")
    if not names:
        return pd.Series([], dtype="str")
    sets = label_sets(sheet.frame, names[0] if len(names) == 1 else names).reset_index(drop=True)
    return sets.explode().dropna().astype("str")


def renamed(sheet: Sheet, new: Renaming) -> Changes:
    """The new cells. A label that is taken out leaves a blank where it was the only one."""
    column = label_column(sheet)
    if column is not None:
        return _only({column: _one_each(sheet.frame[column], new)})
    names = sheet.names("labels")
    if has_flags(sheet):
        return _flags(sheet, names, new)
    return _only({name: _several(sheet.frame[name], new) for name in names})


def _only(changes: Changes) -> Changes:
    return {name: cells for name, cells in changes.items() if cells}


def _one_each(cells: "pd.Series[str]", new: Renaming) -> dict[int, str]:
    labels = trim(cells)
    places = labels.isin(list(new)).to_numpy().nonzero()[0].tolist()
    return {place: new[label] or "" for place, label in zip(places, labels.iloc[places].tolist(), strict=True)}


def _several(cells: "pd.Series[str]", new: Renaming) -> dict[int, str]:
    values = cells.tolist()
    different = set(values)
    separator = label_separator(different)
    made: dict[str, str] = {}
    for cell in different:
        labels = split_labels(cell, separator)
        if any(label in new for label in labels):
            kept = (new.get(label, label) for label in labels)
            made[cell] = join_labels(list(dict.fromkeys(label for label in kept if label)), separator)
    return {place: made[cell] for place, cell in enumerate(values) if cell in made}


def _flags(sheet: Sheet, names: list[str], new: Renaming) -> Changes:
    """A label that is taken out gets the column's usual mark for no; one that is renamed marks the other column."""
    column_of = {name.strip(BLANKS): name for name in names}
    changes: Changes = {}
    for label, target in new.items():
        if label not in column_of or (target is not None and target not in column_of):
            continue
        column = column_of[label]
        cells = sheet.frame[column].tolist()
        yes = [place for place, cell in enumerate(cells) if is_yes(cell)]
        no = next((cell for cell in cells if not is_yes(cell)), "0")
        changes.setdefault(column, {}).update(dict.fromkeys(yes, no))
        if target is not None:
            marked = sheet.frame[column_of[target]].tolist()
            changes.setdefault(column_of[target], {}).update({p: cells[p] for p in yes if not is_yes(marked[p])})
    return _only(changes)
