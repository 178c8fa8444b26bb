"""Labels that are most likely another label, misspelled."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping

from core.data.cleaning import label_key

RARE_ROWS = 5
TIMES_AS_FREQUENT = 5
_SHORTEST, _TWO_EDITS_FROM, _LONGEST = 5, 8, 60
_PAIRS = 200_000
# What turns a word into its opposite when put before it.
_NEGATION_WORDS = "un in im il ir a an non dis no not de anti kein nicht pas 不 非 无 未 没"
_NEGATIONS = frozenset(_NEGATION_WORDS.split())
# One character of these scripts is a word or a syllable: 退货 and 退款 are two things.
_SYLLABLES = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3]")
_DIGITS = re.compile(r"\d+")


def misspelled(counts: Mapping[str, int]) -> dict[str, str]:
    """Rare label -> the frequent one that it is taken for.

    A label is rare with at most `RARE_ROWS` rows, the other one has `TIMES_AS_FREQUENT` times as many. They are one
    edit apart, two from eight letters on (Damerau, A technique for computer detection and correction of spelling
    errors, 1964), begin alike, have the same numbers, and none is the other one's opposite ("valid", "invalid").

    Args:
        counts: label -> rows.
    """
    # The most frequent first, so that the more likely one is found.
    often = sorted((label for label, rows in counts.items() if rows >= TIMES_AS_FREQUENT), key=lambda x: -counts[x])
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for label in filter(_comparable, often):
        alike[_beginning(label)].append(label)
    found: dict[str, str] = {}
    pairs = 0
    for label in (label for label, rows in counts.items() if rows <= RARE_ROWS and _comparable(label)):
        for right in alike[_beginning(label)]:
            pairs += 1
            if pairs > _PAIRS or counts[right] < TIMES_AS_FREQUENT * counts[label]:
                break
            if is_typo(label_key(label), label_key(right)):
                found[label] = right
                break
    return found


def _beginning(label: str) -> tuple[str, ...]:
    """What two labels must share to be compared: the first letter and all numbers."""
    key = label_key(label)
    return key[0], *_DIGITS.findall(key)


def _comparable(label: str) -> bool:
    return _SHORTEST <= len(label) <= _LONGEST and not _SYLLABLES.search(label)


def is_typo(written: str, meant: str) -> bool:
    """Whether one label may be the other one with a slip of the keyboard. Both as `label_key` gives them."""
    most = 2 if min(len(written), len(meant)) >= _TWO_EDITS_FROM else 1
    if written == meant or written[0] != meant[0] or abs(len(written) - len(meant)) > most:
        return False
    # Each edit changes the letters that two words have by at most one on each side.
    if most < sum((Counter(written) - Counter(meant)).values()):
        return False
    if _DIGITS.findall(written) != _DIGITS.findall(meant) or _are_opposites(written, meant):
        return False
    return _distance(written, meant) <= most


def _are_opposites(one: str, other: str) -> bool:
    """Whether one is the other with a negation before one of its words."""
    short, long = sorted((one, other), key=len)
    begin = 0
    while begin < len(short) and short[begin] == long[begin]:
        begin += 1
    end = 0
    while end < len(short) - begin and short[-1 - end] == long[-1 - end]:
        end += 1
    added = long[begin : len(long) - end]
    at_word = begin == 0 or not long[begin - 1].isalpha()
    return len(short) == begin + end and at_word and added.strip(" -_'") in _NEGATIONS


def _distance(one: str, other: str) -> int:
    """Insertions, deletions, replacements and swaps of neighbours between two short words."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        row = [i]
        for j, against in enumerate(other, start=1):
            best = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != against))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == against:
                best = min(best, before[j - 2] + 1)
            row.append(best)
        before, last = last, row
    return last[-1]
