"""Some rows that stand for all."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# What is no text to be read or written.
_BESIDE = ("row", "label", "labels")


def sample(rows: "pd.DataFrame", most: int) -> tuple["pd.DataFrame", float]:
    """At most so many rows, evenly chosen, with the one that has most characters; and how many times as many there are.

    That one is there because it decides how much memory is needed.
    """
    if len(rows) <= most:
        return rows, 1.0
    texts = [rows[name].astype(str).str.len() for name in rows.columns if name not in _BESIDE]
    longest = int(sum(texts[1:], texts[0]).to_numpy().argmax())
    places = sorted({place * len(rows) // (most - 1) for place in range(most - 1)} | {longest})
    return rows.iloc[places].reset_index(drop=True), len(rows) / len(places)
