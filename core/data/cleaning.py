"""Rows made fit to learn from: trimmed, and nothing without a text or without what shall be learned."""

import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

from core.data.findings import Finding, examples, named
from core.data.label_cells import (
    BLANKS,
    PLACEHOLDERS,
    join_labels,
    label_separator,
    label_sets,
    one_hot_labels,
    split_labels,
)
from core.data.shapes import SHAPES, Columns, Role, Shape
from core.errors import Fact

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "BLANKS", "PLACEHOLDERS", "join_labels", "joined_cells", "label_key", "label_separator", "label_sets",
    "needed_roles", "one_hot_labels", "rows_of", "spellings", "split_labels", "text_key", "trim", "unify", "usable",
]  # fmt: skip
_WIDTHLESS = re.compile("[\u200b\u2060\ufeff]")
_CLASSIFICATION = SHAPES["classification"]


def trim(cells: "pd.Series[str]") -> "pd.Series[str]":
    """Cells without blanks and widthless characters at their ends."""
    return cells.str.strip(BLANKS)


def text_key(text: str) -> str:
    """What two texts share that differ only in case, blanks or the way accents are stored."""
    if not text.isascii():
        text = _WIDTHLESS.sub("", unicodedata.normalize("NFC", text))
    return " ".join(text.casefold().split())


def label_key(label: str) -> str:
    """What two spellings of a label share: as `text_key`, and wide letters (ＡＢＣ) are as good as narrow ones."""
    return text_key(label if label.isascii() else unicodedata.normalize("NFKC", label))


def needed_roles(shape: Shape, columns: Columns) -> list[Role]:
    """The roles without whose cell a row is no example: the first text, the conversation, and what shall be learned.

    That a row has none of several labels may be meant, and a system prompt beside the prompt may be blank.
    """
    given = [role for role in shape.roles if columns.get(role.name)]
    texts = [role for role in given if role.kind == "text"]
    return [role for role in given if role.kind in ("answer", "label", "messages") or role in texts[:1]]


def rows_of(frame: "pd.DataFrame", columns: Columns, shape: Shape = _CLASSIFICATION) -> "pd.DataFrame":
    """The rows as `row` (its number) and one column for each role of the shape that has a column.

    Texts, answers and labels are trimmed; a text spread over several columns is joined by line breaks; of `labels` each
    row has a tuple. Rows are numbered by the frame's index if it is named `row`, else from 2.
    """
    import pandas as pd

    numbers = frame.index if frame.index.name == "row" else range(2, len(frame) + 2)
    made: dict[str, object] = {"row": list(numbers)}
    for role in shape.roles:
        given = columns.get(role.name)
        if given:
            made[role.name] = (
                label_sets(frame, given).array if role.kind == "labels" else joined_cells(frame, given).array
            )
    return pd.DataFrame(made)


def joined_cells(frame: "pd.DataFrame", given: str | tuple[str, ...]) -> "pd.Series[str]":
    """The trimmed cells of a column, or of several with line breaks between those that are filled."""
    import pandas as pd

    names = [given] if isinstance(given, str) else list(given)
    cells = [trim(frame[name].fillna("").astype("str")) for name in names]
    if len(cells) == 1:
        return cells[0]
    rows = zip(*(column.tolist() for column in cells), strict=True)
    return pd.Series(["\n".join(filter(None, row)) for row in rows], index=frame.index, dtype="str")


def usable(rows: "pd.DataFrame", shape: Shape = _CLASSIFICATION) -> tuple["pd.DataFrame", list[Finding]]:
    """The rows of `rows_of` that are examples, and how many are not, for lack of a text, an answer or a label.

    Each row that is left out is counted in exactly one of the findings `blank_text`, `blank_answer`, `blank_label` and
    `placeholder_label` (a label like "null").
    """
    found: list[Finding] = []
    present = {role.name: role.name for role in shape.roles if role.name in rows.columns}
    for role in needed_roles(shape, present):
        blank = rows[role.name] == ""
        code = f"blank_{role.kind}" if role.kind in ("answer", "label") else "blank_text"
        rows, found = _without(rows, blank, found, code, {"role": role.name} if role.kind == "answer" else {})
        if role.kind == "label":
            placeholder = rows[role.name].str.lower().isin(PLACEHOLDERS)
            facts: dict[str, Fact] = {"labels": named(sorted(set(rows.loc[placeholder, role.name])))}
            rows, found = _without(rows, placeholder, found, "placeholder_label", facts)
    return rows.reset_index(drop=True), found


def _without(
    rows: "pd.DataFrame", unfit: "pd.Series[bool]", found: list[Finding], code: str, facts: dict[str, Fact]
) -> tuple["pd.DataFrame", list[Finding]]:
    if not unfit.any():
        return rows, found
    gone = rows.loc[unfit, "row"].tolist()
    finding = Finding(code, len(gone), "warning", facts, examples(gone), "drop", ("drop",), True, "drop")
    return rows[~unfit], [*found, finding]


def spellings(labels: "pd.Series[str]") -> dict[str, str]:
    """Label key -> its usual spelling: the most frequent one, the first one where two are equally frequent."""
    usual: dict[str, str] = {}
    # A Counter keeps the order of first sight and most_common() is stable.
    for label, _ in Counter(labels.tolist()).most_common():
        usual.setdefault(label_key(label), " ".join(label.split()))
    return usual


def unify(labels: "pd.Series[str]", usual: dict[str, str]) -> "pd.Series[str]":
    """Labels in their usual spelling. Those without one stay."""
    spelled = {label: usual.get(label_key(label), label) for label in labels.unique().tolist()}
    return labels.map(spelled).astype("str")
