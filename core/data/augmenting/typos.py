"""Keyboard typos: a slip of the finger inside a word."""

from random import Random

from core.data.augmenting.words import Piece

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_SHORTEST = 4
# Latin, Greek and Cyrillic letters: alphabets whose words survive a slip.
_LAST_LETTER = "\u052f"


def _neighbours() -> dict[str, str]:
    """Letter -> letters beside, above and below it on a QWERTY keyboard, whose rows are shifted by half a key."""
    where = {letter: (row, column + row / 2) for row, keys in enumerate(_ROWS) for column, letter in enumerate(keys)}
    return {
        letter: "".join(
            other
            for other, (beside, at) in where.items()
            if other != letter and abs(row - beside) <= 1 and abs(column - at) <= 1
        )
        for letter, (row, column) in where.items()
    }


BESIDE = _neighbours()


def places(parts: list[Piece]) -> list[int]:
    """Words of at least four letters of an alphabet. There are no such slips in Chinese."""
    return [
        place
        for place, piece in enumerate(parts)
        if piece.kind == "word"
        and len(piece.text) >= _SHORTEST
        and piece.text.isalpha()
        and max(piece.text) <= _LAST_LETTER
    ]


def change(parts: list[Piece], chosen: list[int], chance: Random) -> list[Piece]:
    """One slip in each of the chosen words: the key beside, two letters in the wrong order, one too few or twice.

    Belinkov and Bisk, Synthetic and Natural Noise Both Break Neural Machine Translation, ICLR 2018. The first and the
    last letter stay, with which people still read the word (Pruthi, Dhingra and Lipton, Combating Adversarial
    Misspellings with Robust Word Recognition, ACL 2019).
    """
    changed = list(parts)
    for place in chosen:
        changed[place] = Piece(_slip(parts[place].text, chance), "word")
    return changed


def _slip(word: str, chance: Random) -> str:
    at = chance.randrange(1, len(word) - 1)
    letter = word[at]
    slips = [word[:at] + word[at + 1 :], word[:at] + letter + word[at:]]
    if at + 2 < len(word) and letter != word[at + 1]:
        slips.append(word[:at] + word[at + 1] + letter + word[at + 2 :])
    beside = BESIDE.get(letter.lower())
    if beside:
        other = chance.choice(beside)
        slips.append(word[:at] + (other.upper() if letter.isupper() else other) + word[at + 1 :])
    return chance.choice(slips)
