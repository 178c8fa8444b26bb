"""The Markdown of a model card. Words of strangers are code spans, escaped, or strings of Python: never markup."""

import html
import json
import re
import unicodedata

_LONGEST_WORD = 80
# They reverse the direction of text, so that it reads otherwise than it is.
_REVERSING = "\u202a-\u202e\u2066-\u2069\u200e\u200f"
# No JSON string escapes them, and in a program they mislead, break a line, or cannot be encoded.
_UNESCAPED = re.compile(f"[{_REVERSING}\u2028\u2029\x7f-\x9f\ud800-\udfff]")


def plain(words: str, longest: int = _LONGEST_WORD) -> str:
    """One line of at most so many characters, without control characters and marks that reverse text."""
    kept = (" " if unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs", "Cn") else c for c in words)
    line = re.sub(f"[{_REVERSING}]", "", "".join(kept))
    line = re.sub(r"\s+", " ", line).strip()
    return line if len(line) <= longest else line[: longest - 1] + "…"


def code(words: str, longest: int = _LONGEST_WORD) -> str:
    """A code span that shows these words as they are: its fence is longer than any run of backticks in it.

    Source: CommonMark 0.31, 6.1.
    """
    line = plain(words, longest) or " "
    fence = "`" * (_longest_run(line) + 1)
    padded = f" {line} " if line.startswith("`") or line.endswith("`") or line == " " else line
    return f"{fence}{padded}{fence}"


def program(lines: str) -> str:
    """A block of Python; its fence is longer than any run of backticks in it."""
    fence = "`" * max(3, _longest_run(lines) + 1)
    return f"{fence}python\n{lines}{fence}"


def quoted(words: str) -> str:
    """A string of Python that means these words, on one line."""
    # A JSON string is a Python string too.
    return _UNESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(words, ensure_ascii=False))


def heading(words: str) -> str:
    """Words in running text: markup characters as entities or escaped."""
    return re.sub(r"([\\`*_{}\[\]#.!|~$@:])", r"\\\1", html.escape(plain(words), quote=False))


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers.

    Pipes in cells are escaped here, which GFM asks for even in code; all else must be escaped already.
    """
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def percent(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.1f} %"


def _longest_run(words: str) -> int:
    return max((len(run) for run in re.findall("`+", words)), default=0)
