"""What a person should know about the rows before training, and which column is what."""

from typing import TYPE_CHECKING

from core.data.cleaning import Cleaned, clean
from core.data.findings import Finding, examples, named
from core.data.roles import LABEL_NAMES, TEXT_NAMES, name_words
from core.errors import Fact, UserError
from core.settings import Limits

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Finding", "check", "examples", "guess_columns", "require_usable"]

# A class needs a row to learn from, one to choose the best checkpoint by and one to be judged on.
ROWS_PER_CLASS = 3
FEW_ROWS = 50
MANY_CLASSES = 100
UNBALANCED = 10
_GUESS_ROWS = 5000
_HINT = 2.0


def guess_columns(frame: "pd.DataFrame") -> dict[str, str]:
    """Which column holds the texts and which the labels, from names and content.

    Returns:
        `{"text": column, "label": column}`, without the role that no column fits.
    """
    sample = frame.head(_GUESS_ROWS)
    label_scores = {name: _label_score(sample[name], name) for name in map(str, frame.columns)}
    text_scores = {name: _text_score(sample[name], name) for name in map(str, frame.columns)}
    guessed: dict[str, str] = {}
    text = max(text_scores, key=lambda name: text_scores[name], default=None)
    if text is not None and text_scores[text] > 0:
        guessed["text"] = text
    rest = [name for name in label_scores if name != text and label_scores[name] > 0]
    if rest:
        # Of equals the last one: people put the label at the end.
        best = max(label_scores[name] for name in rest)
        guessed["label"] = [name for name in rest if label_scores[name] == best][-1]
    return guessed


def _text_score(cells: "pd.Series[str]", name: str) -> float:
    """Rises with the mean length; words and letters count, numbers do not."""
    filled = cells[cells.str.strip() != ""]
    if filled.empty:
        return 0.0
    length = float(filled.str.len().mean())
    if float(filled.str.contains(r"[^\W\d_]", regex=True).mean()) < 0.5:
        return 0.0
    varied = filled.nunique() / len(filled)
    hint = _HINT if TEXT_NAMES & name_words(name) else 1.0
    return length * (0.2 + varied) * hint


