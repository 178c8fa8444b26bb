import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from core.data.preparing import Split
from core.evaluation import baselines, report
from core.evaluation.metrics import classification_scores, confusion, intervals, scores_of_confusion, sign_test, wilson
from core.tasks.base import Prediction, find
from core.tasks.classification import class_weights


def frame(pairs):
    rows = [(i + 2, text, label) for i, (text, label) in enumerate(pairs)]
    return pd.DataFrame(rows, columns=["row", "text", "label"])


def split(train, validation, test):
    labels = tuple(sorted({label for _, label in train}))
    return Split(frame(train), frame(validation), frame(test), labels, ())


def test_scores_by_hand():
    scores = classification_scores([0, 0, 1, 1], [0, 1, 1, 1])
    assert scores["accuracy"] == 0.75
    assert scores["macro_recall"] == 0.75
    assert scores["macro_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 0.8) / 2)


def test_an_unknown_answer_is_wrong_and_no_class_of_its_own():
    assert classification_scores([0, 1], [0, -1])["macro_recall"] == 0.5


def test_scores_of_a_table_agree_with_scores_of_the_rows():
    random = np.random.default_rng(3)
    true, answered = random.integers(0, 5, 200), random.integers(0, 5, 200)
    table = np.asarray([confusion(list(true), list(answered), 5)])
    by_rows = classification_scores(list(true), list(answered))
    by_table = scores_of_confusion(table)
    assert {name: float(values[0]) for name, values in by_table.items()} == pytest.approx(by_rows)
    assert by_rows["macro_f1"] == pytest.approx(f1_score(true, answered, average="macro"))


def test_intervals_hold_the_score_and_shrink_with_rows():
    few, many = intervals([[8, 2], [1, 9]]), intervals([[800, 200], [100, 900]])
    for name in ("accuracy", "macro_f1"):
        assert few[name][0] < 0.85 < few[name][1]
        assert many[name][1] - many[name][0] < (few[name][1] - few[name][0]) / 4


def test_wilson_is_honest_at_the_edge():
    low, high = wilson(20, 20)
    assert high == 1.0
    assert 0.83 < low < 0.85  # the published value for 20 of 20 is 0.8389


def test_intervals_cover_the_truth_about_19_times_of_20():
    random = np.random.default_rng(0)
    hits = sum(low <= 0.8 <= high for low, high in (wilson(int(random.binomial(100, 0.8)), 100) for _ in range(1000)))
    assert 920 <= hits <= 980


def test_baselines_learn_from_training_rows_alone():
    train = [("red sun warm", "warm"), ("snow ice cold", "cold"), ("warm sun", "warm"), ("hot sun", "warm")] * 5
    data = split(train, train[:4], [("the sun", "warm"), ("ice", "cold")])
    assert baselines.majority(data) == ["warm", "warm"]
    assert baselines.tfidf(data) == ["warm", "cold"]


def test_the_word_baseline_reads_chinese():
    warm, cold = ["今天阳光很好", "阳光温暖明亮", "温暖的阳光"], ["外面下雪很冷", "寒冷的下雪天", "冷风和下雪"]
    train = [(t, "暖") for t in warm] * 4 + [(t, "冷") for t in cold] * 4
    data = split(train, train[:1] + train[-1:], [("阳光明媚", "暖"), ("下雪了", "冷")])
    assert baselines.tfidf(data) == ["暖", "冷"]


def judged(answers, theirs):
    references = ["a", "b"] * 20
    data = split([("x", "a"), ("y", "b")], [("x", "a")], [(f"text {i}", r) for i, r in enumerate(references)])
    predictions = [Prediction(a, 0.9, ((a, 0.9),)) for a in answers]
    return report.judge(find("classification"), data, predictions, {"majority": ["a"] * 40, "tfidf": theirs})


def test_the_verdict_says_worth_it_only_when_chance_is_unlikely():
    right, wrong = ["a", "b"] * 20, ["b", "a"] * 20
    assert judged(right, wrong)["verdict"]["code"] == "beats_both"
    assert judged(wrong, right)["verdict"]["code"] == "not_better"
    assert judged(right, right)["verdict"]["code"] == "unclear"


def test_wrong_rows_are_told_with_their_row_in_the_file():
    found = judged(["b", *["b" if i % 2 else "a" for i in range(1, 40)]], ["a", "b"] * 20)
    assert [(e["row"], e["label"], e["prediction"]) for e in found["errors"]] == [(2, "a", "b")]
    assert found["confusion"] == [[19, 1], [0, 20]]
    assert found["per_class"][0] == {"label": "a", "precision": 1.0, "recall": 0.95, "f1": 0.9744, "rows": 20}


def test_the_sign_test_is_the_binomial_one():
    assert sign_test(5, 0) == pytest.approx(2 / 2**5)
    assert sign_test(0, 0) == 1.0


def test_small_classes_weigh_more_and_equal_ones_the_same():
    assert class_weights([10, 12]) == []
    weights = class_weights([90, 10])
    assert weights[1] / weights[0] == pytest.approx(9)
    assert (weights[0] * 90 + weights[1] * 10) / 100 == pytest.approx(1)
