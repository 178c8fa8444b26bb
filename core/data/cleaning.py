"""Rows made fit to learn from: trimmed, labels in one spelling, nothing empty, doubled or contradictory."""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.data.findings import Finding, examples, named

if TYPE_CHECKING:
    import pandas as pd

# White space as Unicode knows it, and characters without width that come along with pasted text.
_BLANKS = (
    " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
)
# What programs write for "no value". "none" and "na" are missing on purpose: people use both as real labels.
_PLACEHOLDERS = frozenset({"nan", "n/a", "#n/a", "<na>", "<nan>", "null", "(null)", "-", "--", "–", "—"})
_WIDTHLESS = re.compile("[\u200b\u2060\ufeff]")


@dataclass(frozen=True)
class Cleaned:
    """Rows fit to use.

    Attributes:
        rows: `row` (number in the spreadsheet), `text`, `label` (one spelling each), `key` (the text for comparing).
        findings: what was done; those of codes in `REMOVING` count the rows that are gone.
    """

    rows: "pd.DataFrame"
    findings: tuple[Finding, ...]


def trim(cells: "pd.Series[str]") -> "pd.Series[str]":
    """Cells without blanks and widthless characters at their ends."""
    return cells.str.strip(_BLANKS)


def text_key(text: str) -> str:
    """What two texts share that differ only in case, blanks or the way accents are stored."""
    if not text.isascii():
        text = _WIDTHLESS.sub("", unicodedata.normalize("NFC", text))
    return " ".join(text.casefold().split())


def rows_of(frame: "pd.DataFrame", columns: dict[str, str]) -> "pd.DataFrame":
    """The trimmed rows as `row`, `text`, `label`. Rows are numbered by the frame's index, else from 2."""
    import pandas as pd

    numbers = frame.index if frame.index.name == "row" else range(2, len(frame) + 2)
    text, label = (frame[columns[role]].fillna("").astype("str") for role in ("text", "label"))
    trimmed = {"row": list(numbers), "text": trim(text).array, "label": trim(label).array}
    return pd.DataFrame(trimmed)


def drop_empty(rows: "pd.DataFrame") -> tuple["pd.DataFrame", list[Finding]]:
    """Rows with a text and a label, and how many had none."""
    found = []
    blank = rows["text"] == ""
    if blank.any():
        found.append(_removed("blank_text", rows[blank]))
    rows = rows[~blank]
    blank = rows["label"] == ""
    if blank.any():
        found.append(_removed("blank_label", rows[blank]))
    rows = rows[~blank]
    placeholder = rows["label"].str.lower().isin(_PLACEHOLDERS)
    if placeholder.any():
        spellings = named(sorted(set(rows.loc[placeholder, "label"])))
        found.append(_removed("placeholder_label", rows[placeholder], labels=spellings))
    return rows[~placeholder], found


def _removed(code: str, rows: "pd.DataFrame", **facts: str | int) -> Finding:
    return Finding(code, len(rows), "warning", dict(facts), examples(rows["row"].tolist()), "drop")


def spellings(labels: "pd.Series[str]") -> dict[str, str]:
    """Label key -> its usual spelling: the most frequent one, the first one where two are equally frequent."""
    usual: dict[str, str] = {}
    # A Counter keeps the order of first sight and most_common() is stable.
    for label, _ in Counter(labels.tolist()).most_common():
        usual.setdefault(text_key(label), " ".join(label.split()))
    return usual


def unify_labels(rows: "pd.DataFrame", usual: dict[str, str]) -> tuple["pd.DataFrame", list[Finding]]:
    """Labels in their usual spelling, and how many were spelled otherwise. Labels without one stay."""
    spelled = {label: usual.get(text_key(label), label) for label in rows["label"].unique()}
    unified = rows.assign(label=rows["label"].map(spelled).astype("str"))
    changed = rows[(unified["label"] != rows["label"]).to_numpy()]
    if changed.empty:
        return unified, []
    facts = {
        "labels": named(sorted(set(changed["label"]))),
        "spellings": named(sorted({spelled[x] for x in changed["label"]})),
    }
    return unified, [
        Finding("label_variants", len(changed), "info", {**facts}, examples(changed["row"].tolist()), "merge")
    ]


def settle_conflicts(rows: "pd.DataFrame") -> tuple["pd.DataFrame", list[Finding]]:
    """For a text with several labels, the rows of the most frequent one; none where two are equally frequent."""
    if rows.empty:
        return rows, []
    counts = rows.groupby(["key", "label"], sort=False).size().rename("votes").reset_index()
    several = counts[counts.duplicated("key", keep=False)]
    if several.empty:
        return rows, []
    most = several.groupby("key")["votes"].transform("max")
    leading = several[several["votes"] == most]
    winners = leading[~leading.duplicated("key", keep=False)].set_index("key")["label"]
    winner = rows["key"].map(winners)
    wrong = rows["key"].isin(set(several["key"])) & (winner.isna() | (winner != rows["label"]))
    return rows[~wrong], [_removed("conflicting_labels", rows[wrong], texts=int(several["key"].nunique()))]


def drop_duplicates(rows: "pd.DataFrame") -> tuple["pd.DataFrame", list[Finding]]:
    """The first row of each text, and how many copies there were. Conflicts must be settled before."""
    copies = rows.duplicated("key")
    return rows[~copies], [_removed("duplicate_rows", rows[copies])] if copies.any() else []


def clean(frame: "pd.DataFrame", columns: dict[str, str]) -> Cleaned:
    """All of the above, in this order. Every row that is gone is counted in exactly one finding."""
    rows, found = drop_empty(rows_of(frame, columns))
    rows, more = unify_labels(rows, spellings(rows["label"]))
    found += more
    rows = rows.assign(key=[text_key(text) for text in rows["text"]])
    rows = rows.assign(key=rows["key"].astype("str"))
    for step in (settle_conflicts, drop_duplicates):
        rows, more = step(rows)
        found += more
    return Cleaned(rows.reset_index(drop=True), tuple(found))
