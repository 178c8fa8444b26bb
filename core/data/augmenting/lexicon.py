"""Synonyms from the lists beside this file, which belong to this project; see their first lines."""

from functools import cache
from pathlib import Path

_LISTS = ("synonyms_en.txt", "synonyms_zh.txt")


@cache
def _table() -> dict[str, tuple[str, ...]]:
    """Word -> what may stand for it."""
    table: dict[str, list[str]] = {}
    for name in _LISTS:
        for line in Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines():
            if not line or line.startswith("#"):
                continue
            left, _, right = line.partition(" > ")
            given = left.split(", ")
            for word in given:
                others = right.split(", ") if right else [other for other in given if other != word]
                known = table.setdefault(word, [])
                known += [other for other in others if other not in known]
    return {word: tuple(others) for word, others in table.items()}


def synonyms(word: str) -> tuple[str, ...]:
    """What may stand for a word, written in small letters; empty if we know nothing."""
    return _table().get(word, ())


def words() -> list[str]:
    """Every word that something may stand for."""
    return list(_table())


def terms() -> list[str]:
    """The words that are looked for in text without blanks."""
    return [word for word in words() if not word.isascii()]
