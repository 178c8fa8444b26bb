"""Several labels at once: their scores, the choice of thresholds, and the judgement of a finished model."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from core.evaluation.answers import Answers
from core.evaluation.metrics import label_set_scores, scores_of_label_sets, wilson
from core.evaluation.report import examples, label_table, rounded, surest_first
from core.evaluation.resampling import Array, Measured
from core.evaluation.verdicts import compared

if TYPE_CHECKING:
    import pandas as pd

MAIN_METRIC = "micro_f1"
# Texts with a label after which its own threshold counts as much as the common one.
_TRUSTED_FROM = 10


def judge(rows: "pd.DataFrame", labels: tuple[str, ...], ours: Answers, others: dict[str, Answers]) -> dict[str, Any]:
    """Scores with intervals, baselines, verdict, table of each label and wrong rows.

    Args:
        rows: the judged rows with `row`, `text` and `labels` (a tuple for each).
        labels: all of them.
        ours: what the model made of the rows.
        others: baseline -> what it made of them.

    Returns:
        The part of `report.json` that follows from the answers alone.
    """
    truth = table(rows["labels"], labels)
    given = {name: table([p.labels for p in answers.predictions], labels) for name, answers in others.items()}
    own = table([p.labels for p in ours.predictions], labels)
    measured = _measured(truth, own)
    exact = int((truth == own).all(axis=1).sum())
    edges = measured.intervals() | {"exact_match": [round(edge, 4) for edge in wilson(exact, len(truth))]}
    return {
        "labels": list(labels),
        "main_metric": MAIN_METRIC,
        "metrics": rounded(label_set_scores(truth, own)) | {"intervals": edges},
        "baselines": {name: rounded(label_set_scores(truth, theirs)) for name, theirs in given.items()},
        "verdict": compared(measured, {n: _measured(truth, theirs) for n, theirs in given.items()}, MAIN_METRIC),
        "per_class": label_table((truth & own).sum(axis=0), own.sum(axis=0), truth.sum(axis=0), labels),
        "errors": _errors(rows, ours),
        "examples": examples(list(rows["text"]), [_joined(wanted) for wanted in rows["labels"]]),
    }


def table(sets: Iterable[Iterable[str]], labels: tuple[str, ...]) -> Array:
    """Whether each row has each label, of shape (rows, labels); labels that are not among them count for nothing."""
    number = {label: i for i, label in enumerate(labels)}
    lines = [[number[label] for label in given if label in number] for given in sets]
    found = np.zeros((len(lines), len(labels)), dtype=bool)
    for line, places in enumerate(lines):
        found[line, places] = True
    return found


def thresholds(probabilities: Array, truth: Array) -> list[float]:
    """For each label the probability from which on it is given, chosen for the highest F1 on validation rows.

    The best threshold is half of the best F1, so it lies lower for labels that are hard to tell, and on few texts it
    follows chance: there a label's own one is drawn (as a logit) to the one for all labels with the highest micro F1.
    Source: Lipton, Elkan and Naryanaswamy, "Optimal thresholding of classifiers to maximize F1 measure", 2014.

    Args:
        probabilities: of shape (rows, labels).
        truth: whether each row has each label, same shape.
    """
    common = _logit(best_threshold(probabilities, truth)[0])
    chosen = []
    for i in range(probabilities.shape[1]):
        positives = int(truth[:, i].sum())
        own = _logit(best_threshold(probabilities[:, i], truth[:, i])[0]) if positives else common
        trust = positives / (positives + _TRUSTED_FROM)
        chosen.append(float(1 / (1 + np.exp(-(trust * own + (1 - trust) * common)))))
    return chosen


def best_threshold(scores: Array, truth: Array) -> tuple[float, float]:
    """The threshold with the highest F1 over all cells of the arrays, between two scores, and that F1."""
    order = np.argsort(-scores, axis=None, kind="stable")
    ranked, right = scores.ravel()[order].astype(float), np.cumsum(truth.ravel()[order].astype(float))
    f1 = 2 * right / (np.arange(1, len(ranked) + 1) + max(1.0, right[-1]))
    f1[:-1][ranked[1:] == ranked[:-1]] = -1.0  # equal scores are given together or not at all
    best = int(np.argmax(f1))
    below = ranked[best + 1] if best + 1 < len(ranked) else ranked[best]
    return float((ranked[best] + below) / 2), float(f1[best])


def _logit(probability: float) -> float:
    bounded = min(max(probability, 1e-6), 1 - 1e-6)
    return float(np.log(bounded / (1 - bounded)))


def _measured(truth: Array, given: Array) -> Measured:
    exact = (truth == given).all(axis=1, keepdims=True)
    rows = np.hstack([truth & given, given, truth, exact, np.ones_like(exact)])
    return Measured(rows, scores_of_label_sets)


def _joined(labels: Iterable[str]) -> str:
    return ", ".join(sorted(labels))


def _errors(rows: "pd.DataFrame", ours: Answers) -> list[dict[str, Any]]:
    """Rows whose labels are not exactly those wanted."""
    return surest_first(
        [
            {
                "row": int(row),
                "text": text,
                "label": _joined(wanted),
                "prediction": _joined(p.labels),
                "confidence": p.confidence,
            }
            for row, text, wanted, p in zip(rows["row"], rows["text"], rows["labels"], ours.predictions, strict=True)
            if set(wanted) != set(p.labels)
        ]
    )
