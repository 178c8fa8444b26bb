"""Scores, as `evaluate.Metric` objects over scikit-learn: they compute with no network."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import datasets
import evaluate
import numpy as np
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

_LABEL_SETS = datasets.Features(dict.fromkeys(("predictions", "references"), datasets.List(datasets.Value("int64"))))
_LABELS = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})


class _LabelMetric(evaluate.Metric):  # type: ignore[misc]
    """A metric over label numbers."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(description=self.__doc__ or "", citation="", inputs_description="", features=_LABELS)


class Accuracy(_LabelMetric):
    """Share of rows answered right."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


class MacroScores(_LabelMetric):
    """Precision, recall and F1, each the plain mean over the classes that occur among the references.

    Source: `sklearn.metrics.precision_recall_fscore_support`, average macro, 0 where undefined.
    """

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        precision, recall, f1, _ = precision_recall_fscore_support(
            references, predictions, labels=sorted(set(references)), average="macro", zero_division=0
        )
        return {"macro_f1": float(f1), "macro_precision": float(precision), "macro_recall": float(recall)}


class LabelSetScores(evaluate.Metric):  # type: ignore[misc]
    """Scores of several labels at once, over lists of label numbers.

    Micro scores count every label of every row alike; `macro_f1` is the mean over the labels that occur among the
    references; `exact_match` is the share of rows with exactly the labels wanted.
    Source: `sklearn.metrics.precision_recall_fscore_support` on indicators, 0 where undefined.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__ or "", citation="", inputs_description="", features=_LABEL_SETS
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        # One column more than needed: of a single one scikit-learn would judge "no" as a class of its own.
        labels = 2 + max((number for rows in (predictions, references) for row in rows for number in row), default=0)
        truth, given = _indicators(references, labels), _indicators(predictions, labels)
        precision, recall, f1, _ = precision_recall_fscore_support(truth, given, average="micro", zero_division=0)
        occurring = np.flatnonzero(truth.any(axis=0))
        macro = f1_score(truth, given, labels=occurring, average="macro", zero_division=0) if len(occurring) else 0.0
        return {
            "micro_f1": float(f1),
            "macro_f1": float(macro),
            "micro_precision": float(precision),
            "micro_recall": float(recall),
            "exact_match": float((truth == given).all(axis=1).mean()),
        }


def _indicators(rows: Sequence[Sequence[int]], labels: int) -> "np.ndarray[Any, Any]":
    found = np.zeros((len(rows), labels), dtype=np.int8)
    for line, numbers in enumerate(rows):
        found[line, list(numbers)] = 1
    return found


@lru_cache(maxsize=1)
def _combined() -> Any:
    # Kept in memory: else every call writes its rows to a file in the home folder.
    return evaluate.combine([Accuracy(keep_in_memory=True), MacroScores(keep_in_memory=True)])


def classification_scores(references: Sequence[int], predictions: Sequence[int]) -> dict[str, float]:
    """`accuracy`, `macro_f1`, `macro_precision`, `macro_recall`, each 0 to 1.

    Args:
        references: true label numbers.
        predictions: answered ones, in the same order; -1 for a label that is not among them.
    """
    scores = _combined().compute(predictions=[int(p) for p in predictions], references=[int(r) for r in references])
    return {name: float(value) for name, value in scores.items()}


def label_set_scores(truth: "np.ndarray[Any, Any]", given: "np.ndarray[Any, Any]") -> dict[str, float]:
    """`micro_f1`, `macro_f1`, `micro_precision`, `micro_recall`, `exact_match`, each 0 to 1.

    Args:
        truth: whether each row has each label, of shape (rows, labels).
        given: whether it was answered, same shape.
    """
    numbers = [[np.flatnonzero(row).tolist() for row in table] for table in (given, truth)]
    scores = LabelSetScores(keep_in_memory=True).compute(predictions=numbers[0], references=numbers[1])
    return {name: float(value) for name, value in scores.items()}


