import numpy as np
import pytest
from sklearn.metrics import f1_score

from core.evaluation.metrics import (
    classification_scores,
    confusion,
    intervals,
    label_set_scores,
    scores_of_confusion,
    scores_of_label_sets,
    sign_test,
    wilson,
)
from core.evaluation.resampling import Measured, chance
from core.tasks.classification import class_weights


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


def test_the_sign_test_is_the_binomial_one():
    assert sign_test(5, 0) == pytest.approx(2 / 2**5)
    assert sign_test(0, 0) == 1.0


def test_small_classes_weigh_more_and_equal_ones_the_same():
    assert class_weights([10, 12]) == []
    weights = class_weights([90, 10])
    assert weights[1] / weights[0] == pytest.approx(9)
    assert (weights[0] * 90 + weights[1] * 10) / 100 == pytest.approx(1)


def test_scores_of_label_sets_by_hand():
    truth = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=bool)
    given = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0]], dtype=bool)
    scores = label_set_scores(truth, given)
    assert scores["micro_precision"] == pytest.approx(2 / 3)
    assert scores["micro_recall"] == pytest.approx(2 / 3)
    assert scores["micro_f1"] == pytest.approx(2 / 3)
    assert scores["macro_f1"] == pytest.approx((1 + 2 / 3) / 2)  # no row has the third label
    assert scores["exact_match"] == pytest.approx(1 / 3)


def test_no_label_at_all_is_no_error():
    nothing = np.zeros((2, 3), dtype=bool)
    assert label_set_scores(nothing, nothing) == {
        "micro_f1": 0, "macro_f1": 0, "micro_precision": 0, "micro_recall": 0, "exact_match": 1
    }  # fmt: skip


def test_scores_from_sums_agree_with_scores_of_the_rows():
    random = np.random.default_rng(1)
    truth, given = random.random((80, 6)) < 0.3, random.random((80, 6)) < 0.4
    exact = (truth == given).all(axis=1, keepdims=True)
    sums = np.hstack([truth & given, given, truth, exact, np.ones_like(exact)]).sum(axis=0)[None]
    by_sums = {name: float(values[0]) for name, values in scores_of_label_sets(sums).items()}
    assert by_sums == pytest.approx(label_set_scores(truth, given))


def mean_of(values):
    return Measured(
        np.column_stack([values, np.ones(len(values))]), lambda sums: {"mean": sums[:, 0] / np.maximum(sums[:, 1], 1)}
    )


@pytest.mark.parametrize("rows", [400, 12_000])
def test_intervals_of_a_mean_are_as_wide_as_the_formula_says(rows):
    values = np.random.default_rng(2).normal(3, 2, rows)
    low, high = mean_of(values).intervals()["mean"]
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=0.3 * 2 / np.sqrt(rows))
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(rows), rel=0.12)


def test_intervals_cover_the_mean_about_19_times_of_20():
    random = np.random.default_rng(3)
    found = [mean_of(random.normal(0, 1, 60)).intervals(400, seed)["mean"] for seed in range(300)]
    assert 0.9 <= np.mean([low <= 0 <= high for low, high in found]) <= 0.98


def test_equals_are_called_different_once_in_twenty_even_with_few_rows():
    random = np.random.default_rng(4)

    def falsely(rows):
        return [chance(mean_of(random.beta(1, 3, rows)), mean_of(random.beta(1, 3, rows)), "mean", 400) < 0.05
                for _ in range(300)]  # fmt: skip

    assert np.mean(falsely(8)) <= 0.09
    assert 0.01 <= np.mean(falsely(60)) <= 0.09


def test_a_steady_difference_is_seen_and_no_difference_is_chance():
    values = np.random.default_rng(5).random(40)
    assert chance(mean_of(values + 0.05), mean_of(values), "mean") < 0.01
    assert chance(mean_of(values), mean_of(values), "mean") == 1.0
    # Of three rows nothing can be said.
    assert chance(mean_of(values[:3] + 1), mean_of(values[:3]), "mean") > 0.1
