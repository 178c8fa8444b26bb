"""The judgement of a finished model on rows it never saw: all that the results tab and the model card show."""

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from core.evaluation.metrics import confusion, intervals, sign_test

if TYPE_CHECKING:
    from core.data.preparing import Split
    from core.tasks.base import Prediction, Task

_MOST_ERRORS = 500
_EXAMPLES = 8
_LONGEST_EXAMPLE = 220


def judge(
    task: "Task", split: "Split", predictions: "list[Prediction]", baselines: dict[str, list[str]]
) -> dict[str, Any]:
    """Scores with intervals, baselines, verdict, per-class table, confusion and wrong rows of the test rows.

    Returns:
        The part of `report.json` that follows from the answers alone.
    """
    references = split.test["label"].tolist()
    answers = [p.label for p in predictions]
    number = {label: i for i, label in enumerate(split.labels)}
    table = confusion([number[r] for r in references], [number[a] for a in answers], len(split.labels))
    return {
        "labels": list(split.labels),
        "metrics": _rounded(task.score(references, answers, split.labels)) | {"intervals": intervals(table)},
        "baselines": {name: _rounded(task.score(references, given, split.labels)) for name, given in baselines.items()},
        "verdict": verdict(references, answers, baselines),
        "per_class": _per_class(references, answers, split.labels),
        "confusion": table,
        "errors": _errors(split, predictions),
        "examples": _examples(split),
    }


def verdict(references: list[str], answers: list[str], baselines: dict[str, list[str]]) -> dict[str, Any]:
    """Whether it was worth it, against the strongest baseline on the same rows.

    Codes: `beats_both` and `not_better` where the exact sign test gives less than 5 % to chance, `unclear` in between.
    """
    right = np.array([a == r for a, r in zip(answers, references, strict=True)])
    scores = {name: sum(g == r for g, r in zip(given, references, strict=True)) for name, given in baselines.items()}
    strongest = max(scores, key=lambda name: scores[name])
    theirs = np.array([g == r for g, r in zip(baselines[strongest], references, strict=True)])
    chance = sign_test(int((right & ~theirs).sum()), int((theirs & ~right).sum()))
    better = "beats_both" if right.sum() > theirs.sum() else "not_better"
    return {
        "code": better if chance < 0.05 else "unclear",
        "strongest": strongest,
        "right": int(right.sum()),
        "baseline_right": int(theirs.sum()),
        "rows": len(references),
        "chance": round(chance, 4),
    }


def _rounded(scores: dict[str, float]) -> dict[str, Any]:
    return {name: round(value, 4) for name, value in scores.items()}


def _per_class(references: list[str], answers: list[str], labels: tuple[str, ...]) -> list[dict[str, Any]]:
    precision, recall, f1, rows = precision_recall_fscore_support(
        references, answers, labels=list(labels), zero_division=0
    )
    return [
        {
            "label": label,
            "precision": round(float(precision[i]), 4),
            "recall": round(float(recall[i]), 4),
            "f1": round(float(f1[i]), 4),
            "rows": int(rows[i]),
        }
        for i, label in enumerate(labels)
    ]


def _errors(split: "Split", predictions: "list[Prediction]") -> list[dict[str, Any]]:
    """Wrong rows, the most confident first: those are the most telling."""
    wrong = [
        {"row": int(row), "text": text, "label": label, "prediction": p.label, "confidence": p.confidence}
        for row, text, label, p in zip(
            split.test["row"], split.test["text"], split.test["label"], predictions, strict=True
        )
        if p.label != label
    ]
    return sorted(wrong, key=lambda e: -float(e["confidence"]))[:_MOST_ERRORS]


def _examples(split: "Split") -> list[str]:
    """Some test texts to try, of as many classes as possible, short ones first."""
    short = split.test[split.test["text"].str.len() <= _LONGEST_EXAMPLE]
    usable = short if len(short) else split.test
    each = usable.groupby("label", sort=True).head(1)["text"].tolist()
    more = [text for text in usable["text"] if text not in each]
    return [str(text)[:_LONGEST_EXAMPLE] for text in (each + more)[:_EXAMPLES]]
