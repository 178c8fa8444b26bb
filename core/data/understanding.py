"""What a table is for: the task that its columns suggest, which column is what, and the languages of the texts."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.data import languages
from core.data.label_cells import label_separator, split_labels
from core.data.roles import (
    ANSWER_NAMES,
    LABEL_NAMES,
    PROMPT_NAMES,
    SUMMARY_NAMES,
    SYSTEM_NAMES,
    TEXT_NAMES,
    name_words,
)
from core.data.shapes import SHAPES, Columns, column_names
from core.errors import Fact

if TYPE_CHECKING:
    import pandas as pd

SAMPLE_ROWS = 5_000
_PARSED_ROWS = 300
_HINT = 2.0
_SWITCHES = frozenset({"0", "1", "true", "false", "yes", "no", "x", "", "0.0", "1.0"})
# The text of a summarization is at least so many times as long as its summary.
_MUCH_LONGER = 2.5
_LABELS_AT_MOST = 60


@dataclass(frozen=True)
class Profile:
    """What a look at a column's cells tells.

    Attributes:
        name: of the column.
        filled: share of cells that are not blank.
        length: mean characters of those.
        distinct: how many different ones, without case.
        cells: how many were looked at.
        letters: share of them with a letter.
        language: code of the main language, empty where it cannot be told.
        text: how much it looks like the texts a model reads; 0 for no.
        label: how much it looks like a label; 0 for no.
    """

    name: str
    filled: float
    length: float
    distinct: int
    cells: int
    letters: float
    language: str
    text: float
    label: float


@dataclass(frozen=True)
class Guess:
    """What the table seems to be for.

    Attributes:
        task: id of a shape.
        columns: role -> column or columns.
        reason: key of the sentence that says why, `guess.<reason>` in the locales.
        facts: what that sentence needs.
        languages: column -> code of its main language, of those that hold texts or answers.
    """

    task: str
    columns: dict[str, str | tuple[str, ...]]
    reason: str
    facts: dict[str, Fact] = field(default_factory=dict)
    languages: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The guess, JSON-ready."""
        columns = {role: name if isinstance(name, str) else list(name) for role, name in self.columns.items()}
        return {
            "task": self.task, "columns": columns, "reason": self.reason, "facts": self.facts,
            "languages": self.languages,
        }  # fmt: skip


def understand(frame: "pd.DataFrame", task: str | None = None) -> Guess:
    """The task that the columns suggest, or the columns that suit a task that was chosen.

    Args:
        frame: the table or its beginning; every cell text.
        task: id of a shape, None to guess it as well.
    """
    sample = frame.head(SAMPLE_ROWS)
    profiles = [profile(sample[name], name) for name in map(str, sample.columns)]
    if task is not None:
        found = _FINDERS[task](sample, profiles)
        guess = found or Guess(task, {}, "chosen")
        guess = Guess(task, guess.columns, "chosen")
    else:
        candidates = (find(sample, profiles) for find in _IN_ORDER)
        guess = next((g for g in candidates if g), None) or Guess("classification", _any_text(profiles), "nothing_fits")
    told = {p.name: p.language for p in profiles if p.language}
    texts = {role.name for role in SHAPES[guess.task].roles if role.kind in ("text", "answer")}
    names = column_names({role: value for role, value in guess.columns.items() if role in texts})
    return Guess(guess.task, guess.columns, guess.reason, guess.facts, {n: told[n] for n in names if n in told})


def profile(cells: "pd.Series[str]", name: str) -> Profile:
    """Look at a column."""
    trimmed = cells.fillna("").astype("str").str.strip()
    filled = trimmed[trimmed != ""]
    share = len(filled) / len(cells) if len(cells) else 0.0
    if filled.empty:
        return Profile(name, 0.0, 0.0, 0, 0, 0.0, "", 0.0, 0.0)
    length = float(filled.str.len().mean())
    letters = float(filled.str.contains(r"[^\W\d_]", regex=True).mean())
    distinct = int(filled.str.casefold().nunique())
    text = length * (0.2 + distinct / len(filled)) * (_HINT if TEXT_NAMES & name_words(name) else 1.0)
    shares = languages.shares(filled.tolist()) if letters > 0.5 else []
    return Profile(
        name, share, length, distinct, len(filled), letters, shares[0][0] if shares else "",
        text if letters >= 0.5 else 0.0, label_score(filled, name),
    )  # fmt: skip


