"""One changed copy of a text that still speaks for the same labels."""

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from core.data.augmenting import delete, noise, swap, synonyms, typos
from core.data.augmenting.guard import Guard
from core.data.augmenting.words import Piece, joined, pieces
from core.data.cleaning import text_key
from core.spec import AugmentChoice

Outcome = Literal["made", "softened", "backed_off", "skipped"]

_METHODS = {"delete": delete, "swap": swap, "synonyms": synonyms, "typos": typos, "noise": noise}
# Draws for one copy, where they make texts that are there already.
_DRAWS = 4


@dataclass(frozen=True)
class Original:
    """A text to copy: its pieces, the places that stay, what it speaks for, and how many changes a copy gets."""

    text: str
    parts: list[Piece]
    protected: set[int]
    speaks_for: Hashable
    amount: int


class Maker:
    """Makes copies that speak for the same labels as their originals, none of them twice."""

    def __init__(
        self,
        texts: Sequence[str],
        labels: Sequence[tuple[str, ...]],
        choice: AugmentChoice,
        *,
        several: bool,
        held_out: Collection[str],
    ) -> None:
        self._guard = Guard(texts, labels, several=several)
        self._choice = choice
        self._taken = set(texts)
        self._held_out = {text_key(text) for text in held_out}

    def original(self, text: str, labels: tuple[str, ...]) -> Original:
        """Look at a text once for all of its copies."""
        parts = pieces(text)
        amount = max(1, round(self._choice.strength * _length(parts)))
        return Original(text, parts, self._guard.protected(parts, labels), self._guard.decide(text), amount)

    def copies(
        self, text: str, labels: tuple[str, ...], number: int, name: str
    ) -> Iterator[tuple[str | None, Outcome]]:
        """So many copies of a text, each by another method as far as there are enough."""
        if not number:
            return
        original, chance = self.original(text, labels), lottery(name)
        methods = chance.sample(self._choice.methods, len(self._choice.methods))
        for copy in range(number):
            first = copy % len(methods)
            yield self.copy(original, (*methods[first:], *methods[:first]), chance)

    def copy(self, original: Original, methods: Sequence[str], chance: Random) -> tuple[str | None, Outcome]:
        """A changed text by the first of the methods that finds something to change, or None."""
        for method in methods:
            places = [place for place in _METHODS[method].places(original.parts) if place not in original.protected]
            if method == "swap":
                places = [place for place in places if place + 2 not in original.protected]
            after, outcome = self._changed(original, places, method, chance)
            if outcome != "skipped":
                return after, outcome
        return None, "skipped"

    def _changed(
        self, original: Original, places: list[int], method: str, chance: Random
    ) -> tuple[str | None, Outcome]:
        """The text with so many changes, with half of them where it would speak for another label, and so on."""
        many, refused = min(original.amount, len(places)), False
        while many:
            after = self._new_text(original, places, many, method, chance)
            if after and self._guard.decide(after) == original.speaks_for:
                self._taken.add(after)
                return after, "softened" if refused else "made"
            refused = refused or after is not None
            many //= 2
        return None, "backed_off" if refused else "skipped"

    def _new_text(self, original: Original, places: list[int], many: int, method: str, chance: Random) -> str | None:
        """A text with so many changes that is not there yet; None where a few draws find none."""
        for _ in range(_DRAWS):
            chosen = sorted(chance.sample(places, many))
            after = joined(_METHODS[method].change(original.parts, chosen, chance))
            if after and after not in self._taken and text_key(after) not in self._held_out:
                return after
        return None


def lottery(name: str) -> Random:
    """Draws that are the same for the same name, on every machine."""
    return Random(name)  # noqa: S311 (a draw that can be repeated, not a secret)


def _length(parts: list[Piece]) -> float:
    """Words of a text; two characters count as one where there are no blanks."""
    return sum(
        1.0 if piece.kind in ("word", "term") else len(piece.text) / 2 if not piece.text.isascii() else 0.0
        for piece in parts
        if piece.kind != "gap"
    )
