"""The judgement of a finished model on rows it never saw: all that the results tab and the model card show."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core.evaluation.answers import Answers
from core.evaluation.metrics import classification_scores, confusion, intervals, shares, sign_test
from core.evaluation.resampling import Array
from core.evaluation.verdicts import code

if TYPE_CHECKING:
    import pandas as pd

MAIN_METRIC = "macro_f1"
_MOST_ERRORS = 500
_EXAMPLES = 8
_LONGEST_EXAMPLE = 220


def judge(rows: "pd.DataFrame", labels: tuple[str, ...], ours: Answers, others: dict[str, Answers]) -> dict[str, Any]:
    """Scores with intervals, baselines, verdict, per-class table, confusion and wrong rows where each has one label.

    Args:
        rows: the judged rows with `row`, `text` and `label`.
        labels: all of them; every row's and every answer's is among them.
        ours: what the model made of the rows.
        others: baseline -> what it made of them.

    Returns:
        The part of `report.json` that follows from the answers alone.
    """
    number = {label: i for i, label in enumerate(labels)}
    true = [number[label] for label in rows["label"]]
    answered = [number[p.answer] for p in ours.predictions]
    given = {name: [number[p.answer] for p in answers.predictions] for name, answers in others.items()}
    table = confusion(true, answered, len(labels))
    counts = np.asarray(table)
    return {
        "labels": list(labels),
        "main_metric": MAIN_METRIC,
        "metrics": rounded(classification_scores(true, answered)) | {"intervals": intervals(table)},
        "baselines": {name: rounded(classification_scores(true, theirs)) for name, theirs in given.items()},
        "verdict": verdict(true, answered, given),
        "per_class": label_table(counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1), labels),
        "confusion": table,
        "errors": _errors(rows, ours),
        "examples": examples(list(rows["text"]), list(rows["label"])),
    }


def verdict(references: Sequence[int], answers: Sequence[int], baselines: dict[str, list[int]]) -> dict[str, Any]:
    """Whether it was worth it, against the baseline with the most rows right, by the exact sign test.

    Returns:
        `code` as of `core.evaluation.verdicts` (`uncompared` without baselines), `right`, `rows`; and, where it is
        compared, `strongest`, `baseline_right` and `chance`.
    """
    right = np.equal(answers, references)
    facts = {"right": int(right.sum()), "rows": len(references)}
    if not baselines:
        return {"code": "uncompared", **facts}
    rights = {name: np.equal(given, references) for name, given in baselines.items()}
    strongest = max(rights, key=lambda name: int(rights[name].sum()))
    theirs = rights[strongest]
    by_chance = sign_test(int((right & ~theirs).sum()), int((theirs & ~right).sum()))
    return {
        "code": code(bool(right.sum() > theirs.sum()), by_chance),
        **facts,
        "strongest": strongest,
        "baseline_right": int(theirs.sum()),
        "chance": round(by_chance, 4),
    }


def rounded(scores: dict[str, float]) -> dict[str, Any]:
    """Scores as a report holds them."""
    return {name: round(value, 4) for name, value in scores.items()}


def label_table(right: Array, given: Array, wanted: Array, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each label, 0 where undefined, and the rows that have it.

    Args:
        right: rows in which each label was rightly answered, of shape (labels,).
        given: rows in which it was answered.
        wanted: rows that have it.
        labels: their names in order.
    """
    columns = {
        "precision": shares(right.astype(float), given),
        "recall": shares(right.astype(float), wanted),
        "f1": shares(2.0 * right, given + wanted),
    }
    return [
        {
            "label": label,
            **rounded({name: float(values[i]) for name, values in columns.items()}),
            "rows": int(wanted[i]),
        }
        for i, label in enumerate(labels)
    ]


def surest_first(wrong: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Wrong rows, the most confident first: those are the most telling. At most 500."""
    return sorted(wrong, key=lambda row: -(row["confidence"] or 0.0))[:_MOST_ERRORS]


def _errors(rows: "pd.DataFrame", ours: Answers) -> list[dict[str, Any]]:
    return surest_first(
        [
            {"row": int(row), "text": text, "label": label, "prediction": p.answer, "confidence": p.confidence}
            for row, text, label, p in zip(rows["row"], rows["text"], rows["label"], ours.predictions, strict=True)
            if p.answer != label
        ]
    )


def examples(texts: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Some judged texts to try, of as many labels as possible, short ones first."""
    told = dict(zip(texts, labels, strict=True))
    short = {text: label for text, label in told.items() if len(text) <= _LONGEST_EXAMPLE} or told
    first = {label: text for text, label in reversed(short.items())}
    each = {first[label]: label for label in sorted(first)}
    return [str(text)[:_LONGEST_EXAMPLE] for text in list(each | short)[:_EXAMPLES]]
