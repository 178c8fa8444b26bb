"""Answers of a classifier to many texts, against `pipeline("text-classification")`: its defaults, and batches of 32.

The three take turns in one process on the same fine-tuned MiniLM and other docstrings of the installed libraries. Quote
the median ratio: machines are noisy.

    python -m benchmarks.prediction_speed [--rows 400] [--learned 800] [--turns 3]
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.docstrings import LIBRARIES, table
from benchmarks.training_speed import ours
from benchmarks.turns import Result, compare
from core.data.preparing import prepare
from core.quiet import quiet_libraries
from core.spec import DataChoice, build
from core.tasks.base import find
from core.training import checkpoints

if TYPE_CHECKING:
    import pandas as pd

_LONGEST = 256  # tokens of a text


def classifier(rows: "pd.DataFrame", home: Path) -> Path:
    """Where MiniLM was saved that learned from these docstrings twice."""
    from core.settings import Limits

    data = DataChoice(table="0" * 64, columns={"text": "text", "label": "label"})
    split = prepare(rows, data.columns, validation_fraction=0.1, test_fraction=0.0, seed=42, limits=Limits())
    ours(split, build(data=data, learning_rate=2e-4, epochs=2, max_length=_LONGEST, batch_size=16, seed=42), home)
    best = checkpoints.best(home)
    assert best is not None
    return best


def main() -> None:
    """Answer in turn, print rows a second, the ratios and how often answers are right and alike."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--rows", type=int, default=400)
    flags.add_argument("--learned", type=int, default=800, help="rows that the model learns from before")
    flags.add_argument("--turns", type=int, default=3)
    given = flags.parse_args()
    quiet_libraries()
    from transformers import pipeline

    from core.device import detect

    device, task = detect(), find("classification")
    rows = table(-(-(given.rows + given.learned) // len(LIBRARIES)))
    texts, labels = (rows[name].tolist()[given.learned :] for name in ("text", "label"))
    with tempfile.TemporaryDirectory() as home:
        folder = classifier(rows[: given.learned], Path(home))
        ask = pipeline("text-classification", model=str(folder), tokenizer=str(folder), device=device.kind)
        ask.tokenizer.model_max_length = _LONGEST
        model, tokenizer = task.reload(folder)
        ways: dict[str, Callable[[], list[str]]] = {
            "defaults": lambda: [found["label"] for found in ask(texts, truncation=True)],
            "batches": lambda: [found["label"] for found in ask(texts, truncation=True, batch_size=32)],
            "ours": lambda: [found.answer for found in task.predict(model, tokenizer, texts, device)],
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        answers: dict[str, list[str]] = {}
        for turn in range(given.turns):
            for name in list(ways) if turn % 2 == 0 else list(ways)[::-1]:
                begin = perf_counter()
                answers[name] = ways[name]()
                seconds[name].append(perf_counter() - begin)
    found: dict[str, list[Result]] = {}
    for name in ways:
        right = sum(a == b for a, b in zip(answers[name], labels, strict=True)) / len(labels)
        found[name] = [
            {"seconds": one, "per_second": round(len(texts) / one, 1), "score": right} for one in seconds[name]
        ]
    alike = sum(a == b for a, b in zip(answers["ours"], answers["defaults"], strict=True))
    compare(f"MiniLM answers {len(texts)} texts", "ours", found)
    print(f"{alike} of {len(texts)} answers are those of the pipeline with its defaults")


if __name__ == "__main__":
    main()
