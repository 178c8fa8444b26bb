"""Random deletion: words are left out."""

from random import Random

from core.data.augmenting.words import Piece

_FEWEST = 3
# One of these is enough where there was one on either side of a word.
_COMMAS = ",;:，；：、"


def places(parts: list[Piece]) -> list[int]:
    """Words, where there are enough of them, and Chinese particles; other text without blanks would lose half words."""
    words = [place for place, piece in enumerate(parts) if piece.kind == "word"]
    fillers = [place for place, piece in enumerate(parts) if piece.filler]
    return sorted(fillers + (words if len(words) >= _FEWEST else []))


def change(parts: list[Piece], chosen: list[int], chance: Random) -> list[Piece]:
    """Leave the chosen pieces out, each with the blank beside it.

    Random deletion of EDA (Wei and Zou, EDA: Easy Data Augmentation Techniques for Boosting Performance on Text
    Classification Tasks, EMNLP-IJCNLP 2019).
    """
    gone = set(chosen)
    kept: list[Piece] = []
    for place, piece in enumerate(parts):
        if place in gone:
            continue
        if piece.kind == "gap" and place - 1 in gone and (not kept or kept[-1].kind == "gap"):
            before = kept.pop().text if kept else ""
            piece = Piece(_gap(before, piece.text), "gap")
        kept.append(piece)
    return kept


def _gap(before: str, after: str) -> str:
    """One gap where there were two around a word: a blank with a blank is one, and there is none before a full stop."""
    if not before:
        return after.lstrip()
    if not after.isspace():
        return before.rstrip().rstrip(_COMMAS) + after if after[:1].strip() else before + after.lstrip()
    return after if "\n" in after else before
