"""What files of translations say about themselves: languages and encodings, in the ways people write them."""

from pathlib import Path

from core.data.decoding import Encoding, chosen, fitted
from core.errors import UserError

_TRADITIONAL = frozenset({"hant", "tw", "hk", "mo"})


def code(language: str) -> str:
    """`de_DE.UTF-8` as `de-de`."""
    return language.strip().partition(".")[0].lower().replace("_", "-")[:40]


def base(language: str) -> str:
    """The language without its region: `de` for `de-de`. What is written in other letters stays apart, as `zh-hant`."""
    first, *rest = code(language).split("-")
    if first == "zh":
        return "zh-hant" if _TRADITIONAL & set(rest) else "zh"
    script = next((part for part in rest if len(part) == 4 and part.isalpha()), "")
    return f"{first}-{script}" if script else first


def declared(path: Path, name: str) -> Encoding | None:
    """The encoding of this name, strict if the whole file is valid in it; None if there is none of this name."""
    try:
        return chosen(path, name)
    except UserError:
        pass
    try:
        "".encode(name)
        return fitted(path, Encoding(name.lower()))
    except (LookupError, UnicodeError):
        return None
