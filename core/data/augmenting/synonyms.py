"""Synonym replacement: words give way to others of the same meaning."""

from random import Random

from core.data.augmenting import lexicon
from core.data.augmenting.words import Piece

_VOWELS = "aeiou"


def places(parts: list[Piece]) -> list[int]:
    """Words of the lexicon, but not names: a capital inside a sentence."""
    return [
        place
        for place, piece in enumerate(parts)
        if piece.kind in ("word", "term") and lexicon.synonyms(piece.text.casefold()) and not _is_name(parts, place)
    ]


def change(parts: list[Piece], chosen: list[int], chance: Random) -> list[Piece]:
    """Put a synonym for each of the chosen words, with capitals as they were; "a" and "an" follow.

    Zhang, Zhao and LeCun, Character-level Convolutional Networks for Text Classification, NeurIPS 2015; synonym
    replacement of EDA (Wei and Zou, EMNLP-IJCNLP 2019). The lists are ours, see `lexicon`.
    """
    changed = list(parts)
    for place in chosen:
        word = parts[place].text
        other = chance.choice(lexicon.synonyms(word.casefold()))
        if word.isupper() and len(word) > 1:
            other = other.upper()
        elif word[:1].isupper():
            other = other[:1].upper() + other[1:]
        changed[place] = Piece(other, parts[place].kind)
        _agree(changed, place)
    return changed


def _is_name(parts: list[Piece], place: int) -> bool:
    word = parts[place].text
    if not word[:1].isupper() or word.isupper() or place == 0:
        return False
    return not any(mark in parts[place - 1].text for mark in ".!?:;\n\"'“‘(")


def _agree(parts: list[Piece], place: int) -> None:
    """Make an article before the word fit its first letter."""
    if place < 2 or parts[place - 2].text.casefold() not in ("a", "an") or not parts[place - 1].text.isspace():
        return
    article, vowel = parts[place - 2].text, parts[place].text[:1].casefold() in _VOWELS
    parts[place - 2] = Piece(article[:1] + ("N" if article == "AN" else "n") * vowel, "word")
