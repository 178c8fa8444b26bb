"""Answers of a classifier to many texts, against `pipeline("text-classification")`: its defaults, and batches of 32.

The three take turns in one process on the same fine-tuned MiniLM and the docstrings of the installed libraries. Quote
the median ratio: machines are noisy.

    python -m benchmarks.prediction_speed [--rows 400] [--turns 3]
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.docstrings import LIBRARIES, table
from benchmarks.turns import Result, compare
from core.quiet import quiet_libraries
from core.tasks.base import find


def classifier(folder: Path, texts: list[str], labels: list[str]) -> tuple[Any, Any]:
    """MiniLM with a head of these labels, fitted on its features of the first texts, so that answers mean something."""
    import torch
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from core.models.catalogue import STARTERS

    start = STARTERS["minilm"].folder()
    tokenizer = AutoTokenizer.from_pretrained(start, model_max_length=256)
    names = sorted(set(labels))
    model = AutoModelForSequenceClassification.from_pretrained(
        start,
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
    ).eval()
    with torch.inference_mode():
        given = tokenizer(texts[:160], truncation=True, padding=True, return_tensors="pt")
        features = model.bert(**given).pooler_output.numpy()
    fitted = LogisticRegression(max_iter=1000).fit(features, labels[:160])
    with torch.no_grad():
        model.classifier.weight.copy_(torch.tensor(fitted.coef_))
        model.classifier.bias.copy_(torch.tensor(fitted.intercept_))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, tokenizer


def main() -> None:
    """Answer in turn, print rows a second, the ratios and how often answers are right and alike."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--rows", type=int, default=400)
    flags.add_argument("--turns", type=int, default=3)
    given = flags.parse_args()
    quiet_libraries()
    from transformers import pipeline

    from core.device import detect
    from core.models import kernels

    kernels.begin()
    device, task = detect(), find("classification")
    rows = table(-(-(given.rows + 160) // len(LIBRARIES)))
    texts, labels = rows["text"].tolist(), rows["label"].tolist()
    with tempfile.TemporaryDirectory() as folder:
        classifier(Path(folder), texts, labels)
        texts, labels = texts[160:], labels[160:]
        ask = pipeline("text-classification", model=folder, tokenizer=folder, device=device.kind)
        model, tokenizer = task.reload(Path(folder))
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
