"""A text in pieces that can be changed one by one and put together again."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from core.data.augmenting import lexicon

Kind = Literal["word", "term", "kept", "gap"]

# Scripts that put no blanks between words: Chinese characters, Japanese, Thai, Lao, Burmese, Khmer.
_RUN = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Marks that belong to the letter before them.
_MARKS = "\u0300-\u036f\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0970-\u0dff"
_LETTER = rf"(?:[^\W\d_{_RUN}]|[{_MARKS}])"
_WORD = rf"{_LETTER}+(?:['’-]{_LETTER}+)*"
# Repeats are bounded where the pattern may fail after them, so that no text takes more than linear time.
_PIECE = re.compile(
    r"(?P<kept>https?://\S+|www\.\S+|[\w.+-]{1,64}@[\w.-]+|[@#]\w+|\[[A-Z_]{1,30}\]|<[^<>\s]{1,60}>|\w{0,30}\d[\w.,:/%-]*)"
    rf"|(?P<word>{_WORD})|(?P<run>[{_RUN}]+)"
)
_FEATURE = re.compile(rf"{_WORD}|[{_RUN}]+")
_IN_RUN = re.compile(f"[{_RUN}]")
# Sentence-final particles and set phrases that Chinese can do without.
_FILLERS = ("其实", "反正", "总之", "说实话", "老实说", "说真的", "基本上", "一般来说", "总的来说")
_PARTICLE = "[啊呀呢嘛哦啦哇]+$"


@dataclass(frozen=True)
class Piece:
    """A part of a text.

    Attributes:
        text: as it stands there.
        kind: `word` between blanks; `term` a Chinese word that we know; `kept` what must stay (addresses, numbers, text
            without blanks whose words are not known); `gap` what is between.
    """

    text: str
    kind: Kind

    @property
    def filler(self) -> bool:
        """Whether it is a Chinese particle or phrase that can be left out."""
        return self.kind == "term" and (self.text in _FILLERS or not lexicon.synonyms(self.text))


def pieces(text: str) -> list[Piece]:
    """The pieces of a text; joined they are the text."""
    found: list[Piece] = []
    end = 0
    for match in _PIECE.finditer(text):
        if match.start() > end:
            found.append(Piece(text[end : match.start()], "gap"))
        end = match.end()
        if match.lastgroup == "run":
            found += _terms(match.group())
        else:
            found.append(Piece(match.group(), "word" if match.lastgroup == "word" else "kept"))
    if end < len(text):
        found.append(Piece(text[end:], "gap"))
    return found


@cache
def _known_terms() -> re.Pattern[str]:
    longest_first = sorted({*lexicon.terms(), *_FILLERS}, key=lambda term: (-len(term), term))
    return re.compile("|".join([*longest_first, _PARTICLE]))


def _terms(run: str) -> list[Piece]:
    found: list[Piece] = []
    end = 0
    for match in _known_terms().finditer(run):
        if match.start() > end:
            found.append(Piece(run[end : match.start()], "kept"))
        found.append(Piece(match.group(), "term"))
        end = match.end()
    if end < len(run):
        found.append(Piece(run[end:], "kept"))
    return found


def joined(parts: list[Piece]) -> str:
    """The text that the pieces make, without blanks at its ends."""
    return "".join(piece.text for piece in parts).strip()


def features(text: str) -> list[str]:
    """What a text is judged by: its words in small letters, and pairs of characters where there are no blanks."""
    found: list[str] = []
    for match in _FEATURE.findall(text):
        if _IN_RUN.match(match):
            found += [match[place : place + 2] for place in range(max(1, len(match) - 1))]
        else:
            found.append(match.casefold())
    return found