def _label_score(cells: "pd.Series[str]", name: str) -> float:
    """High for few, short values that come again and again; 0 for an id, a constant or long texts."""
    filled = cells[cells.str.strip() != ""].str.strip().str.lower()
    if len(filled) < 2:
        return 0.0
    distinct = filled.nunique()
    hinted = bool(LABEL_NAMES & name_words(name))
    length = float(filled.str.len().mean())
    if length > 60:
        return 0.0
    if hinted:
        return 10.0 + 1.0 / (1 + distinct)
    if distinct < 2 or distinct > max(2, len(filled) // 2):
        return 0.0
    numeric = float(filled.str.fullmatch(r"[-+]?\d+([.,]\d+)?").mean())
    return 1.0 - distinct / len(filled) - (0.5 if numeric > 0.9 else 0.0) - length / 1000


def check(frame: "pd.DataFrame", columns: dict[str, str], limits: Limits) -> list[Finding]:
    """What stands out in the rows, errors first, and what preparing will do about it. Never raises for the data."""
    wrong = _wrong_columns(frame, columns)
    if wrong:
        return [_as_finding(wrong)]
    cleaned = clean(frame, columns)
    unusable = _unusable(cleaned, limits)
    found = [_as_finding(unusable)] if unusable else []
    found += cleaned.findings
    if unusable is None:
        found += [finding for finding in (rare_labels(cleaned, ROWS_PER_CLASS), *_proportions(cleaned)) if finding]
    found += _garbled(cleaned)
    order = {"error": 0, "warning": 1, "info": 2}
    return sorted(found, key=lambda finding: order[finding.severity])


def require_usable(frame: "pd.DataFrame", columns: dict[str, str], limits: Limits) -> None:
    """Pass silently where a model can be trained on the rows.

    Raises:
        UserError: `column_missing`, `text_is_label`, `no_usable_rows`, `one_class`, `labels_all_different`,
            `too_many_classes`, `too_few_rows_per_class`.
    """
    wrong = _wrong_columns(frame, columns)
    if wrong:
        raise wrong
    require_cleaned(clean(frame, columns), limits)


def require_cleaned(cleaned: Cleaned, limits: Limits, rows_per_class: int = ROWS_PER_CLASS) -> None:
    """The part of `require_usable` that looks at rows; raises the same."""
    wrong = _unusable(cleaned, limits, rows_per_class)
    if wrong:
        raise wrong


def require_columns(frame: "pd.DataFrame", columns: dict[str, str]) -> None:
    """Pass silently where the frame has every column named in `columns`, whichever roles these are.

    Raises:
        UserError: `column_missing`, `text_is_label`.
    """
    wrong = _wrong_columns(frame, columns, roles=tuple(columns))
    if wrong:
        raise wrong


def _wrong_columns(
    frame: "pd.DataFrame", columns: dict[str, str], roles: tuple[str, ...] = ("text", "label")
) -> UserError | None:
    names = [str(name) for name in frame.columns]
    for role in roles:
        column = columns.get(role, "")
        if column not in names:
            return UserError("column_missing", column=column[:60], columns=", ".join(names[:20]))
    if len(roles) > 1 and columns["text"] == columns["label"]:
        return UserError("text_is_label", column=columns["text"])
    return None


def _unusable(cleaned: Cleaned, limits: Limits, rows_per_class: int = ROWS_PER_CLASS) -> UserError | None:
    counts = cleaned.rows["label"].value_counts()
    rows, classes = len(cleaned.rows), len(counts)
    if rows == 0:
        return UserError("no_usable_rows")
    if classes == 1:
        return UserError("one_class", label=named([str(counts.index[0])]), rows=rows)
    if classes == rows or (rows >= 10 and classes > 0.8 * rows):
        return UserError("labels_all_different", classes=classes, rows=rows)
    if classes > limits.classes:
        return UserError("too_many_classes", classes=classes, limit=limits.classes)
    rare = sorted(str(label) for label, count in counts.items() if count < rows_per_class)
    if classes - len(rare) < 2:
        return UserError("too_few_rows_per_class", needed=rows_per_class, classes=classes, labels=named(rare))
    return None


def _as_finding(error: UserError) -> Finding:
    return Finding(error.code, int(error.facts.get("rows", 0)), "error", error.facts)


def rare_labels(cleaned: Cleaned, rows_per_class: int) -> Finding | None:
    """The rows of classes too small to appear in every part; preparing leaves them out."""
    counts = cleaned.rows["label"].value_counts()
    rare = sorted(str(label) for label, count in counts.items() if count < rows_per_class)
    if not rare:
        return None
    rows = cleaned.rows[cleaned.rows["label"].isin(rare)]
    facts: dict[str, Fact] = {"labels": named(rare), "classes": len(rare), "needed": rows_per_class}
    return Finding("rare_labels_dropped", len(rows), "warning", facts, examples(rows["row"].tolist()), "drop")


def _proportions(cleaned: Cleaned) -> list[Finding]:
    counts = cleaned.rows["label"].value_counts()
    counts = counts[counts >= ROWS_PER_CLASS]
    found, rows = [], int(counts.sum())
    largest, smallest = int(counts.iloc[0]), int(counts.iloc[-1])
    if rows < FEW_ROWS:
        found.append(Finding("too_few_rows", rows, "warning", {"rows": rows, "wanted": FEW_ROWS}))
    if largest >= UNBALANCED * smallest:
        facts: dict[str, Fact] = {
            "largest": largest,
            "smallest": smallest,
            "largest_label": named([str(counts.index[0])]),
            "smallest_label": named([str(counts.index[-1])]),
        }
        found.append(Finding("unbalanced", rows, "warning", facts))
    if len(counts) > MANY_CLASSES:
        found.append(Finding("many_classes", rows, "warning", {"classes": len(counts)}))
    return found


# UTF-8 that was once read as Windows-1252 ("isnâ€™t", "cafÃ©"), and the mark of lost characters.
_GARBLED = "â€|Ã[\u0080-\u00bf©¨¼¶¤±³¡ª]|\ufffd"


def _garbled(cleaned: Cleaned) -> list[Finding]:
    rows = cleaned.rows[cleaned.rows["text"].str.contains(_GARBLED, regex=True)]
    if rows.empty:
        return []
    return [Finding("garbled_text", len(rows), "warning", {}, examples(rows["row"].tolist()))]
