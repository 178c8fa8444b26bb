import numpy as np
import pandas as pd
import pytest

from core.evaluation import label_sets
from core.evaluation.answers import Answers, Prediction
from core.evaluation.label_sets import best_threshold, table, thresholds
from core.evaluation.metrics import label_set_scores

LABELS = ("a", "b", "c")


def answers(sets, confidence=None):
    return Answers([Prediction(", ".join(labels), confidence, (), tuple(labels)) for labels in sets])


def rows_of(sets):
    rows = [(i + 2, f"text {i}", tuple(labels)) for i, labels in enumerate(sets)]
    return pd.DataFrame(rows, columns=["row", "text", "labels"])


def judged(wanted, given, **others):
    return label_sets.judge(rows_of(wanted), LABELS, answers(given, 0.9), {n: answers(o) for n, o in others.items()})


WANTED = [("a",), ("a", "b"), (), ("c",)] * 10


def test_the_report_tells_scores_of_each_label_and_which_rows_are_wrong():
    given = [("a",), ("a",), (), ("c", "b"), *WANTED[4:]]
    report = judged(WANTED, given, frequent_labels=[("a",)] * 40)
    assert report["main_metric"] == "micro_f1"
    assert report["metrics"]["exact_match"] == 0.95
    assert report["metrics"]["micro_f1"] == pytest.approx(2 * 39 / (40 + 40), abs=1e-4)
    assert report["per_class"][1] == {"label": "b", "precision": 0.9, "recall": 0.9, "f1": 0.9, "rows": 10}
    assert [(e["row"], e["label"], e["prediction"]) for e in report["errors"]] == [(3, "a, b", "a"), (5, "c", "b, c")]
    assert set(report["baselines"]["frequent_labels"]) == set(report["metrics"]) - {"intervals"}
    assert report["examples"][0] == "text 2"  # the empty set comes first in order
    for name, (low, high) in report["metrics"]["intervals"].items():
        assert low <= report["metrics"][name] <= high
        assert high - low > 0.01


def test_the_verdict_compares_with_the_strongest_on_the_same_rows():
    weak, none = [("a",)] * 40, [()] * 40
    report = judged(WANTED, WANTED, frequent_labels=none, tfidf_labels=weak)
    assert report["verdict"] == {
        "code": "beats_both",
        "metric": "micro_f1",
        "rows": 40,
        "ours": 1.0,
        "strongest": "tfidf_labels",
        "theirs": report["baselines"]["tfidf_labels"]["micro_f1"],
        "chance": report["verdict"]["chance"],
    }
    assert judged(WANTED, weak, tfidf_labels=WANTED)["verdict"]["code"] == "not_better"
    assert judged(WANTED, weak, tfidf_labels=weak)["verdict"]["code"] == "unclear"
    assert judged(WANTED, weak)["verdict"]["code"] == "uncompared"


def test_a_label_that_is_not_among_them_counts_for_nothing():
    assert table([("a", "z"), ("z",)], LABELS).tolist() == [[True, False, False], [False, False, False]]


def test_a_single_label_is_judged_by_those_who_have_it():
    report = label_sets.judge(rows_of([("a",), (), (), ()]), ("a",), answers([("a",), ("a",), (), ()], 0.5), {})
    assert report["per_class"] == [{"label": "a", "precision": 0.5, "recall": 1.0, "f1": 0.6667, "rows": 1}]
    assert report["metrics"]["micro_precision"] == 0.5


def test_the_best_threshold_lies_between_right_and_wrong():
    threshold, f1 = best_threshold(np.array([0.1, 0.2, 0.6, 0.9]), np.array([0, 0, 1, 1]))
    assert threshold == pytest.approx(0.4)
    assert f1 == 1.0
    # Equal scores cannot be told apart: one of two is right at best.
    assert best_threshold(np.array([0.5, 0.5]), np.array([1, 0])) == (0.5, pytest.approx(2 / 3))
    assert best_threshold(np.array([0.3, 0.4]), np.array([0, 0]))[1] == 0


def test_a_label_with_many_texts_gets_its_own_threshold_and_a_rare_one_the_common_one():
    random = np.random.default_rng(0)
    truth = np.zeros((400, 3), dtype=bool)
    truth[:200, 0], truth[200:, 1], truth[:1, 2] = True, True, True
    # The first label's probabilities are small, the second's large, the third's only text has hardly more than others.
    scores = np.column_stack([
        np.where(truth[:, 0], 0.2, 0.05), np.where(truth[:, 1], 0.9, 0.6), np.where(truth[:, 2], 0.03, 0.01)
    ]) + random.uniform(-0.01, 0.01, (400, 3))  # fmt: skip
    common = best_threshold(scores, truth)[0]
    first, second, third = thresholds(scores, truth)
    assert 0.07 < first < 0.19
    assert 0.62 < second < 0.89
    assert 0.7 * common < third < common
    assert thresholds(scores[:, :2], np.zeros((400, 2), dtype=bool))[0] > 0


def test_thresholds_do_better_on_fresh_rows_than_one_half():
    random = np.random.default_rng(1)
    shares = np.array([0.02, 0.05, 0.1, 0.2, 0.4])

    def drawn(rows):
        truth = random.random((rows, 5)) < shares
        odds = np.log(shares / (1 - shares)) + 2 * (random.normal(0, 1, truth.shape) + 2 * truth - 1)
        return 1 / (1 + np.exp(-odds)), truth

    chosen = thresholds(*drawn(300))
    probabilities, truth = drawn(5000)
    ours, half = (label_set_scores(truth, probabilities >= least) for least in (chosen, 0.5))
    assert ours["macro_f1"] > half["macro_f1"] + 0.01
    assert ours["micro_f1"] > half["micro_f1"] - 0.005