def scores_of_label_sets(sums: "np.ndarray[Any, Any]") -> dict[str, "np.ndarray[Any, Any]"]:
    """The same from sums over rows, each of shape (n,).

    Args:
        sums: of shape (n, 3 x labels + 2): rows in which each label is answered rightly, is answered, is wanted; rows
            with exactly the labels wanted; rows.
    """
    right, given, wanted = np.split(sums[:, :-2].astype(float), 3, axis=1)
    f1 = shares(2 * right, given + wanted)
    occurring = wanted > 0
    all_right, all_given, all_wanted = right.sum(axis=1), given.sum(axis=1), wanted.sum(axis=1)
    return {
        "micro_f1": shares(2 * all_right, all_given + all_wanted),
        "macro_f1": (f1 * occurring).sum(axis=1) / np.maximum(occurring.sum(axis=1), 1),
        "micro_precision": shares(all_right, all_given),
        "micro_recall": shares(all_right, all_wanted),
        "exact_match": shares(sums[:, -2].astype(float), sums[:, -1]),
    }


def shares(parts: "np.ndarray[Any, Any]", wholes: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Parts of wholes, 0 where there is no whole."""
    return np.asarray(np.divide(parts, wholes, out=np.zeros_like(parts), where=wholes > 0))


def confusion(references: Sequence[int], predictions: Sequence[int], classes: int) -> list[list[int]]:
    """Counts of shape (true class, answered class)."""
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (np.asarray(references), np.asarray(predictions)), 1)
    return [[int(n) for n in row] for row in table]


def scores_of_confusion(tables: "np.ndarray[Any, Any]") -> dict[str, "np.ndarray[Any, Any]"]:
    """The same four scores from confusion tables of shape (tables, true, answered), each of shape (tables,)."""
    right = np.diagonal(tables, axis1=1, axis2=2).astype(float)
    true, answered = tables.sum(axis=2), tables.sum(axis=1)
    occurring = true > 0
    recall, precision = shares(right, true), shares(right, answered)
    f1 = shares(2 * precision * recall, precision + recall)
    classes = np.maximum(occurring.sum(axis=1), 1)

    def mean(values: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        return np.asarray((values * occurring).sum(axis=1) / classes)

    accuracy = right.sum(axis=1) / np.maximum(tables.sum(axis=(1, 2)), 1)
    return {
        "accuracy": accuracy,
        "macro_f1": mean(f1),
        "macro_precision": mean(precision),
        "macro_recall": mean(recall),
    }


def intervals(table: list[list[int]], seed: int = 0, resamples: int = 2000) -> dict[str, list[float]]:
    """95 % intervals of the four scores: the 2.5 and 97.5 percentiles over resampled test rows.

    Drawing rows with replacement is drawing the cells of the confusion table from a multinomial distribution.
    Source: the percentile bootstrap, Efron and Tibshirani, An Introduction to the Bootstrap, 1993.
    Accuracy's is Wilson's score interval, which stays honest near 0 and 1.
    """
    counts = np.asarray(table, dtype=np.int64)
    rows, classes = int(counts.sum()), len(table)
    if rows == 0:
        return {}
    random = np.random.default_rng(seed)
    drawn = random.multinomial(rows, counts.ravel() / rows, size=resamples).reshape(resamples, classes, classes)
    found = {
        name: [round(float(edge), 4) for edge in np.percentile(values, [2.5, 97.5])]
        for name, values in scores_of_confusion(drawn).items()
    }
    found["accuracy"] = [round(edge, 4) for edge in wilson(int(np.trace(counts)), rows)]
    return found


def wilson(right: int, rows: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % score interval of a share.

    Source: E. B. Wilson, Journal of the American Statistical Association 22, 1927.
    """
    share, spread = right / rows, z * z / rows
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * float(np.sqrt(share * (1 - share) / rows + spread / (4 * rows)))
    return max(0.0, centre - half), min(1.0, centre + half)


def sign_test(only_first_right: int, only_second_right: int) -> float:
    """Two-sided exact probability that two answerers as good as one another differ by this much.

    Source: McNemar's test in its exact binomial form.
    """
    from scipy.stats import binomtest

    rows = only_first_right + only_second_right
    return float(binomtest(only_first_right, rows, 0.5).pvalue) if rows else 1.0
