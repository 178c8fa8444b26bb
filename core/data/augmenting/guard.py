"""What must not be changed in a text, and whether a changed text still speaks for its labels."""

from collections.abc import Hashable, Sequence
from math import log
from typing import TYPE_CHECKING

from core.data.augmenting.words import Piece, features
from core.data.roles import name_words

if TYPE_CHECKING:
    import numpy as np

_NEGATION_WORDS = """
    not no never none nothing nobody nowhere neither nor without cannot cant dont doesnt didnt isnt wasnt arent
    werent wont wouldnt shouldnt couldnt aint hardly barely scarcely rarely seldom few little less least too but
    only except unless if nicht kein keine keinen keinem keiner nie niemals nichts niemand ohne weder kaum aber ne
    pas jamais rien aucun aucune sans ni mais nunca jamás nada nadie ningún ninguna tampoco sin pero não nem sem
    ninguém nenhum mas non mai niente nessuno senza ma не нет ни никогда ничего без но niet geen nooit zonder
"""
_NEGATIONS = frozenset(_NEGATION_WORDS.split())
_NEGATED_AFTER = "不没沒無无未非别別勿莫"
# A word speaks for a label if it is so many times as frequent there as elsewhere.
_SPEAKS = 3.0
_SEEN_OFTEN = 2
# At most one word in so many is kept from change because it speaks for a label: else a copy would be no different.
_KEPT_SHARE = 3


class Guard:
    """A multinomial naive Bayes model of the training rows (McCallum and Nigam, 1998), with Laplace's smoothing.

    Where rows have several labels, each label is a yes or no of its own.

    Args:
        texts: training texts.
        labels: of each text.
        several: whether a text can have several labels, or none.
    """

    def __init__(self, texts: Sequence[str], labels: Sequence[tuple[str, ...]], *, several: bool) -> None:
        self._number: dict[str, int] = {}
        self._counts: dict[str, dict[int, int]] = {}
        self._totals: dict[str, int] = {}
        self._several = several
        self._rows = len(texts)
        rows: list[int] = []
        words: list[int] = []
        for text, held in zip(texts, labels, strict=True):
            numbers = [self._number.setdefault(label, len(self._number)) for label in held]
            found = features(text)
            for _ in range(len(self._number) - len(rows)):
                rows.append(0)
                words.append(0)
            for number in numbers:
                rows[number] += 1
                words[number] += len(found)
            for word in found:
                counts = self._counts.setdefault(word, {})
                self._totals[word] = self._totals.get(word, 0) + 1
                for number in numbers:
                    counts[number] = counts.get(number, 0) + 1
        self._words = words
        self._all_words = sum(self._totals.values())
        self._prior, self._shift = self._constants(rows)
        self._known: dict[str, tuple[np.ndarray, np.ndarray, float]] = {}
        self._names = {label: name_words(label) for label in self._number}

    def _constants(self, rows: list[int]) -> tuple["np.ndarray", "np.ndarray"]:
        """What each label scores before the first word, and for every word whichever it is."""
        import numpy as np

        label_rows, label_words = np.array(rows, dtype=float), np.array(self._words, dtype=float)
        kinds = len(self._counts)
        prior, shift = np.log(label_rows + 1), -np.log(label_words + kinds)
        if self._several:
            prior = prior - np.log(self._rows - label_rows + 1)
            shift = shift + np.log(self._all_words - label_words + kinds)
        return prior, shift

    def decide(self, text: str) -> Hashable:
        """The label that the text speaks for; where rows have several, which of all do and do not."""
        import numpy as np

        known = [self._word(word) for word in features(text) if word in self._counts]
        score = self._prior + len(known) * self._shift + sum(base for _, _, base in known)
        for numbers, gains, _ in known:
            score[numbers] += gains
        return (score > 0).tobytes() if self._several else int(np.argmax(score)) if len(score) else None

    def _word(self, word: str) -> tuple["np.ndarray", "np.ndarray", float]:
        """For a word: the labels it was seen with, what each gains by it, and what every label gains."""
        import numpy as np

        if word not in self._known:
            counts, total = self._counts[word], self._totals[word]
            base = -log(total + 1) if self._several else 0.0
            numbers = np.array(list(counts), dtype=np.int64)
            with_label = np.array(list(counts.values()), dtype=float)
            gains = np.log(with_label + 1) - (np.log(total - with_label + 1) + base if self._several else 0.0)
            self._known[word] = numbers, gains, base
        return self._known[word]

    def protected(self, parts: list[Piece], labels: tuple[str, ...]) -> set[int]:
        """Places that stay as they are: negations, the labels' own names, and words that mainly speak for a label."""
        names = {word for label in labels for word in self._names.get(label, ())}
        places = [place for place, piece in enumerate(parts) if piece.kind in ("word", "term")]
        kept = {place for place in places if _is_negation(parts, place) or _is_named(parts[place], names)}
        odds = {place: self._odds(parts[place].text, labels) for place in places if place not in kept}
        speaking = sorted((place for place in odds if odds[place] >= _SPEAKS), key=lambda place: (-odds[place], place))
        return kept | set(speaking[: -(-len(places) // _KEPT_SHARE)])

    def _odds(self, text: str, labels: tuple[str, ...]) -> float:
        """How many times as frequent a word is in one of the labels as in all other rows."""
        best = 0.0
        for word in features(text):
            counts, total = self._counts.get(word, {}), self._totals.get(word, 0)
            for number in (self._number[label] for label in labels if label in self._number):
                count = counts.get(number, 0)
                if count >= _SEEN_OFTEN:
                    inside = count / self._words[number]
                    outside = (total - count + 0.5) / (self._all_words - self._words[number] + 1)
                    best = max(best, inside / outside)
        return best


def _is_negation(parts: list[Piece], place: int) -> bool:
    word = parts[place].text.casefold().replace("’", "'")
    if word in _NEGATIONS or word.endswith("n't"):
        return True
    before = parts[place - 1].text[-1:] if place else ""
    return parts[place].kind == "term" and before != "" and before in _NEGATED_AFTER


def _is_named(piece: Piece, names: set[str]) -> bool:
    """Whether a word is one of the labels' names, or a Chinese word a part of one."""
    word = piece.text.casefold()
    return word in names or (piece.kind == "term" and any(word in name for name in names))
