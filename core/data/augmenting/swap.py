"""Random swap: neighbouring words change places."""

from random import Random

from core.data.augmenting.words import Piece


def places(parts: list[Piece]) -> list[int]:
    """Words that another word follows after nothing but a blank."""
    return [
        place
        for place in range(len(parts) - 2)
        if parts[place].kind == "word" and parts[place + 1].text.isspace() and parts[place + 2].kind == "word"
    ]


def change(parts: list[Piece], chosen: list[int], chance: Random) -> list[Piece]:
    """Swap each of the chosen words with the next one. A word moves only once.

    Random swap of EDA (Wei and Zou, EDA: Easy Data Augmentation Techniques for Boosting Performance on Text
    Classification Tasks, EMNLP-IJCNLP 2019), but only between neighbours: a word that leaves its clause can turn around
    what the text says.
    """
    swapped = list(parts)
    moved = -1
    for place in sorted(chosen):
        if place <= moved:
            continue
        swapped[place], swapped[place + 2] = swapped[place + 2], swapped[place]
        moved = place + 2
    return swapped
