"""Words and sentences of any script, for scores and simple methods."""

import re
import unicodedata

import regex  # type: ignore[import-untyped]

# Scripts written without blanks between words: each character, with the marks on it, counts as a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
_UNSPACED_LETTER = regex.compile(rf"[{_UNSPACED}]", regex.V1)
_WORD = regex.compile(rf"[[{_UNSPACED}]&&[\p{{L}}\p{{N}}]]\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+", regex.V1)
_KANA = regex.compile(r"[\p{Hiragana}\p{Katakana}]")
_HAN = regex.compile(r"\p{Han}")

_CLOSING = "\"'”’»›)\\]）」』】》"
_END = re.compile(
    rf"[.!?…]+[{_CLOSING}]*(?=\s|$)"  # followed by a blank
    rf"|[。！？．｡؟۔।॥።၊။៕]+[{_CLOSING}]*"  # which need none
)
_ABBREVIATIONS = frozenset({"mr", "mrs", "ms", "dr", "prof", "st", "vs", "cf", "fig", "approx", "bzw", "nr", "env"})


def words(text: str) -> list[str]:
    """The words of a text in small letters; of scripts without blanks between words, its characters.

    For English without accents these are what the package rouge_score takes as words when it does not stem.
    """
    found: list[str] = _WORD.findall(_plain(text))
    return found


def unspaced_share(texts: list[str]) -> float:
    """Share of characters from scripts written without blanks between words (Han, kana, Thai, Lao, Khmer, …)."""
    text = "".join(texts)
    return len(_UNSPACED_LETTER.findall(text)) / max(1, len(text))


def is_chinese(texts: list[str]) -> bool:
    """Whether unspaced texts are Chinese: Han without the kana that Japanese has between."""
    text = "".join(texts)
    han, kana = len(_HAN.findall(text)), len(_KANA.findall(text))
    return han > 0.5 * len(_UNSPACED_LETTER.findall(text)) and kana < 0.1 * han


def first_sentence(text: str) -> str:
    """The first sentence, over line breaks inside it; the first line where no sentence ends.

    A full stop ends none after a single letter or a usual abbreviation, nor before a small letter. A blank line ends
    any.
    """
    paragraph = re.split(r"\n\s*\n", text.strip(), maxsplit=1)[0]
    for end in _END.finditer(paragraph):
        before = paragraph[: end.end()]
        if not _goes_on(before, paragraph[end.end() :]):
            return " ".join(before.split())
    return " ".join(paragraph.split("\n", 1)[0].split())


def _goes_on(before: str, after: str) -> bool:
    if before[-1] in "」』”’" and after[:1].isalpha():
        return True  # what was said is part of the sentence that tells it
    if not after.strip() or after.lstrip()[0].islower():
        return bool(after.strip())
    last = before.split()[-1]
    pieces = last.strip('.("“«').split(".")
    if not last.endswith(".") or pieces == ["I"]:
        return False
    letters = all(len(piece) == 1 and piece.isalpha() for piece in pieces)
    return (letters and (len(pieces) > 1 or pieces[0].isupper())) or pieces[0].casefold() in _ABBREVIATIONS


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
