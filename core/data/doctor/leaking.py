"""Words that give the label away: the label's own name, or a mark such as "[billing]" or "label: refund"."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.data.cleaning import PLACEHOLDERS, label_key
from core.data.doctor.base import Check, Seen, Sheet
from core.data.doctor.labelling import all_labels, label_column
from core.data.doctor.rewriting import CELL_CHARACTERS, changed
from core.data.findings import named
from core.errors import Fact

if TYPE_CHECKING:
    import pandas as pd

_LOOKED_AT = 2_000
_ROWS_PER_LABEL = 200
_SAMPLED = 20_000
_CLASSES = 200
_PHRASES = 50
_MARKS = 2_000
_NAME_CHARACTERS = 60
_AT_ONCE = 500
# A word tells the label if its rows have hardly any other, and there are enough of them for that to be no chance.
_PURE = 0.97
_ROWS, _SHARE = 10, 0.03
_BY_CHANCE = 1e-3
# Words of the topic ("parcel" of deliveries) tell the label too. What is no name must be in nearly all of its texts.
_NEARLY_ALL = 0.9
_MARKED = 0.6
_ELSEWHERE = 0.02
# The same two bounds for a sample of the rows, which errs.
_SAMPLED_NEARLY_ALL, _SAMPLED_ELSEWHERE = 0.75, 0.1

_NAMERS = "labels?|class|category|topic|tag|target|intent|sentiment|kategorie|thema|classe|catégorie|étiquette|etiqueta"
_MARK = (
    rf"(?:\b(?:{_NAMERS})|标签|类别|分类|主题|意图)\s{{0,3}}[:=：]\s{{0,3}}[\w-]{{1,40}}"
    r"|__label__[\w-]{1,40}|#[^\W\d]\w{0,39}|\[[^\[\]\n]{1,40}\]|【[^【】\n]{1,40}】"
)
_TOKEN = re.compile(rf"{_MARK}|[^\W_][\w'’-]{{0,39}}")
_WORD = re.compile(r"[^\W_][\w'’-]{0,39}")
# Scripts without blanks between words: a name is looked for anywhere.
_UNSPACED = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")


@dataclass(frozen=True)
class _Leak:
    """A word or mark as it is found in texts in small letters, the label that it tells, and the rows that have it."""

    word: str
    label: str
    places: tuple[int, ...]


def label_leak(sheet: Sheet) -> Seen | None:
    """Texts with a word that alone tells the label. Whoever uses the model later will hardly write it."""
    texts = sheet.names("text")
    if label_column(sheet) is None or not texts:
        return None
    labels = all_labels(sheet)
    sizes = labels.value_counts()
    if not 2 <= len(sizes) <= _CLASSES:
        return None
    cells = sheet.frame[texts[0]].iloc[labels.index.to_numpy()].str.slice(0, _LOOKED_AT).str.lower()
    rows = _Rows(labels.index.tolist(), cells, labels.tolist())
    leaks = _leaks(rows, {str(label): int(size) for label, size in sizes.items()})
    if not leaks:
        return None
    changes = _masked(sheet.frame[texts[0]], leaks)
    # Marks first, then by how many rows they are in.
    leaks.sort(key=lambda leak: (not _is_mark(leak.word), -len(leak.places), leak.word))
    facts: dict[str, Fact] = {
        "words": named([leak.word for leak in leaks]),
        "labels": named(list(dict.fromkeys(leak.label for leak in leaks))),
    }
    return changed(sheet, "label_leak", "mask", {texts[0]: changes}, "warning", facts, recommended=False)


@dataclass(frozen=True)
class _Rows:
    """Rows with a label: their places in the frame, texts in small letters, labels."""

    places: list[int]
    texts: "pd.Series[str]"
    labels: list[str]

    def having(self, words: set[str]) -> Iterator[tuple[int, str, str]]:
        """Place, text and label of the rows that may have one of the words."""
        import numpy as np

        found = np.zeros(len(self.labels), dtype=bool)
        ordered = sorted(words)
        # A pattern of all words could be too large to compile.
        for begin in range(0, len(ordered), _AT_ONCE):
            pattern = "|".join(re.escape(word) for word in ordered[begin : begin + _AT_ONCE])
            found |= self.texts.str.contains(pattern, regex=True, na=False).to_numpy(dtype=bool)
        for number in found.nonzero()[0].tolist():
            yield self.places[number], str(self.texts.array[number]), self.labels[number]


def _leaks(rows: _Rows, sizes: dict[str, int]) -> list[_Leak]:
    names = {label: _names(label) for label in sizes}
    own = {word for words in names.values() for word in words}
    phrases = {word for word in own if _is_phrase(word)}
    tokens = (own - phrases) | _usual_tokens(rows, sizes)
    found: list[_Leak] = []
    for word, by_label in _rows_with(rows, tokens, set(sorted(phrases)[:_PHRASES])).items():
        label = max(by_label, key=lambda name: len(by_label[name]))
        places = [place for each in by_label.values() for place in each]
        if _tells(word, len(by_label[label]), len(places), sizes[label], len(rows.labels), names[label]):
            found.append(_Leak(word, label, tuple(places)))
    return found


def _tells(word: str, hits: int, rows: int, size: int, total: int, names: set[str]) -> bool:
    """Whether a word gives a label away.

    Args:
        word: or mark.
        hits: rows of the label with the word.
        rows: all rows with the word.
        size: rows of the label.
        total: all rows.
        names: of the label.
    """
    by_chance = (size / total) ** rows
    share, elsewhere = hits / size, (rows - hits) / max(1, total - size)
    if hits < _PURE * rows or by_chance > _BY_CHANCE or rows < 3 or (rows < _ROWS and share < _SHARE):
        return False
    if _inner(word) in names:
        return True
    return elsewhere < _ELSEWHERE and share >= (_MARKED if _is_mark(word) else _NEARLY_ALL)


def _names(label: str) -> set[str]:
    """The label as it may stand in a text in small letters, with blanks or hyphens for underscores, and its plural."""
    key = label_key(label)
    if len(key) > _NAME_CHARACTERS:
        return set()
    if len(key) < 2 or key in PLACEHOLDERS:
        return {key} if key.isalnum() and _UNSPACED.search(key) else set()
    spaced = " ".join(re.split(r"[\s_/-]+", key))
    made = {key, spaced, spaced.replace(" ", "-"), spaced.replace(" ", "_")}
    if spaced.isascii() and spaced.isalpha() and len(spaced) > 3:
        made.add(spaced[:-1] if spaced.endswith("s") else spaced + "s")
    return made


def _is_phrase(word: str) -> bool:
    """Whether a name is more, or less, than one token: it is then looked for as it is."""
    return _UNSPACED.search(word) is not None or _WORD.fullmatch(word) is None


def _is_mark(word: str) -> bool:
    return re.fullmatch(_MARK, word) is not None


def _inner(word: str) -> str:
    """What a mark says: `billing` of `[billing]`, `label: billing`, `#billing`, `__label__billing`."""
    return re.split(r"[:=：]|__label__", word)[-1].strip("[]【】# \t") if _is_mark(word) else word


def _usual_tokens(rows: _Rows, sizes: dict[str, int]) -> set[str]:
    """Tokens that are in most texts of a label, and marks that are in several, by a sample of each label's rows."""
    each = min(_ROWS_PER_LABEL, max(10, _SAMPLED // len(sizes)))
    steps = {label: max(1, size // each) for label, size in sizes.items()}
    seen: Counter[str] = Counter()
    sampled: Counter[str] = Counter()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for text, label in zip(rows.texts, rows.labels, strict=True):
        seen[label] += 1
        if seen[label] % steps[label] == 0:
            sampled[label] += 1
            counts[label].update(set(_TOKEN.findall(text)))
    everywhere = sum(counts.values(), Counter[str]())
    others = sum(sampled.values())
    usual = {token for token, count in everywhere.items() if count >= 3 and _starts_mark(token)}
    if len(usual) > _MARKS:
        usual = set(sorted(usual, key=lambda token: (-everywhere[token], token))[:_MARKS])
    for label, tokens in counts.items():
        for token, count in tokens.items():
            rare_elsewhere = everywhere[token] - count < _SAMPLED_ELSEWHERE * (others - sampled[label])
            if count >= _SAMPLED_NEARLY_ALL * sampled[label] and rare_elsewhere:
                usual.add(token)
    return usual


def _starts_mark(token: str) -> bool:
    return token[0] in "#[【" or ":" in token or "=" in token or "：" in token or token.startswith("__label__")


def _rows_with(rows: _Rows, tokens: set[str], phrases: set[str]) -> dict[str, dict[str, list[int]]]:
    """Word -> label -> places of the rows that have it."""
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    # A mark swallows the words in it, so that a name in brackets counts as a mark alone.
    for place, text, label in rows.having(tokens | phrases):
        for token in tokens.intersection(_TOKEN.findall(text)):
            found[token][label].append(place)
        for phrase in phrases:
            if phrase in text:
                found[phrase][label].append(place)
    return found


def _masked(cells: "pd.Series[str]", leaks: list[_Leak]) -> dict[int, str]:
    """The texts without the words, longer ones first."""
    by_place: dict[int, list[str]] = defaultdict(list)
    for leak in sorted(leaks, key=lambda leak: -len(leak.word)):
        for place in leak.places:
            by_place[place].append(leak.word)
    patterns = {leak.word: _pattern(leak.word) for leak in leaks}
    values = cells.array
    changes: dict[int, str] = {}
    for place, words in by_place.items():
        text = str(values[place])
        head, tail = text[:CELL_CHARACTERS], text[CELL_CHARACTERS:]
        for word in words:
            head = patterns[word].sub("", head)
        new = re.sub(r"(?<! ) {2,}", " ", head).strip(" ") + tail
        if new != text:
            changes[place] = new
    return changes


def _pattern(word: str) -> re.Pattern[str]:
    """The word with its own borders, so that "ham" in "champion" stays."""
    edge = "" if _UNSPACED.search(word) else r"(?<![^\W_])" if word[0].isalnum() else ""
    end = "" if _UNSPACED.search(word) else r"(?![^\W_])" if word[-1].isalnum() else ""
    return re.compile(edge + re.escape(word) + end, re.IGNORECASE)


LEAK_CHECKS: tuple[Check, ...] = (Check("label_leak", ("label",), label_leak),)
