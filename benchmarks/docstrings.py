"""Texts that every machine with this program has: the docstrings of libraries that it is installed with."""

import ast
import importlib.util
import random
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

LIBRARIES = ("networkx", "nltk", "pandas", "scipy", "sklearn", "sympy", "torch", "transformers")
_SHORTEST = 80


def docstrings(library: str) -> list[str]:
    """All different docstrings of its functions and classes that have 80 characters or more, without those of tests."""
    found = importlib.util.find_spec(library)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{library} is not installed.")
    texts: dict[str, None] = {}
    for path in sorted(Path(found.submodule_search_locations[0]).rglob("*.py")):
        if "test" in path.as_posix():
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                text = ast.get_docstring(node) or ""
                if len(text) >= _SHORTEST:
                    texts[text] = None
    return list(texts)


def table(rows_per_library: int, seed: int = 7) -> "pd.DataFrame":
    """Columns `text` and `label`, so many rows of each library, in random order."""
    import pandas as pd

    chance = random.Random(seed)
    rows = []
    for library in LIBRARIES:
        texts = docstrings(library)
        rows += [(text, library) for text in chance.sample(texts, min(len(texts), rows_per_library))]
    chance.shuffle(rows)
    return pd.DataFrame(rows, columns=["text", "label"])


def first_lines(rows: int, seed: int = 7) -> "pd.DataFrame":
    """Columns `text` (a docstring without its first paragraph) and `summary` (that paragraph on one line), mixed.

    Only those whose first paragraph is a line or two and is not said again in the rest.
    """
    import pandas as pd

    chance = random.Random(seed)
    found: dict[str, str] = {}
    for library in LIBRARIES:
        for told in docstrings(library):
            first, _, body = told.partition("\n\n")
            summary, body = " ".join(first.split()), body.strip()
            fits = 20 <= len(summary) <= 160 and 120 <= len(body) <= 900
            if fits and summary.lower() not in body.lower():
                found.setdefault(summary, body)
    some = chance.sample(sorted(found.items()), rows)
    return pd.DataFrame([(body, summary) for summary, body in some], columns=["text", "summary"])
