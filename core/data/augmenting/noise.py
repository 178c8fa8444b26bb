"""Case and punctuation as people in a hurry write them."""

from random import Random

from core.data.augmenting.words import Piece

# "?" and "!" are neither put in nor taken out: they can be what a label is about.
_PUT_IN = (",", ".", ";", ":")
_TAKEN_OUT = ",.;:，。；：、"
_NARROW = str.maketrans("，；：？！（）", ",;:?!()")


def places(parts: list[Piece]) -> list[int]:
    """Words whose case can change, gaps with punctuation, and blanks between words where some can be put in."""
    found = []
    for place, piece in enumerate(parts):
        if piece.kind == "word":
            possible = piece.text.swapcase() != piece.text
        elif piece.kind == "gap":
            between = 0 < place < len(parts) - 1
            possible = any(mark in _TAKEN_OUT for mark in piece.text) or (between and piece.text.isspace())
        else:
            possible = False
        if possible:
            found.append(place)
    return found


def change(parts: list[Piece], chosen: list[int], chance: Random) -> list[Piece]:
    """Change the case of the chosen words, and put punctuation in the chosen gaps or take it out.

    Putting punctuation between words is AEDA (Karimi, Rossi and Prati, AEDA: An Easier Data Augmentation Technique for
    Text Classification, Findings of EMNLP 2021).
    """
    changed = list(parts)
    for place in chosen:
        piece = parts[place]
        text = _case(piece.text, chance) if piece.kind == "word" else _punctuation(piece.text, chance)
        changed[place] = Piece(text, piece.kind)
    return changed


def _case(word: str, chance: Random) -> str:
    forms = {word.lower(), word.upper(), word[:1].upper() + word[1:].lower()} - {word}
    return chance.choice(sorted(forms)) if forms else word


def _punctuation(gap: str, chance: Random) -> str:
    if gap.isspace():
        return " " + chance.choice(_PUT_IN) + gap
    without = "".join(mark for mark in gap if mark not in _TAKEN_OUT)
    # A wide mark can also become the narrow one, quicker to type. Where nothing is left, a blank parts the words.
    forms = {without or " ", gap.translate(_NARROW)} - {gap}
    return chance.choice(sorted(forms)) if forms else gap
