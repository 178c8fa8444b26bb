"""Real texts that every machine of ours has: the docstrings of the installed libraries.

Two tables are made of them: docstring -> library (eight classes) for classifiers, and body -> first line for models
that write. The same libraries in the same versions give the same tables.
"""

import ast
import importlib.util
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

LIBRARIES = ("torch", "transformers", "sklearn", "scipy", "pandas", "numpy", "gradio", "huggingface_hub")
_SHORTEST, _LONGEST = 80, 6_000
_NODES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def docstrings(library: str) -> Iterator[str]:
    """The docstrings of functions and classes in a library's source, cleaned of their indentation."""
    found = importlib.util.find_spec(library)
    assert found, library
    assert found.origin, library
    for path in sorted(Path(found.origin).parent.rglob("*.py")):
        if "test" in path.parts[-2] or path.name.startswith("test_"):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8", errors="ignore"))
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, _NODES) and (told := ast.get_docstring(node)) and _SHORTEST <= len(told) <= _LONGEST:
                yield told


def by_library(rows: int, seed: int = 7) -> pd.DataFrame:
    """`text` and `label`: so many different docstrings, of each library the same number, with their names masked."""
    names = re.compile("|".join([*LIBRARIES, "scikit-learn", "hugging ?face", "pytorch"]), re.IGNORECASE)
    made: list[tuple[str, str]] = []
    seen: set[str] = set()
    for library in LIBRARIES:
        texts = []
        for told in docstrings(library):
            text = names.sub("it", told)
            if text not in seen:
                seen.add(text)
                texts.append(text)
        random.Random(seed).shuffle(texts)
        made += [(text, library) for text in texts[: rows // len(LIBRARIES)]]
    random.Random(seed).shuffle(made)
    return pd.DataFrame(made, columns=["text", "label"])


def first_lines(rows: int, seed: int = 7, longest: int = 900) -> pd.DataFrame:
    """`text` (the body of a docstring, its first paragraph taken away) and `summary` (that paragraph, on one line)."""
    made: list[tuple[str, str]] = []
    seen: set[str] = set()
    for library in LIBRARIES:
        for told in docstrings(library):
            first, _, body = told.partition("\n\n")
            summary, body = " ".join(first.split()), body.strip()
            fits = 20 <= len(summary) <= 160 and 120 <= len(body) <= longest
            if fits and summary.lower() not in body.lower() and summary not in seen:
                seen.add(summary)
                made.append((body, summary))
    random.Random(seed).shuffle(made)
    return pd.DataFrame(made[:rows], columns=["text", "summary"])