def label_score(filled: "pd.Series[str]", name: str) -> float:
    """High for few, short values that come again and again; 0 for an id, a constant or long texts."""
    lowered = filled.str.casefold()
    if len(lowered) < 2:
        return 0.0
    distinct, length = lowered.nunique(), float(lowered.str.len().mean())
    if length > 60:
        return 0.0
    if LABEL_NAMES & name_words(name):
        return 10.0 + 1.0 / (1 + distinct)
    if distinct < 2 or distinct > max(2, len(lowered) // 2):
        return 0.0
    numeric = float(lowered.str.fullmatch(r"[-+]?\d+([.,]\d+)?").mean())
    return 1.0 - distinct / len(lowered) - (0.5 if numeric > 0.9 else 0.0) - length / 1000


def _any_text(profiles: list[Profile]) -> dict[str, str | tuple[str, ...]]:
    best = _best_text(profiles)
    return {"text": best.name} if best else {}


def _best_text(profiles: list[Profile]) -> Profile | None:
    best = max(profiles, key=lambda p: p.text, default=None)
    return best if best and best.text > 0 else None


def _chat(sample: "pd.DataFrame", profiles: list[Profile]) -> Guess | None:
    for p in profiles:
        if p.length > 10 and _share(sample[p.name], _is_conversation) >= 0.8:
            columns: dict[str, str | tuple[str, ...]] = {"messages": p.name}
            return Guess("chat", columns, "messages", {"column": p.name})
    return None


def _prompts(sample: "pd.DataFrame", profiles: list[Profile]) -> Guess | None:
    """Alpaca's instruction, input and output, and prompt and answer by name."""
    named = {p.name: name_words(p.name) for p in profiles if p.letters > 0.5}
    prompt = next((n for n, words in named.items() if words & PROMPT_NAMES), None)
    answer = next((n for n, words in named.items() if words & ANSWER_NAMES and n != prompt), None)
    if not prompt or not answer or _of(profiles, answer).length < 12:
        return None
    more = next((n for n, words in named.items() if "input" in words and n not in (prompt, answer)), None)
    columns: dict[str, str | tuple[str, ...]] = {"prompt": (prompt, more) if more else prompt, "answer": answer}
    system = next((n for n, words in named.items() if words & SYSTEM_NAMES), None)
    if system:
        columns["system"] = system
    return Guess("chat", columns, "prompt_names", {"prompt": prompt, "answer": answer})


def _several_labels(sample: "pd.DataFrame", profiles: list[Profile]) -> Guess | None:
    text = _best_text(profiles)
    if text is None:
        return None
    for p in profiles:
        if p is text or p.length > 200:
            continue
        column = sample[p.name]
        if _share(column, _is_list) >= 0.8 or _separated(column):
            several: dict[str, str | tuple[str, ...]] = {"text": text.name, "labels": p.name}
            return Guess("multi_label", several, "several_in_cell", {"column": p.name})
    switches = tuple(p.name for p in profiles if p is not text and _is_switch(sample[p.name]))
    if len(switches) >= 3:
        spread: dict[str, str | tuple[str, ...]] = {"text": text.name, "labels": switches}
        return Guess("multi_label", spread, "one_hot", {"n": len(switches)})
    return None


def _separated(column: "pd.Series[str]") -> bool:
    """Whether the cells are short lists: parts that come again in other cells, several of them in many cells."""
    cells = [c for c in column.tolist() if c.strip()]
    separator = label_separator(cells)
    if not cells or not separator:
        return False
    parts = [split_labels(cell, separator) for cell in cells]
    several = sum(len(p) > 1 for p in parts) / len(parts)
    counts = Counter(part.casefold() for p in parts for part in p)
    if several < 0.15 or len(counts) > _LABELS_AT_MOST or max(map(len, counts)) > 40:
        return False
    combinations = len({c.casefold() for c in cells})
    often = sum(n for n in counts.values() if n >= 3) / sum(counts.values())
    return often > 0.9 and len(counts) < max(combinations, 2)


def _translation(sample: "pd.DataFrame", profiles: list[Profile]) -> Guess | None:
    texts = [p for p in profiles if p.language and p.distinct > 0.5 * p.cells and p.filled > 0.3]
    pairs = [
        (a, b)
        for i, a in enumerate(texts)
        for b in texts[i + 1 :]
        if a.language != b.language and 1 / 4 < a.length / b.length < 4
    ]
    if not pairs:
        return None
    source, target = max(pairs, key=lambda pair: min(pair[0].length, pair[1].length))
    facts: dict[str, Fact] = {"source": source.language, "target": target.language}
    return Guess("translation", {"source": source.name, "target": target.name}, "two_languages", facts)


def _summary_by_name(sample: "pd.DataFrame", profiles: list[Profile]) -> Guess | None:
    summary = next((p for p in profiles if name_words(p.name) & SUMMARY_NAMES and p.letters > 0.5), None)
    return _long_and_short(profiles, summary) if summary else None


def _summary(sample: "pd.DataFrame", profiles: list[Profile]) -> Guess | None:
    shorter = [p for p in profiles if p.letters > 0.8 and p.length >= 20 and p.distinct > 0.7 * p.cells]
    guesses = [g for g in (_long_and_short(profiles, p) for p in shorter) if g]
    return guesses[0] if guesses else None


def _long_and_short(profiles: list[Profile], summary: Profile) -> Guess | None:
    longer = [p for p in profiles if p is not summary and p.letters > 0.8 and p.length >= _MUCH_LONGER * summary.length]
    if not longer or summary.distinct < 0.5 * summary.cells:
        return None
    text = max(longer, key=lambda p: p.length)
    if text.length < 150:
        return None
    facts: dict[str, Fact] = {"text": text.name, "summary": summary.name}
    return Guess("summarization", {"text": text.name, "summary": summary.name}, "long_and_short", facts)


def _classification(sample: "pd.DataFrame", profiles: list[Profile]) -> Guess | None:
    text = _best_text(profiles)
    rest = [p for p in profiles if p is not text and p.label > 0]
    if text is None or not rest:
        return None
    # Of equals the last one: people put the label at the end.
    best = max(p.label for p in rest)
    label = [p for p in rest if p.label == best][-1]
    facts: dict[str, Fact] = {"column": label.name, "n": label.distinct}
    return Guess("classification", {"text": text.name, "label": label.name}, "few_values", facts)


def _generation(sample: "pd.DataFrame", profiles: list[Profile]) -> Guess | None:
    text = _best_text(profiles)
    return Guess("text_generation", {"text": text.name}, "only_text", {"column": text.name}) if text else None


def _chosen_chat(sample: "pd.DataFrame", profiles: list[Profile]) -> Guess | None:
    return _chat(sample, profiles) or _prompts(sample, profiles)


def _chosen_pair(sample: "pd.DataFrame", profiles: list[Profile]) -> Guess | None:
    """Source and target for somebody who says that it is a translation: two languages, else the two best texts."""
    found = _translation(sample, profiles)
    texts = sorted((p for p in profiles if p.text > 0), key=lambda p: -p.text)[:2]
    if found or len(texts) < 2:
        return found
    source, target = sorted(texts, key=profiles.index)
    return Guess("translation", {"source": source.name, "target": target.name}, "chosen")


def _chosen_summary(sample: "pd.DataFrame", profiles: list[Profile]) -> Guess | None:
    found = _summary_by_name(sample, profiles) or _summary(sample, profiles)
    texts = sorted((p for p in profiles if p.text > 0), key=lambda p: -p.length)[:2]
    if found or len(texts) < 2:
        return found or Guess("summarization", _any_text(profiles), "chosen")
    return Guess("summarization", {"text": texts[0].name, "summary": texts[1].name}, "chosen")


def _chosen_labels(sample: "pd.DataFrame", profiles: list[Profile]) -> Guess | None:
    found = _several_labels(sample, profiles)
    single = _classification(sample, profiles)
    if found or single is None:
        return found or Guess("multi_label", _any_text(profiles), "chosen")
    return Guess("multi_label", {"text": single.columns["text"], "labels": single.columns["label"]}, "chosen")


def _chosen_label(sample: "pd.DataFrame", profiles: list[Profile]) -> Guess | None:
    return _classification(sample, profiles) or Guess("classification", _any_text(profiles), "chosen")


def _is_table_of_labels(sample: "pd.DataFrame", profiles: list[Profile]) -> Guess | None:
    """Classification where the label is beyond doubt: few values, or a column that is named like one."""
    found = _classification(sample, profiles)
    if not found:
        return None
    label = _of(profiles, str(found.columns["label"]))
    return found if label.label >= 10 or label.distinct <= max(20, label.cells // 20) else None


_IN_ORDER = (
    _chat, _prompts, _several_labels, _translation, _summary_by_name, _is_table_of_labels, _summary, _classification,
    _generation,
)  # fmt: skip
_FINDERS = {
    "classification": _chosen_label,
    "multi_label": _chosen_labels,
    "translation": _chosen_pair,
    "summarization": _chosen_summary,
    "chat": _chosen_chat,
    "text_generation": _generation,
}
assert _FINDERS.keys() == SHAPES.keys()


def _of(profiles: list[Profile], name: str) -> Profile:
    return next(p for p in profiles if p.name == name)


def _share(column: "pd.Series[str]", test: Any) -> float:
    cells = [c for c in column.head(_PARSED_ROWS).tolist() if c.strip()]
    return sum(map(test, cells)) / len(cells) if cells else 0.0


def _parsed(cell: str) -> Any:
    if not cell.lstrip().startswith("["):
        return None
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return None


def _is_conversation(cell: str) -> bool:
    turns = _parsed(cell)
    return isinstance(turns, list) and bool(turns) and all(isinstance(t, dict) and "role" in t for t in turns)


def _is_list(cell: str) -> bool:
    parts = _parsed(cell)
    return isinstance(parts, list) and all(isinstance(part, str | int) for part in parts)


def _is_switch(column: "pd.Series[str]") -> bool:
    values = {cell.strip().casefold() for cell in column.unique().tolist()}
    return len(values) == 2 and values <= _SWITCHES


def known_columns(columns: Columns, names: list[str]) -> dict[str, str | tuple[str, ...]]:
    """The roles whose columns are all in a table."""
    kept: dict[str, str | tuple[str, ...]] = {}
    for role, value in columns.items():
        if value in names if isinstance(value, str) else value and all(name in names for name in value):
            kept[role] = value if isinstance(value, str) else tuple(value)
    return kept
