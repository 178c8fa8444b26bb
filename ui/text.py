"""Every word a person reads: sentences by key, one file per language."""

import json
from functools import cache
from pathlib import Path
from typing import Literal

from core.errors import Fact, UserError

Language = Literal["en", "zh-CN"]
LANGUAGES: dict[Language, str] = {"en": "English", "zh-CN": "中文"}
PATHS: dict[Language, str] = {"en": "/", "zh-CN": "/zh"}
_FOLDER = Path(__file__).parent / "locales"


def _flat(tree: dict[str, object], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in tree.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: str(value)}
    return found


@cache
def sentences(language: Language) -> dict[str, str]:
    """All sentences of a language by dotted key."""
    return _flat(json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8")))


def written(value: object) -> str:
    """A fact as people write it: 12,345 and 0.00005 rather than 5e-05."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    digits = f"{value:.12f}".rstrip("0") if abs(value) < 0.01 else f"{value:.2f}"
    return f"{value:.2e}" if len(digits) > 12 else digits


class Text:
    """The words of one language.

    `text("data.rows", n=3)` is the sentence with its facts filled in. A key with the variants `.one` and `.other`
    chooses by the fact `n`, `count` or `rows`. A missing key or fact raises KeyError: a sentence is never half there.
    """

    def __init__(self, language: Language) -> None:
        self.language = language
        self._sentences = sentences(language)

    def __call__(self, key: str, **facts: object) -> str:
        """The sentence for a key.

        Raises:
            KeyError: no such key, or a fact is missing.
        """
        return self._sentences[self._variant(key, facts)].format(**{k: written(v) for k, v in facts.items()})

    def has(self, key: str) -> bool:
        """Whether there is such a sentence."""
        return key in self._sentences or f"{key}.other" in self._sentences

    def error(self, error: UserError) -> str:
        """What is wrong and what to do, in this language."""
        return self.coded("errors", error.code, error.facts)

    def coded(self, section: str, code: str, facts: dict[str, Fact]) -> str:
        """The sentence for a code of core; one that the page does not know yet is still a calm sentence."""
        named = dict(facts)
        if "knob" in named and self.has(f"knobs.{named['knob']}.label"):
            named["knob"] = self(f"knobs.{named['knob']}.label")
        try:
            return self(f"{section}.{code}", **named)
        except KeyError:
            return self(f"{section}.unexpected")

    def _variant(self, key: str, facts: dict[str, object]) -> str:
        if key in self._sentences or f"{key}.other" not in self._sentences:
            return key
        amount = next((facts[name] for name in ("n", "count", "rows") if name in facts), 0)
        return f"{key}.one" if amount == 1 else f"{key}.other"
